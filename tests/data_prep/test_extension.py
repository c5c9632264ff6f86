"""A data set of the user's own is one module, and a published one may be downloaded on the way."""

from __future__ import annotations

import hashlib
import sys
import textwrap
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from data_prep import (
    DataError,
    MissingRaw,
    Network,
    RawFile,
    dataset_options,
    open_dataset,
    prepare,
)
from data_prep.datasets import smnist

MODULE = '''
import dataclasses
import numpy as np
from data_prep import DatasetCard
from data_prep.arrow import Column

CARD = DatasetCard(name="gauges", title="Gauges", source="a plant", licence="ours", citation="-",
                   version=1, shapes="x (8, 2)", units="bar", splits={}, cached_bytes=0)

@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """noise: how much of it."""
    noise: float = 0.1

def sources(raw):
    return sorted(raw.folder.glob("*.txt"))

def columns(raw, split):
    return {"x": Column("float32", (8, 2)), "y": Column("uint8")}

def examples(raw, split):
    for path in sources(raw):
        for i in range(int(path.read_text())):
            yield {"x": np.full((8, 2), raw.options.noise * i), "y": i % 3}
'''


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
    package = tmp_path / "code" / "my_lab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "gauges.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(package.parent)
    yield package
    for name in [n for n in sys.modules if n.startswith("my_lab")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("old", "new", "lacks"),
    [
        ("def examples", "def exmaples", "examples"),
        ("def examples(raw, split)", "def sizes(options)", "generate and no SHARD_ROWS"),
        ("def columns", "def colums", "columns"),
    ],
)
def test_what_a_module_lacks_is_named_before_anything_is_built(my_lab, old, new, lacks):
    (my_lab / "half.py").write_text(textwrap.dedent(MODULE).replace(old, new))
    with pytest.raises(DataError, match=f"^the data set 'my_lab.half' has no {lacks}[.]$"):
        dataset_options("my_lab.half")


def test_a_module_with_a_card_and_examples_is_a_data_set(tmp_path, my_lab):
    raw = tmp_path / "plant"
    raw.mkdir()
    (raw / "count.txt").write_text("12")
    dataset = open_dataset("my_lab.gauges", {"raw": str(raw)}, home=tmp_path)
    assert (dataset.task.d_input, dataset.task.d_output, dataset.task.length) == (2, 3, 8)
    batch = next(dataset.batches("train", batch_size=12, shuffle=False))
    assert batch.x.dtype == np.float32 and batch.y.tolist() == [0, 1, 2] * 4
    assert (tmp_path / "data" / "my_lab.gauges" / dataset.fingerprint).is_dir()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(8, 2)), ", "(9, 2)), ", r"column 'x' wants shape \(9, 2\), got \(8, 2\)"),
        ('"y": i % 3', '"y": -i', "column 'y' is uint8, which cannot hold"),
        ('"y": i % 3', '"z": 1', "a row has no column 'y'"),
        ("range(int", "range(0 * int", "hold no train rows"),
    ],
)
def test_what_its_rows_get_wrong_is_said_and_nothing_is_published(
    tmp_path, my_lab, old, new, message
):
    path = my_lab / "gauges.py"
    path.write_text(path.read_text().replace(old, new))
    raw = tmp_path / "raw" / "my_lab.gauges"
    raw.mkdir(parents=True)
    (raw / "count.txt").write_text("3")
    with pytest.raises(DataError, match=message):
        open_dataset("my_lab.gauges", home=tmp_path)
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_dir() and p.name[0] != "m"]


def write_mnist(folder: Path) -> tuple[RawFile, ...]:
    """Small files in MNIST's format, and the card's entries for them."""
    import gzip
    import struct

    files = []
    for part, rows in (("train", 40), ("t10k", 10)):
        random = np.random.RandomState(rows)
        for kind, shape in (("images-idx3", (rows, 28, 28)), ("labels-idx1", (rows,))):
            array = random.randint(0, 10, shape).astype(np.uint8)
            head = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
            data = gzip.compress(head + array.tobytes())
            name = f"{part}-{kind}-ubyte.gz"
            (folder / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            files.append(RawFile(path=name, urls=(f"http://x.invalid/{name}",), sha256=digest))
    return tuple(files)


def test_missing_files_are_downloaded_from_a_mirror_when_that_is_wanted(tmp_path, monkeypatch):
    served = tmp_path / "served"
    served.mkdir()
    card = smnist.CARD.__class__(**{**vars(smnist.CARD), "files": write_mnist(served)})
    monkeypatch.setattr(smnist, "CARD", card)
    with pytest.raises(MissingRaw, match="`s4sweep data prepare smnist` downloads"):
        prepare("smnist", home=tmp_path)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    seen: list[str] = []
    try:
        mirror = f"http://127.0.0.1:{server.server_port}"
        network = Network(mirrors=(mirror,), proxy="", retries=1, pause_s=0.0)
        entry = prepare(
            "smnist", home=tmp_path, network=network, progress=lambda what, *_: seen.append(what)
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert {n: s.rows for n, s in entry.splits.items()} == {"train": 36, "val": 4, "test": 10}
    assert "train-images-idx3-ubyte.gz" in seen and "train" in seen
