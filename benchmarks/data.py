"""Reading data: ratios within one run, so that a noisy machine does not matter.

    OMP_NUM_THREADS=1 python benchmarks/data.py            # 320 MB of sound-like rows, a minute
    OMP_NUM_THREADS=1 python benchmarks/data.py --rows 84843   # 2.7 GB: as large as 35 words

Gathering is compared with numpy's on the same bytes, in turns; with a DataLoader and its workers;
and with the package `datasets` where it is installed. Memory is PSS, which counts a page that
eight processes share once; RSS would count it eight times.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import Dataset, DatasetCard, TaskInfo, open_dataset
from data_prep.arrow import Column, Spool, pack
from data_prep.cache import Entry, publish_once
from data_prep.transforms import Dense, View

Clock = Callable[[], float]
SAMPLES, BATCH = 16_000, 64
COLUMNS = {"x": Column("int16", (SAMPLES,)), "y": Column("uint8")}
CARD = DatasetCard(
    name="speech_like",
    title="",
    source="",
    licence="",
    citation="",
    version=1,
    shapes="",
    units="",
    splits={},
    cached_bytes=0,
)


def speech_like(home: Path, rows: int) -> Dataset:
    """Open a data set of int16 noise, as large as so many clips of a second."""

    def build(folder: Path) -> Mapping[str, Any]:
        spool = Spool(folder, COLUMNS)
        noise = np.random.RandomState(0).randint(-3000, 3000, 1 << 20).astype(np.int16)
        for start in range(0, rows, 256):
            count = min(256, rows - start)
            places = [(start + i) * 7 % (len(noise) - SAMPLES) for i in range(count)]
            clips = [noise[place : place + SAMPLES] for place in places]
            spool.append(pack([{"x": c, "y": i % 35} for i, c in enumerate(clips)], COLUMNS))
        files = [p.name for p in spool.write("train")]
        columns = {n: c.to_json() for n, c in COLUMNS.items()}
        split = {"rows": rows, "classes": [], "files": files, "columns": columns}
        return {"splits": {"train": split}, "facts": {}, "request": ""}

    entry, _ = publish_once(home / "data" / "speech_like", f"rows{rows}", build)
    return as_dataset(entry)


def as_dataset(entry: Entry, *, on_device: bool = False) -> Dataset:
    """Wrap a published entry."""
    task = TaskInfo(d_input=1, d_output=35, length=SAMPLES)
    view = View(task=task, read=Dense(scale=(1 / 32768,)))
    parts = {"train": entry.part("train")}
    return Dataset(
        card=CARD, options=None, entry=entry, view=view, parts=parts, on_device=on_device
    )


def rows_a_second(batches: Callable[[], Iterator[Any]], seconds: float, clock: Clock) -> float:
    """Take batches for a while; rows a second."""
    rows, start = 0, clock()
    for batch in batches():
        rows += batch
        if clock() - start > seconds:
            break
    return rows / (clock() - start)


def compare(
    ways: Mapping[str, Callable[[], Iterator[int]]], base: str, *, rounds: int, clock: Clock
) -> None:
    """Print each way's median rate and its median ratio to `base`, measured in turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        rows_a_second(way, 0.3, clock)  # first touches and imports
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name].append(rows_a_second(way, 0.6, clock))
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates[base], strict=True))
        rate = statistics.median(found)
        print(
            f"  {name:34s} {rate:10,.0f} rows/s {rate * 2 * SAMPLES / 1e9:6.2f} GB/s {ratio:6.2f}"
        )


def gathering(dataset: Dataset) -> None:
    """Random batches of 64 clips."""
    entry = dataset.entry
    stored = as_dataset(entry, on_device=True)
    mapped = np.memmap(  # the same bytes through numpy alone: where the values lie in the file
        entry.folder / "train.arrow", dtype=np.int16, mode="r"
    )[: dataset.size("train") * SAMPLES].reshape(-1, SAMPLES)

    def orders() -> Iterator[np.ndarray]:
        random = np.random.RandomState(0)
        while True:
            order = random.permutation(len(mapped))
            for start in range(0, len(order) - BATCH, BATCH):
                yield np.sort(order[start : start + BATCH])

    def bare() -> Iterator[int]:
        for index in orders():
            x = mapped[index]  # held while the next one is made, as a trainer holds its batch
            yield len(x)

    def bare_float() -> Iterator[int]:
        for index in orders():
            x = mapped[index].astype(np.float32)
            x *= np.float32(1 / 32768)
            yield len(x)

    def ours(source: Dataset) -> Callable[[], Iterator[int]]:
        def batches() -> Iterator[int]:
            for epoch in range(1000):
                for batch in source.batches("train", batch_size=BATCH, epoch=epoch):
                    yield len(batch.y)

        return batches

    print(f"gather, batches of {BATCH} of {len(mapped):,} x {SAMPLES} int16, CPU time")
    own = time.process_time
    stored_ways = {"numpy, stored": bare, "ours, stored (on_device)": ours(stored)}
    compare(stored_ways, "numpy, stored", rounds=9, clock=own)
    float_ways = {"numpy, float32": bare_float, "ours, float32": ours(dataset)}
    compare(float_ways, "numpy, float32", rounds=9, clock=own)
    print("the same beside others, by the clock on the wall: some work in other processes")
    others = {f"{name}, float32": way for name, way in loaders(dataset).items()}
    compare({**float_ways, **others}, "numpy, float32", rounds=5, clock=time.perf_counter)


