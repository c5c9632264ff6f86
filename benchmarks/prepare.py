"""Preparing data sets from raw files: rows a second of CPU time, checksums and disk included.

    OMP_NUM_THREADS=1 python benchmarks/prepare.py            # a minute

The files are made up, in the published layouts and sizes: clips of a second (WAV, 16 bits, 16 kHz,
read by soundfile, listed by torchaudio), reviews of 1,300 characters, MNIST and CIFAR-10's images.
How long a file takes to read depends on its size, not on what is in it.
"""

from __future__ import annotations

import argparse
import gzip
import pickle
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data_prep import prepare
from data_prep.datasets._speech_commands import SC35_WORDS

RANDOM = np.random.RandomState(0)


def clips(folder: Path, rows: int) -> None:
    """Speech Commands: a folder a word; an eighth of the clips validates, another tests."""
    noise = RANDOM.randint(-9000, 9000, 1 << 20).astype(np.int16)
    lists: dict[str, list[str]] = {"validation": [], "testing": [], "training": []}
    for row in range(rows):
        name = f"{SC35_WORDS[row % 35]}/{row:08x}_nohash_0.wav"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        start = 997 * row % (len(noise) - 16_000)
        soundfile.write(path, noise[start : start + 16_000], 16_000, subtype="PCM_16")
        part = {0: "validation", 1: "testing"}.get(row % 8, "training")
        lists[part].append(f"{name}\n")
    (folder / "_background_noise_").mkdir()
    for part in ("validation", "testing"):
        (folder / f"{part}_list.txt").write_text("".join(lists[part]))


def reviews(folder: Path, rows: int) -> None:
    """IMDB: a text file a review."""
    letters = np.array(list("etaoin shrdlu, cmfwyp. vbgkjqxz!"))
    for row in range(rows):
        part = folder / ("train", "test")[row % 2] / ("neg", "pos")[row // 2 % 2]
        part.mkdir(parents=True, exist_ok=True)
        text = "".join(letters[RANDOM.randint(0, len(letters), 1300)])
        (part / f"{row}_1.txt").write_text(text)


def digits(folder: Path, rows: int) -> None:
    """MNIST: gzipped IDX files; six images of seven train."""
    folder.mkdir(parents=True)
    for name, count in (("train", rows * 6 // 7), ("t10k", rows - rows * 6 // 7)):
        images = RANDOM.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = RANDOM.randint(0, 10, count).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
            path = folder / f"{name}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(head + array.tobytes(), compresslevel=1))


def pictures(folder: Path, rows: int) -> None:
    """CIFAR-10: six pickled tables."""
    folder.mkdir(parents=True)
    for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        data = RANDOM.randint(0, 256, (rows // 6, 3072)).astype(np.uint8)
        table = {b"data": data, b"labels": RANDOM.randint(0, 10, rows // 6).tolist()}
        (folder / name).write_bytes(pickle.dumps(table, protocol=2))


# data set, options, the writer of its raw files, rows.
Case = tuple[str, Mapping[str, Any], Callable[[Path, int], None], int]
CASES: tuple[Case, ...] = (
    ("sc35", {}, clips, 4_000),
    ("sc35", {"mfcc": "correct"}, clips, 4_000),
    ("imdb", {}, reviews, 4_000),
    ("smnist", {}, digits, 70_000),
    ("scifar", {}, pictures, 60_000),
)


def cpu_seconds() -> float:
    """Of this process, in the system too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(name: str, options: Mapping[str, Any], raw: Path, home: Path) -> None:
    """Prepare once; print rows and megabytes a second."""
    start, wall = cpu_seconds(), time.perf_counter()
    entry = prepare(name, options, home=home, raw=raw)
    used, wall = cpu_seconds() - start, time.perf_counter() - wall
    rows = sum(split.rows for split in entry.splits.values())
    print(
        f"{name:7s} {str(dict(options)):22s} {rows:7,} rows {rows / used:9,.0f} rows/s "
        f"{entry.bytes / used / 1e6:7.1f} MB/s of CPU time ({wall:.1f} s by the clock)"
    )


def main() -> None:
    """Run everything."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, options, write, rows in CASES:
            raw = Path(folder) / "raw" / name
            if not raw.exists():
                write(raw, rows)
                measure(name, options, raw, Path(folder) / "first")  # imports, tables
            measure(name, options, raw, Path(folder) / "home")


if __name__ == "__main__":
    main()
