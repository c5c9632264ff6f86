"""CIFAR-10 in grey, pixel by pixel (the Image task of the Long Range Arena): a view of scifar."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from data_prep.arrow import Part
from data_prep.batches import Batch
from data_prep.card import TaskInfo
from data_prep.datasets import scifar
from data_prep.options import view as view_option
from data_prep.transforms import Stored, Subset, View, label

STORED_AS = "scifar"

CARD = dataclasses.replace(
    scifar.CARD,
    name="lra_image",
    title="CIFAR-10 in grey (Long Range Arena: Image)",
    shapes="x (1024, 1), or 1024 tokens of 256 when tokenize; one of 10 classes",
    units="(grey / 255 - 0.4808) / 0.2392, or the grey level 0..255 itself",
    cached_bytes=0,
    differs=(
        "grey is computed as the imaging library PIL does; the Long Range Arena's own is one "
        "level lower on about half of the pixels.",
        "validation: a random tenth of the training images (split: s4) or the last tenth (lra).",
        "the Long Range Arena feeds the grey levels as tokens (tokenize: true).",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """tokenize: grey levels as 256 tokens; split: which tenth of the training images validates."""

    tokenize: bool = view_option(False)
    split: Literal["s4", "lra"] = view_option("s4")


def grey(colours: np.ndarray) -> np.ndarray:
    """Return the grey levels (..., ) uint8 of colours (..., 3) uint8, as PIL's mode L does."""
    weights = np.array([19595, 38470, 7471], np.uint32)
    levels: np.ndarray = (colours @ weights + 32768) >> 16
    return levels.astype(np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grey:
    """Read grey levels: x (B, 1024, 1) as stored, or (B, 1024) tokens."""

    tokenize: bool

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        x = grey(part.gather("x", index))
        y = label(part.gather("y", index))
        if self.tokenize:
            return Batch(x=x, y=y, index=index)
        scale, shift = np.array([1 / 61], np.float32), np.array([-122.6 / 61], np.float32)
        return Batch(x=x[:, :, None], y=y, scale=scale, shift=shift, index=index)


def view(stored: Stored) -> View:
    """Read grey images."""
    options: Options = stored.options
    splits = scifar.tenth_held_back(stored)
    if options.split == "lra":
        rows = stored.splits["train"].rows
        cut = rows - rows // 10
        splits["train"] = Subset(part="train", index=np.arange(cut))
        splits["val"] = Subset(part="train", index=np.arange(cut, rows))
    task = TaskInfo(
        d_input=256 if options.tokenize else 1,
        d_output=10,
        length=1024,
        tokens=options.tokenize,
        axes=(32, 32),
    )
    return View(task=task, read=Grey(tokenize=options.tokenize), splits=splits)
