"""Permuted sequential MNIST: sequential MNIST read in one fixed, meaningless order."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from data_prep.card import TaskInfo
from data_prep.datasets import smnist
from data_prep.options import view as view_option
from data_prep.transforms import Dense, Stored, View

STORED_AS = "smnist"

CARD = dataclasses.replace(
    smnist.CARD,
    name="psmnist",
    title="Permuted sequential MNIST",
    cached_bytes=0,
    differs=(
        *smnist.CARD.differs,
        "the order differs: bit reversal in S4 and S5, RandomState(92916) in the older literature, "
        "RandomState(42) in s4torch; results of different orders cannot be compared.",
        "S4's own configuration of MNIST is this one: its default is permute: true.",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(smnist.Options):
    """permutation: "bit_reversal" (S4, S5), "literature" (RandomState(92916)) or "s4torch"."""

    permutation: Literal["bit_reversal", "literature", "s4torch"] = view_option("bit_reversal")


def permutation(name: str, length: int = 784) -> np.ndarray:
    """Return the places (length,) that the steps of a published order are read from."""
    if name == "bit_reversal":
        return bit_reversal(length)
    seed = {"literature": 92916, "s4torch": 42}[name]
    return np.random.RandomState(seed).permutation(length)


def bit_reversal(length: int) -> np.ndarray:
    """Return 0 .. 2^b - 1 with their bits reversed, less those >= length."""
    bits = (length - 1).bit_length()
    places = np.arange(1 << bits)
    order = np.zeros_like(places)
    for bit in range(bits):
        order |= ((places >> bit) & 1) << (bits - 1 - bit)
    return order[order < length]


def view(stored: Stored) -> View:
    """Read x as pixel / 255, in the order of the option."""
    order = permutation(stored.options.permutation)
    task = TaskInfo(d_input=1, d_output=10, length=784)
    return View(task=task, read=Dense(scale=(1 / 255,), order=order))
