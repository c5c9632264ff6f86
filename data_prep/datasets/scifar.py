"""Sequential CIFAR-10 in colour: 1024 pixels, one a step, three channels."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.arrow import Column
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.errors import DataError
from data_prep.registry import Raw
from data_prep.sources import locate, reading, tree
from data_prep.splits import torch_split
from data_prep.transforms import Dense, Stored, Subset, View

RAW = "cifar10"
SPLITS = ("train", "test")
MARKER = "data_batch_1"
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.247, 0.243, 0.261)

CARD = DatasetCard(
    name="scifar",
    title="Sequential CIFAR-10, colour",
    source="www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated",
    citation="Krizhevsky 2009, Learning multiple layers of features from tiny images",
    version=1,
    shapes="x (1024, 3), one of 10 classes",
    units="(pixel / 255 - mean) / deviation, each colour",
    splits={"train": 45_000, "val": 5_000, "test": 10_000},
    cached_bytes=184_500_000,
    files=(
        RawFile(
            path="cifar-10-python.tar.gz",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
            size=170_498_071,
            sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            md5="c58f30108f718f92721af3b95e74349a",
            unpack="unpacked",
        ),
    ),
    layout="The folder cifar-10-batches-py also works.",
    differs=(
        "validation is a random tenth of the training images (torch's random_split, seed 42).",
        "S5's validation images are augmented where its training images are; here nothing is.",
    ),
)


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the note of the unpacked archive, or the six batch files."""
    return tree(raw.folder, MARKER, pattern="*_batch*")


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is an image, pixel by pixel with its three colours, and its class."""
    return {"x": Column("uint8", (1024, 3)), "y": Column("uint8")}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the images in published order."""
    folder = locate(raw.folder, MARKER)
    assert folder is not None
    names = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    for name in names:
        table = read_batch(folder / name)
        images = table[b"data"].reshape(-1, 3, 1024).transpose(0, 2, 1)
        for image, label in zip(images, table[b"labels"], strict=True):
            yield {"x": image, "y": label}


class _PlainArrays(pickle.Unpickler):
    """Builds numpy arrays and nothing else: a pickle may otherwise run any program."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it wants to use {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_batch(path: Path) -> dict[bytes, Any]:
    """Read one of CIFAR-10's pickled tables; raises DataError for any other pickle."""
    with reading(path), path.open("rb") as file:
        table = _PlainArrays(file, encoding="bytes").load()
        shape, labels = table[b"data"].shape, len(table[b"labels"])
    if shape != (labels, 3072):
        raise DataError(f"{path} is no table of CIFAR-10: {labels} labels, images of {shape}.")
    assert isinstance(table, dict)
    return table


def tenth_held_back(stored: Stored) -> dict[str, Subset]:
    """Return the published split: a random tenth of the training images validates."""
    rows = stored.splits["train"].rows
    train, val = torch_split(rows, rows // 10)
    return {
        "train": Subset(part="train", index=train),
        "val": Subset(part="train", index=val),
        "test": Subset(part="test"),
    }


def view(stored: Stored) -> View:
    """Read normalised colours."""
    scale = tuple(1 / (255 * std) for std in STD)
    shift = tuple(-mean / std for mean, std in zip(MEAN, STD, strict=True))
    read = Dense(channels=3, scale=scale, shift=shift)
    task = TaskInfo(d_input=3, d_output=10, length=1024, axes=(32, 32))
    return View(task=task, read=read, splits=tenth_held_back(stored))
