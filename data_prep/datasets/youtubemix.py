"""YouTubeMix piano, sample by sample, mu-law quantised."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.card import RawFile
from data_prep.datasets import _music as music
from data_prep.registry import Raw
from data_prep.transforms import Stored, View

CARD = music.card(
    name="youtubemix",
    title="YouTubeMix piano",
    source="huggingface.co/datasets/krandiash/youtubemix: 241 clips of a minute",
    shapes="131,072 tokens of 256 levels; the next level at every step",
    units="mu-law levels 0..255 of sound at 16 kHz, each chunk scaled to its own range",
    splits={"train": 1_484, "val": 98, "test": 105},
    cached_bytes=221_000_000,
    files=(
        RawFile(
            path="youtube_mix.zip",
            urls=(
                "https://huggingface.co/datasets/krandiash/youtubemix/resolve/main/youtube_mix.zip",
            ),
            unpack="unpacked",
        ),
    ),
    layout="A folder of .wav files also works.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """length: samples of a chunk."""

    length: int = 131_072

    def __post_init__(self) -> None:
        music.check_length(self.length)


sources, columns = music.sources, music.columns


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read the chunks of a split."""
    return music.examples(raw, split, mu_law=True)


def view(stored: Stored) -> View:
    """Read chunks of one length."""
    return music.view(stored, mu_law=True)
