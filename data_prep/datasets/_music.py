"""Sound one quantised sample at a time: predict the next of 256 levels (SaShiMi's data sets).

Each clip is scaled by its own least and greatest sample, quantised (linear or mu-law), stored as
uint8. The model's input is the target one step late, with the middle level first.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.arrow import Column, Part
from data_prep.audio import read_sound
from data_prep.batches import Batch
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.registry import Raw
from data_prep.sources import UNPACKED, files_below
from data_prep.transforms import IGNORE, Sound, Stored, View

LEVELS = 256
START = 128
SAMPLE_RATE = 16_000


def quantise(signal: np.ndarray, *, mu_law: bool) -> np.ndarray:
    """Return a clip's levels, uint8 of the same shape, after scaling it to its own range.

    Source: SaShiMi, arXiv:2202.09729, and its published code for the constants.
    """
    signal = signal.astype(np.float32)
    low, high = signal.min(), signal.max()
    unit = (signal - low) / (high - low + np.float32(1e-6))
    if mu_law:
        centred = 2 * unit - 1
        squeezed: np.ndarray = (
            np.sign(centred) * np.log1p(255 * np.abs(centred + 1e-8)) / np.log1p(255.0)
        )
        unit = (squeezed + 1) / 2
    levels = np.floor(unit * (LEVELS - 0.01) + 0.005)
    return np.asarray(np.clip(levels, 0, LEVELS - 1), np.uint8)


def dequantise(levels: np.ndarray, *, mu_law: bool) -> np.ndarray:
    """Return sound in [-1, 1], float32, from levels."""
    unit = (levels.astype(np.float32) + 0.5) / LEVELS * 2 - 1
    if not mu_law:
        return unit
    grown: np.ndarray = np.sign(unit) * np.expm1(np.abs(unit) * np.log1p(255.0)) / 255
    return grown.astype(np.float32)


def natural(paths: Sequence[Path]) -> list[Path]:
    """Sort file names as a person would: out2 before out10."""
    return sorted(paths, key=lambda p: [int(t) if t.isdigit() else t for t in _words(p.name)])


def _words(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def card(
    *, name: str, length: int, levels: str, archive: str, sound: int, **fields: Any
) -> DatasetCard:
    """Return the card of a data set made of a folder of WAV files.

    archive: its name; sound: bytes of the WAV files in it.
    """
    url = f"https://huggingface.co/datasets/krandiash/{name}/resolve/main/{archive}"
    return DatasetCard(
        name=name,
        citation="Goel et al. 2022, SaShiMi, arXiv:2202.09729",
        version=1,
        shapes=f"{length:,} tokens of 256 levels; the next level at every step",
        units=f"{levels} levels 0..255 of sound at 16 kHz, each chunk scaled to its own range",
        files=(RawFile(path=archive, urls=(url,), about=sound, unpack="unpacked"),),
        layout="The archive is gated (accept its terms there, pass a token); a folder of .wav also "
        "works.",
        differs=(
            "the split is by natural order of the file names (88, 6, 6 %): a stray file shifts it.",
            "samples that do not fill a chunk are dropped; each chunk is scaled by its own range.",
        ),
        **fields,
    )


def folder_of(raw: Raw) -> Path:
    """Return the shallowest folder with WAV files in it."""
    found = sorted(files_below(raw.folder, "*.wav"), key=lambda p: (len(p.parts), p))
    return found[0].parent if found else raw.folder


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the note of the unpacked archive, or the WAV files."""
    note = raw.folder / "unpacked" / UNPACKED
    files = tuple(sorted(folder_of(raw).glob("*.wav")))
    return (note,) if note.is_file() or not files else files


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a chunk's levels."""
    return {"x": Column("uint8", (raw.options.length,))}


def examples(raw: Raw, split: str, *, mu_law: bool) -> Iterator[Mapping[str, Any]]:
    """Read the whole chunks of a split's files."""
    length = raw.options.length
    for path in _part(natural(list(folder_of(raw).glob("*.wav"))), split):
        samples, _ = read_sound(path, sample_rate=SAMPLE_RATE)
        for start in range(0, len(samples) - length + 1, length):
            yield {"x": quantise(samples[start : start + length], mu_law=mu_law)}


def _part(files: Sequence[Path], split: str) -> Sequence[Path]:
    """Return the files of a split: the first 88 %, the next 6 %, the rest."""
    low, high = int(0.88 * len(files)), int(0.94 * len(files))
    return {"train": files[:low], "val": files[low:high], "test": files[high:]}[split]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NextLevel:
    """Read levels: x (B, L) tokens, the target one step late; y (B, L), IGNORE where padded."""

    ragged: bool = False
    limit: int = 1 << 62

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        lengths = None
        if self.ragged:
            lengths = np.minimum(part.lengths("x", index), self.limit).astype(np.int64)
            width = int(lengths.max(initial=1))
            levels = part.gather_ragged("x", index, width=width, limit=self.limit)
        else:
            levels = part.gather("x", index)
        x, y = np.roll(levels, 1, axis=1), levels.astype(np.int64)
        x[:, 0] = START
        if lengths is not None:
            padded = np.arange(y.shape[1]) >= lengths[:, None]
            x[padded], y[padded] = 0, IGNORE
        return Batch(x=x, y=y, lengths=lengths, index=index)


def task(length: int, *, ragged: bool = False) -> TaskInfo:
    """Return the task: one of 256 levels in, the next one out, at every step."""
    return TaskInfo(
        d_input=LEVELS,
        d_output=LEVELS,
        length=length,
        tokens=True,
        target="step_class",
        ragged=ragged,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hear:
    """Turn a row of x, the start and then levels, into the sound of the levels."""

    mu_law: bool

    def __call__(self, x: np.ndarray) -> Sound:
        """Decode a row."""
        return Sound(signal=dequantise(x[1:], mu_law=self.mu_law), sample_rate=SAMPLE_RATE)


def view(stored: Stored, *, mu_law: bool) -> View:
    """Read chunks of one length."""
    task_info = task(stored.options.length)
    return View(task=task_info, read=NextLevel(), decode=Hear(mu_law=mu_law))


def check_length(length: int) -> None:
    """Raise ValueError for a chunk length that cannot be."""
    if length < 2:
        raise ValueError(f"need length >= 2, got {length}.")
