"""YouTubeMix piano, sample by sample, mu-law quantised."""

from __future__ import annotations

import dataclasses
import functools

from data_prep.datasets import _music as music

LENGTH = 131_072  # samples of a published chunk

CARD = music.card(
    name="youtubemix",
    title="YouTubeMix piano",
    source="huggingface.co/datasets/krandiash/youtubemix: 241 clips of a minute",
    length=LENGTH,
    levels="mu-law",
    archive="youtube_mix.zip",
    sound=463_000_000,
    licence="none; its publisher allows research only (fair use of a YouTube recording)",
    splits={"train": 1_484, "val": 98, "test": 105},
    cached_bytes=221_000_000,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """length: samples of a chunk."""

    length: int = LENGTH

    def __post_init__(self) -> None:
        music.check_length(self.length)


sources, columns = music.sources, music.columns
examples = functools.partial(music.examples, mu_law=True)
view = functools.partial(music.view, mu_law=True)
