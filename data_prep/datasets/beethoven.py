"""Beethoven piano sonatas, sample by sample, linear quantised."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.card import RawFile
from data_prep.datasets import _music as music
from data_prep.registry import Raw
from data_prep.transforms import Stored, View

CARD = music.card(
    name="beethoven",
    title="Beethoven piano sonatas",
    source="huggingface.co/datasets/krandiash/beethoven: 4,328 clips of eight seconds",
    shapes="128,000 tokens of 256 levels; the next level at every step",
    units="linear levels 0..255 of sound at 16 kHz, each chunk scaled to its own range",
    splits={"train": 3_808, "val": 260, "test": 260},
    cached_bytes=554_000_000,
    files=(
        RawFile(
            path="beethoven.zip",
            urls=(
                "https://huggingface.co/datasets/krandiash/beethoven/resolve/main/beethoven.zip",
            ),
            unpack="unpacked",
        ),
    ),
    layout="The archive is gated (accept its terms, pass a token); a folder of .wav also works.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """length: samples of a chunk."""

    length: int = 128_000

    def __post_init__(self) -> None:
        music.check_length(self.length)


sources, columns = music.sources, music.columns


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the chunks of a split."""
    return music.examples(raw, split, mu_law=False)


def view(stored: Stored) -> View:
    """Read chunks of one length."""
    return music.view(stored, mu_law=False)
