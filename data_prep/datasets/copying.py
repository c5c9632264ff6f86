"""The copying task: say, at the end, the tokens that were seen long before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data_prep.arrow import Column, Part
from data_prep.batches import Batch
from data_prep.card import TaskInfo
from data_prep.datasets import _synthetic as synthetic
from data_prep.registry import Raw
from data_prep.transforms import IGNORE, Stored, View

CARD = synthetic.card(
    "copying",
    "The copying task",
    citation="Arjovsky et al. 2016, arXiv:1511.06464",
    shapes="l_noise + 2 l_memorize tokens; the memorised ones at the last l_memorize steps",
    cached_bytes=1_560_000,
    units="token ids: 0 .. n_tokens - 3 to keep, then the blank, then the marker",
    differs=(
        "variable scatters the tokens over the noise (selective copying); the classical task puts "
        "them first.",
    ),
)
SHARD_ROWS, sizes = synthetic.SHARD_ROWS, synthetic.sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(synthetic.Sizes):
    """n_tokens: size of the vocabulary, of which two are the blank and the marker "now";
    l_memorize: tokens to keep; l_noise: blanks to keep them over; variable: scattered places."""

    n_tokens: int = 10
    l_memorize: int = 10
    l_noise: int = 100
    variable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 3 <= self.n_tokens <= 256:
            raise ValueError(f"need 3 <= n_tokens <= 256, got {self.n_tokens}.")
        if self.l_memorize < 1:
            raise ValueError(f"need l_memorize >= 1, got {self.l_memorize}.")
        if self.l_noise < 0:
            raise ValueError(f"need l_noise >= 0, got {self.l_noise}.")

    @property
    def length(self) -> int:
        """Steps of a sequence."""
        return self.l_noise + 2 * self.l_memorize


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is the input; the target follows from it."""
    options = raw.options
    return {"x": Column("uint8", (options.length,)), "y": Column("uint8", (options.l_memorize,))}


def generate(options: Options, split: str, shard: int) -> Iterator[Mapping[str, Any]]:
    """Draw the rows of a shard."""
    random = synthetic.random_of("copying", options.seed, split, shard)
    blank, now = options.n_tokens - 2, options.n_tokens - 1
    heard = options.l_noise + options.l_memorize
    for _ in range(SHARD_ROWS):
        tokens = random.randint(0, options.n_tokens - 2, options.l_memorize)
        places = np.arange(options.l_memorize)
        if options.variable:
            places = np.sort(random.permutation(heard)[: options.l_memorize])
        x = np.full(options.length, now, np.int64)
        x[:heard] = blank
        x[places] = tokens
        yield {"x": x, "y": tokens}


def read(part: Part, index: np.ndarray) -> Batch:
    """Gather rows: x (B, L) tokens, y (B, L) with IGNORE before the last l_memorize steps."""
    x = part.gather("x", index)
    tokens = part.gather("y", index)
    y = np.full(x.shape, IGNORE, np.int64)
    y[:, -tokens.shape[1] :] = tokens
    return Batch(x=x, y=y, index=index)


def view(stored: Stored) -> View:
    """Read tokens with a target a step."""
    options: Options = stored.options
    task = TaskInfo(
        d_input=options.n_tokens,
        d_output=options.n_tokens,
        length=options.length,
        tokens=True,
        target="step_class",
    )
    return View(task=task, read=read)