def loaders(dataset: Dataset) -> dict[str, Callable[[], Iterator[int]]]:
    """A torch DataLoader with and without workers, and the package `datasets`."""
    import torch
    from torch.utils.data import DataLoader

    rows = dataset.size("train")

    class Items(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return rows

        def __getitem__(self, row: int) -> tuple[Any, int]:
            x = dataset.parts["train"].gather("x", np.array([row]))[0]
            return torch.from_numpy(x).float() / 32768, 0

    def loader(workers: int) -> Callable[[], Iterator[int]]:
        def batches() -> Iterator[int]:
            for x, _ in DataLoader(Items(), BATCH, shuffle=True, num_workers=workers):
                yield len(x)

        return batches

    ways = {"DataLoader, 0 workers": loader(0), "DataLoader, 2 workers": loader(2)}
    try:
        import datasets
    except ModuleNotFoundError:
        print("(the package `datasets` is not installed, so it is not compared)")
        return ways
    table = datasets.Dataset.from_file(str(_stream_copy(dataset))).with_format("torch")

    def hugging_face() -> Iterator[int]:
        while True:
            for index in np.random.RandomState(0).permutation(len(table)).reshape(-1, BATCH):
                yield len(table[index.tolist()]["x"].float() / 32768)

    return {**ways, "datasets, batched": hugging_face}


def _stream_copy(dataset: Dataset) -> Path:
    """The first rows as the Arrow stream that the package `datasets` maps."""
    import pyarrow as pa

    path = dataset.entry.folder.with_name("stream.arrow")
    source = pa.ipc.open_file(pa.memory_map(str(dataset.entry.folder / "train.arrow")))
    rows = min(dataset.size("train") // BATCH, 80) * BATCH
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, source.schema) as writer:
        writer.write_batch(source.get_batch(0).slice(0, rows))
    return path


def opening(dataset: Dataset) -> None:
    """From nothing to the first batch, the file being in the page cache."""
    entry, times = dataset.entry, []
    for _ in range(20):
        start = time.perf_counter()
        found, _ = publish_once(entry.folder.parent, entry.fingerprint, lambda _: {})
        next(as_dataset(found).batches("train", batch_size=BATCH))
        times.append(time.perf_counter() - start)
    size, median = entry.bytes / 1e9, 1e3 * statistics.median(times)
    print(f"open to first batch of {size:.2f} GB: {median:.1f} ms")


def memory(dataset: Dataset, home: Path) -> None:
    """Sum of PSS of processes that have each touched every row.

    The data file's share is told apart: on a machine short of memory the kernel unmaps and maps
    its pages as it likes, which has nothing to do with how many processes there are.
    """
    rows = dataset.size("train")
    base, _ = _pss([_reader(home, 0, "import torch")])
    print(f"memory: a process with torch and data_prep alone {base:.0f} MB")
    one = 0.0
    for count in (1, 4, 8):
        rest, mapped = _pss([_reader(home, rows, "import torch") for _ in range(count)])
        one = rest if count == 1 else one
        print(f"  {count} processes: sum of PSS {rest + mapped:6.0f} MB, {mapped:.0f} of the file")
        if count > 1:
            further = (rest - one) / (count - 1)
            print(f"    each further one {further:.0f} MB: {further - base:.0f} beyond torch alone")


def _reader(home: Path, rows: int, first: str) -> subprocess.Popen[str]:
    code = f"""
{first}
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import data
from pathlib import Path
if {rows}:
    found = data.speech_like(Path({str(home)!r}), {rows})
    for batch in found.batches("train", batch_size=64): batch.x.sum()
print("ready", flush=True); input()
"""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)


def _pss(processes: list[subprocess.Popen[str]]) -> tuple[float, float]:
    """Wait until all are ready; their PSS in MB, without and of the mapped data; end them."""
    rest = mapped = 0.0
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        is_data = False
        for line in Path(f"/proc/{process.pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                is_data = words[-1].endswith(".arrow")
            elif words[0] == "Pss:":
                mapped += int(words[1]) / 1024 * is_data
                rest += int(words[1]) / 1024 * (not is_data)
    for process in processes:
        process.communicate("\n")
    return rest, mapped


def padding(home: Path) -> None:
    """ListOps: ragged rows of 501 to 1999 tokens, padded to the longest of 50."""
    few = {"train": 3000, "val": 50, "test": 50}
    for bucket in (0, 20):
        dataset = open_dataset("listops", {**few, "bucket": bucket}, home=home)
        start, batches, tokens, cells = time.perf_counter(), 0, 0, 0
        while time.perf_counter() - start < 2:
            for batch in dataset.batches("train", batch_size=50, epoch=batches):
                batches, tokens = batches + 1, tokens + int(batch.lengths.sum())
                cells += batch.x.size
        seconds = time.perf_counter() - start
        print(
            f"listops, bucket {bucket:2d}: {batches / seconds:8,.0f} batches/s, "
            f"{50 * batches / seconds:10,.0f} rows/s, {100 * (1 - tokens / cells):.0f} % padding"
        )


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        dataset = speech_like(home, args.rows)
        gathering(dataset)
        opening(dataset)
        memory(dataset, home)
        padding(home)


if __name__ == "__main__":
    main()
