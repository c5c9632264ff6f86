"""Speech Commands' ten digits, sample by sample, mu-law quantised (SaShiMi's SC09)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.arrow import Column
from data_prep.audio import read_sound, speech_commands
from data_prep.datasets import _music as music
from data_prep.datasets import _speech_commands as shared
from data_prep.errors import DataError
from data_prep.registry import Raw
from data_prep.sources import locate
from data_prep.transforms import Stored, View

RAW = "speech_commands"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CARD = shared.card(
    name="sc09",
    title="Speech Commands, ten digits, for generation",
    units="mu-law levels 0..255 of sound at 16 kHz, each clip scaled to its own range",
    shapes="up to 16,000 tokens of 256 levels; the next level at every step",
    splits={"train": 31_158, "val": 3_643, "test": 4_107},
    cached_bytes=620_000_000,
    differs=(
        "splits are the published list files; all lengths are kept, padding counts in no loss.",
        "published batches are filled up with the middle level to a power of two, here with 0 to "
        "the longest clip.",
        "the classifier that scores generated digits was trained on version 0.01.",
        "S5 and Liquid-S4 lack a later fix for short batches, where input and target differ in "
        "length.",
    ),
)

sources = shared.sources


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a clip's levels and its digit."""
    return {"x": Column("uint8", None), "y": Column("uint8")}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the digits of a published list."""
    folder = locate(raw.folder, shared.LIST_FILE)
    assert folder is not None
    subset = shared.FOLDS[("train", "val", "test").index(split)]
    found = [c for c in speech_commands(folder, subset) if c[1] in DIGITS]
    if not found:
        raise DataError(f"{folder} holds no digits for {split}.")
    for path, word, _ in found:
        samples, _ = read_sound(path, sample_rate=music.SAMPLE_RATE)
        yield {"x": music.quantise(samples, mu_law=True), "y": DIGITS.index(word)}


def view(stored: Stored) -> View:
    """Read padded clips."""
    limit = shared.SAMPLES
    return View(
        task=music.task(limit, ragged=True),
        read=music.NextLevel(ragged=True, limit=limit),
        decode=music.Hear(mu_law=True),
    )
