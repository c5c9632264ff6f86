"""Speech Commands 0.02 as both of its data sets need it: every clip once, with what splits need.

All 105,829 clips are one stored part, by word and file name; the splits of sc35 and sc10 are row
numbers into it. The sums of each clip are stored, so that the mean and the deviation over any
split's training rows cost nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column, Part
from data_prep.audio import FULL_SCALE, mfcc, read_sound, speech_commands
from data_prep.batches import Batch
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.errors import DataError
from data_prep.moments import moments, row_sums, sum_columns
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.sources import locate, tree
from data_prep.transforms import Dense, Reader, Stored, Subset, View, converted

SAMPLES = 16_000
FRAMES, CEPSTRA = 161, 20
CLIPS_AT_ONCE = 128
UNITS = "samples at 16 kHz (or mel cepstra), normalised over the training rows"
EPSILON = 1e-5  # added to the deviation by the published pipeline
FOLDS = ("training", "validation", "testing")
LIST_FILE = "testing_list.txt"

SC10_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# fmt: off
# The order of the published labels, which is not alphabetical.
SC35_WORDS = (
    "bed", "cat", "down", "five", "forward", "go", "house", "left", "marvin", "no", "on", "right",
    "sheila", "tree", "up", "visual", "yes", "backward", "bird", "dog", "eight", "follow", "four",
    "happy", "learn", "nine", "off", "one", "seven", "six", "stop", "three", "two", "wow", "zero",
)
# fmt: on

ARCHIVE = RawFile(
    path="speech_commands_v0.02.tar.gz",
    urls=("http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",),
    size=2_428_923_189,
    sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    unpack="SpeechCommands/speech_commands_v0.02",
)
LAYOUT = "A folder a word, with testing_list.txt and validation_list.txt beside them, also works."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """mfcc: store 20 mel cepstra in 161 frames instead of 16,000 samples: "correct", or "s4" as in
    the published pipeline; None: the samples.
    norm: "unit" makes the training rows' mean 0 and deviation 1; "s4" repeats the published double
    scaling, whose deviation is about 0.25. rate: keep every rate-th sample without a filter (2 is
    the published zero-shot test at 8 kHz).
    """

    mfcc: Literal["s4", "correct"] | None = None
    norm: Literal["s4", "unit"] = view_option("s4")
    rate: int = view_option(1)

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise ValueError(f"need rate >= 1, got {self.rate}.")


def card(*, units: str = UNITS, **fields: Any) -> DatasetCard:
    """Return a card with what both data sets share."""
    return DatasetCard(
        source="Speech Commands 0.02 (Google)",
        licence="CC-BY-4.0",
        citation="Warden 2018, arXiv:1804.03209",
        version=1,
        units=units,
        files=(ARCHIVE,),
        layout=LAYOUT,
        **fields,
    )


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the note of the unpacked archive, or every file of a folder brought by hand."""
    return tree(raw.folder, LIST_FILE)


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a clip, its word, its published fold, its true length, and its sums a channel."""
    x = Column("int16", (SAMPLES,))
    if raw.options.mfcc:
        x = Column("float32", (FRAMES, CEPSTRA))
    channels = CEPSTRA if raw.options.mfcc else 1
    plain = {"y": Column("uint8"), "fold": Column("uint8"), "length": Column("int32")}
    return {"x": x, **plain, **sum_columns(channels)}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read every clip, by word and file name; short ones are filled up with silence."""
    folder = locate(raw.folder, LIST_FILE)
    assert folder is not None
    clips = [
        (SC35_WORDS.index(word), path.name, path, fold)
        for fold, subset in enumerate(FOLDS)
        for path, word, _ in speech_commands(folder, subset)
        if word in SC35_WORDS
    ]
    if not clips:
        raise DataError(f"{folder} holds no clips of the 35 words.")
    clips.sort()
    for start in range(0, len(clips), CLIPS_AT_ONCE):
        some = clips[start : start + CLIPS_AT_ONCE]
        waves = [_read_clip(path) for _, _, path, _ in some]
        lengths = [len(wave) for wave in waves]
        x = np.stack([np.pad(wave, (0, SAMPLES - len(wave))) for wave in waves])
        if raw.options.mfcc:
            x = mfcc(x, kind=raw.options.mfcc)
        for (word, _, _, fold), row, length in zip(some, x, lengths, strict=True):
            yield {"x": row, "y": word, "fold": fold, "length": length, **_sums(row)}


def _read_clip(path: Path) -> np.ndarray:
    samples, _ = read_sound(path, sample_rate=SAMPLES)
    if len(samples) > SAMPLES:
        raise DataError(f"{path} is longer than a second: {len(samples)} samples.")
    return samples


def _sums(row: np.ndarray) -> dict[str, np.ndarray]:
    return row_sums(row[:, None] / FULL_SCALE if row.dtype == np.int16 else row)


def read_columns(part: Part) -> dict[str, np.ndarray]:
    """Return what splits are made of: y, fold and length of every clip."""
    rows = np.arange(part.rows)
    return {name: part.gather(name, rows) for name in ("y", "fold", "length")}


def reader(stored: Stored, train: np.ndarray) -> Dense:
    """Return the reader that normalises by the training rows."""
    options, part = stored.options, stored.part("clips")
    if options.mfcc:
        mean, std = moments(part, train, len(train) * FRAMES)
        scale = 1 / (std + EPSILON)
        return Dense(
            channels=CEPSTRA,
            scale=tuple(scale.tolist()),
            shift=tuple((-mean * scale).tolist()),
            step=options.rate,
        )
    mean, std = moments(part, train, len(train) * SAMPLES)
    if options.norm == "s4":
        # Published: samples in [-1, 1) are divided by 2^15 a second time before the deviation,
        # then about 3e-6, is put in proportion to EPSILON.
        mean, std = mean / FULL_SCALE, std / FULL_SCALE
        whole = 1 / (std + EPSILON)
        scale = whole / FULL_SCALE**2
    else:
        whole = 1 / std
        scale = whole / FULL_SCALE
    return Dense(scale=(float(scale[0]),), shift=(float(-mean[0] * whole[0]),), step=options.rate)


def task(options: Options, classes: int, *, extra_channels: int = 0) -> TaskInfo:
    """Return the task: samples or cepstra in, one of `classes` words out."""
    steps, channels = (FRAMES, CEPSTRA) if options.mfcc else (SAMPLES, 1)
    length = -(-steps // options.rate)
    return TaskInfo(d_input=channels + extra_channels, d_output=classes, length=length)


def view_of(
    task: TaskInfo,
    read: Reader,
    splits: Mapping[str, np.ndarray],
    *,
    labels: np.ndarray | None = None,
) -> View:
    """Return the view with these rows of the one stored part."""
    subsets = {name: Subset(part="clips", index=rows) for name, rows in splits.items()}
    return View(task=task, read=read, splits=subsets, labels=labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropping:
    """Read clips of which `percent` of the samples are 0 (after normalising), and a mask channel.

    Which ones is a function of the clip's row alone, so they are the same in every epoch.
    """

    read: Dense
    percent: float

    def __call__(self, part: Part, index: np.ndarray) -> Batch:
        """Gather the rows `index`."""
        batch = converted(self.read(part, index))
        mask = np.ones((*batch.x.shape[:2], 1), np.float32)
        count = int(mask.shape[1] * self.percent / 100)
        for place, row in enumerate(index.tolist()):
            order = np.random.RandomState([56789, row]).permutation(mask.shape[1])
            mask[place, order[:count]] = 0.0
        return dataclasses.replace(batch, x=np.concatenate([batch.x * mask, mask], axis=2))
