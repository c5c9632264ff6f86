"""How stored rows become batches: all of it happens when a batch is read, never in the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from data_prep.arrow import Part
from data_prep.batches import Batch
from data_prep.card import Split, TaskInfo

IGNORE = -100  # the class of a step that no loss counts
Reader = Callable[[Part, np.ndarray], Batch]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """A signal in [-1, 1], float32 (samples,), and its samples a second."""

    signal: np.ndarray
    sample_rate: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """What a data set's `view` is given: its options, and what is on the disk."""

    options: Any
    facts: Mapping[str, Any]
    splits: Mapping[str, Split]
    part: Callable[[str], Part]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subset:
    """A split as rows of a stored part; index None: all of them."""

    part: str
    index: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """How a data set is read: its task, its reader, its splits where they are not the stored parts.

    bucket: > 1 sorts runs of so many training batches by length (ragged data sets only);
    labels: (stored labels,) the class of each stored label, where they differ.
    streams: reads training batches, where they are no choice of rows: called with the part and the
        arguments of `Dataset.batches` from batch_size on (but shuffle), it yields them in order.
    decode: what a row of tokens x (length,) stands for, so that generated ones are heard or read.
    """

    task: TaskInfo
    read: Reader
    splits: Mapping[str, Subset] = dataclasses.field(default_factory=dict)
    bucket: int = 0
    labels: np.ndarray | None = None
    streams: Callable[..., Iterator[Batch]] | None = None
    decode: Callable[[np.ndarray], Sound | str] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense:
    """Read rows of one shape: x (B, length, channels) as stored, with its scale and shift.

    scale, shift: one number, or one a channel; () for none.

    order: (length,) places to read each row's steps from; step: keep every step-th of them, which
    the model is told as `rate`; keep: read only the first `keep` steps of a row.
    """

    channels: int = 1
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    order: np.ndarray | None = None
    step: int = 1
    keep: int | None = None

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        x = part.gather("x", index)
        x = x.reshape(len(x), -1, self.channels)
        if self.order is not None:
            x = np.take(x, self.order, axis=1)
        x = x[:, : self.keep : self.step]
        y = label(part.gather("y", index))
        dt = part.gather("dt", index) if "dt" in part.columns else None
        scale, shift = _numbers(self.scale), _numbers(self.shift)
        return Batch(x=x, y=y, dt=dt, rate=float(self.step), scale=scale, shift=shift, index=index)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """Read ragged float series, stored flat: x (B, longest, channels), padded with 0 after scaling.

    A ragged column y holds a target a step (padded with IGNORE, or NaN for values); a ragged column
    dt the time since the step before.
    """

    channels: int
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        lengths = part.lengths("x", index) // self.channels
        width = int(lengths.max(initial=1))
        flat = width * self.channels
        x = part.gather_ragged("x", index, width=flat, limit=flat)
        x = x.reshape(len(index), width, self.channels)
        counts = np.arange(width) < lengths[:, None]
        if self.scale:
            x *= np.array(self.scale, np.float32)
        if self.shift:
            x += np.array(self.shift, np.float32) * counts[:, :, None]
        dt = None
        if "dt" in part.columns:
            dt = part.gather_ragged("dt", index, width=width, limit=width)
        if part.columns["y"].shape is None:
            y = label(part.gather_ragged("y", index, width=width, limit=width))
            y[~counts] = np.nan if y.dtype.kind == "f" else IGNORE
        else:
            y = label(part.gather("y", index))
        return Batch(x=x, y=y, lengths=lengths, dt=dt, index=index)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
    """Read ragged rows of tokens: x (B, longest), padded on the right with 0, and lengths.

    Each row is cut to `limit` tokens, the last of which is `eos` if there is one; `offset` is added
    to every stored token (raw bytes make room for pad, unknown and end).
    """

    limit: int
    eos: int | None = None
    offset: int = 0

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        x, lengths = self.pad(part, "x", index)
        return Batch(x=x, y=label(part.gather("y", index)), lengths=lengths, index=index)

    def pad(self, part: Part, column: str, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the padded tokens, as narrow as they may be, and the int64 lengths of rows."""
        room = self.limit - (self.eos is not None)
        lengths = np.minimum(part.lengths(column, index), room).astype(np.int64)
        width = int(lengths.max(initial=0)) + (self.eos is not None)
        x = part.gather_ragged(column, index, width=width, limit=room)
        if self.offset:
            x = x.astype(np.promote_types(x.dtype, np.int16))
            x[np.arange(width) < lengths[:, None]] += self.offset
        if self.eos is not None:
            x[np.arange(len(x)), lengths] = self.eos
            lengths += 1
        return x, lengths


def label(y: np.ndarray) -> np.ndarray:
    """Turn stored labels into int64; leave values float32."""
    return y if y.dtype.kind == "f" else y.astype(np.int64)


def converted(batch: Batch) -> Batch:
    """Do on the host what a device does otherwise: tokens (B, L) become int64, other x float32."""
    if batch.x.ndim == 2:
        return dataclasses.replace(batch, x=batch.x.astype(np.int64, copy=False))
    x = batch.x.astype(np.float32, copy=batch.scale is not None or batch.shift is not None)
    if batch.scale is not None:
        x *= _for_each_step(batch.scale, x)
    if batch.shift is not None:
        x += _for_each_step(batch.shift, x)
    return dataclasses.replace(batch, x=x, scale=None, shift=None)


def _for_each_step(numbers: np.ndarray, x: np.ndarray) -> Any:
    """Return one number for all of x, or a channel's for each step.

    With an innermost axis of 1 or 3 numpy takes 1.2 or 7 times as long.
    """
    return numbers[0] if len(numbers) == 1 else np.tile(numbers, (x.shape[1], 1))


def _numbers(values: tuple[float, ...]) -> np.ndarray | None:
    return np.array(values, np.float32) if values else None
