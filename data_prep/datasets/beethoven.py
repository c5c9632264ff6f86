"""Beethoven piano sonatas, sample by sample, linear quantised."""

from __future__ import annotations

import dataclasses
import functools

from data_prep.datasets import _music as music

LENGTH = 128_000  # samples of a published chunk

CARD = music.card(
    name="beethoven",
    title="Beethoven piano sonatas",
    source="huggingface.co/datasets/krandiash/beethoven: 4,328 clips of eight seconds",
    length=LENGTH,
    levels="linear",
    archive="beethoven.zip",
    sound=1_110_000_000,
    licence="none stated; recordings of the Internet Archive, gathered for SampleRNN",
    splits={"train": 3_808, "val": 260, "test": 260},
    cached_bytes=554_000_000,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """length: samples of a chunk."""

    length: int = LENGTH

    def __post_init__(self) -> None:
        music.check_length(self.length)


sources, columns = music.sources, music.columns
examples = functools.partial(music.examples, mu_law=False)
view = functools.partial(music.view, mu_law=False)
