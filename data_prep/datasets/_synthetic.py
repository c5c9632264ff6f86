"""What the generated memory tasks share: a fixed number of rows a split, drawn from a seed."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from data_prep.card import DatasetCard

SHARD_ROWS = 500
EVERY_EPOCH = "published runs draw new rows in every epoch; here the training rows are fixed."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """train, val, test: rows to generate; seed: of the generator."""

    train: int = 10_000
    val: int = 1_000
    test: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.val, self.test) < 1:
            raise ValueError(
                f"need train, val, test >= 1, got {self.train}, {self.val}, {self.test}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signals(Sizes):
    """dt: seconds a step; freq: highest frequency of the signal in Hz."""

    dt: float = 0.001
    freq: float = 10.0


def sizes(options: Sizes) -> Mapping[str, int]:
    """Return the rows of each split."""
    return {"train": options.train, "val": options.val, "test": options.test}


def random_of(name: str, seed: int, split: str, shard: int) -> np.random.RandomState:
    """Return the generator of one shard: a stream of its own."""
    return np.random.RandomState([zlib.crc32(f"{name}/{split}".encode()), seed, shard])


def card(
    name: str,
    title: str,
    *,
    citation: str,
    shapes: str,
    units: str,
    cached_bytes: int,
    differs: tuple[str, ...] = (),
) -> DatasetCard:
    """Return the card of a generated task."""
    return DatasetCard(
        name=name,
        title=title,
        source="generated here",
        licence="Apache-2.0",
        citation=citation,
        version=1,
        shapes=shapes,
        units=units,
        splits={"train": 10_000, "val": 1_000, "test": 1_000},
        cached_bytes=cached_bytes,
        differs=(*differs, EVERY_EPOCH),
    )


def white_signal(
    random: np.random.RandomState, length: int, *, dt: float, freq: float, rms: float = 0.5
) -> np.ndarray:
    """Return band-limited white noise (length,), float32: no power above `freq` (Hz), given rms.

    dt: seconds a step. Raises ValueError if the band holds no frequency of this length.
    """
    frequencies = np.fft.rfftfreq(length, dt)
    band = (frequencies > 0) & (frequencies <= freq)
    if not band.any():
        raise ValueError(f"need freq >= {1 / (length * dt):.3g} for this length, got {freq}.")
    spectrum = np.zeros(len(frequencies), np.complex128)
    spectrum[band] = random.standard_normal((2, int(band.sum()))).T @ np.array([1, 1j])
    signal = np.fft.irfft(spectrum, length)
    return np.asarray(signal * (rms / np.sqrt(np.mean(signal**2))), np.float32)


def signals(
    name: str, options: Signals, split: str, shard: int, *, steps: int
) -> Iterator[np.ndarray]:
    """Draw the signals (steps, 1) of a shard."""
    random = random_of(name, options.seed, split, shard)
    for _ in range(SHARD_ROWS):
        yield white_signal(random, steps, dt=options.dt, freq=options.freq)[:, None]
