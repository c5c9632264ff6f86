"""Your own sounds: a folder a class, any file that soundfile reads. No code, only options.

Parts: folders train/, val/, test/ above the classes, if there are; else validation_list.txt and
testing_list.txt (as in Speech Commands); else by lot, whole speakers together if `speaker` says
how a file's name tells who speaks.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column
from data_prep.audio import FULL_SCALE, read_sound
from data_prep.card import DatasetCard, TaskInfo
from data_prep.errors import DataError
from data_prep.moments import moments, row_sums, sum_columns
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.splits import random_folds
from data_prep.transforms import Dense, Stored, Subset, View

SPLITS = ("clips",)
FOLDS = ("train", "val", "test")
LISTS = ("validation_list.txt", "testing_list.txt")
DRAWN = "let parts be drawn (classes right below that folder, no lists)."
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"})

CARD = DatasetCard(
    name="folder_audio",
    title="Your own sounds, a folder a class",
    source="your files",
    licence="yours",
    citation="",
    version=2,
    shapes="x (length, 1), one of as many classes as there are folders",
    units="samples, normalised over the training rows (normalise: unit) or in [-1, 1)",
    splits={},
    cached_bytes=0,
    layout="Put a folder a class there, with sound files in it (folders that begin with _ or . are "
    "left out).",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """sample_rate: samples a second (others are resampled); length: samples of a clip, longer ones
    are cut and shorter ones filled up with silence. speaker: a regular expression whose first
    group, searched in a file's name, is who speaks; val, test: shares drawn by lot; seed: of the
    draw; normalise: "unit" by the training clips, or "none"; rate: keep every rate-th sample."""

    sample_rate: int = 16_000
    length: int = 16_000
    speaker: str = ""
    val: float = view_option(0.1)
    test: float = view_option(0.1)
    seed: int = view_option(0)
    normalise: Literal["unit", "none"] = view_option("unit")
    rate: int = view_option(1)

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.length, self.rate) < 1:
            given = f"{self.sample_rate}, {self.length}, {self.rate}"
            raise ValueError(f"need sample_rate, length, rate >= 1, got {given}.")
        if min(self.val, self.test) <= 0 or self.val + self.test >= 1:
            raise ValueError(f"need val, test > 0 and val + test < 1, got {self.val}, {self.test}.")
        try:
            groups = re.compile(self.speaker).groups
        except re.error as error:
            raise ValueError(f"speaker is no regular expression: {error}.") from error
        if self.speaker and not groups:
            raise ValueError("speaker needs a group in brackets, such as ^([^_]+)_.")


def _classes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._")


def _has_parts(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in FOLDS)


def _has_lists(folder: Path) -> bool:
    return all((folder / name).is_file() for name in LISTS)


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _sounds(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUNDS)


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return every sound, and the list files."""
    sounds = [path for folder in _classes(raw.folder) for path in _sounds(folder)]
    lists = [raw.folder / name for name in LISTS if (raw.folder / name).is_file()]
    return tuple(sounds + lists)


def survey(raw: Raw) -> Mapping[str, Any]:
    """Name the classes; say how the parts are told."""
    for names in (FOLDS, LISTS):
        lost = [name for name in names if not (raw.folder / name).exists()]
        if len(lost) == 1:
            raise DataError(f"folder_audio: {raw.folder} has no {lost[0]}: add it, or {DRAWN}")
    tops = [raw.folder / f for f in FOLDS] if _has_parts(raw.folder) else [raw.folder]
    classes = sorted({c.name for top in tops for c in _classes(top) if _sounds(c)})
    if len(classes) < 2:
        raise DataError(f"folder_audio: {raw.folder} holds {len(classes)} classes, need two.")
    told = len(tops) > 1 or _has_lists(raw.folder)
    if told:
        _refuse_untold(raw)
    return {"classes": classes, "told": told}


glance = survey  # which reads no sound


def _refuse_untold(raw: Raw) -> None:
    """Say, before a sound is read, which lines name none and which part has none."""
    files = list(_files(raw))
    known = {path.relative_to(raw.folder).as_posix() for path, _, _ in files}
    for name in () if _has_parts(raw.folder) else LISTS:
        lost = [line for line in _lines(raw.folder / name) if line not in known]
        if lost:
            raise DataError(
                f"folder_audio: {raw.folder / name}: {len(lost)} of its lines name no sound, such "
                f"as {', '.join(lost[:3])}: write CLASS/FILE with a /, or leave them out."
            )
    for fold, part in enumerate(FOLDS):
        if all(number != fold for _, _, number in files):
            raise DataError(
                f"folder_audio: {raw.folder} has no sounds for {part}: add some, or {DRAWN}"
            )


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a clip, its class, part and speaker, and its sums."""
    plain = {"y": Column("int32"), "fold": Column("uint8"), "speaker": Column("int32")}
    return {"x": Column("int16", (raw.options.length,)), **plain, **sum_columns(1)}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read every clip, part by part, class by class, by name."""
    length, speakers = raw.options.length, dict[str, int]()
    for path, name, fold in _files(raw):
        samples, _ = read_sound(path, sample_rate=raw.options.sample_rate)
        clip = np.zeros(length, np.int16)
        clip[: len(samples)] = samples[:length]
        found = re.search(raw.options.speaker, path.name) if raw.options.speaker else None
        who = found.group(1) if found else str(path)
        yield {
            "x": clip,
            "y": raw.facts["classes"].index(name),
            "fold": fold,
            "speaker": speakers.setdefault(who, len(speakers)),
            **row_sums(clip[:, None] / FULL_SCALE),
        }


def _files(raw: Raw) -> Iterator[tuple[Path, str, int]]:
    """Yield each sound, its class and its part."""
    if _has_parts(raw.folder):
        for fold, part in enumerate(FOLDS):
            for folder in _classes(raw.folder / part):
                yield from ((path, folder.name, fold) for path in _sounds(folder))
        return
    listed: dict[str, int] = {}
    if _has_lists(raw.folder):
        for fold, name in enumerate(LISTS, start=1):
            listed |= dict.fromkeys(_lines(raw.folder / name), fold)
    for folder in _classes(raw.folder):
        for path in _sounds(folder):
            yield path, folder.name, listed.get(path.relative_to(raw.folder).as_posix(), 0)


def view(stored: Stored) -> View:
    """Read normalised clips."""
    options: Options = stored.options
    part = stored.part("clips")
    rows = np.arange(part.rows)
    if stored.facts["told"]:
        fold = part.gather("fold", rows)
        splits = tuple(np.flatnonzero(fold == k) for k in range(3))
    else:
        try:
            speaker = part.gather("speaker", rows)
            splits = random_folds(speaker, (options.val, options.test), options.seed)
        except ValueError as error:
            raise DataError(f"folder_audio: {error}") from error
    scale, shift = 1 / FULL_SCALE, 0.0
    if options.normalise == "unit":
        mean, std = moments(part, splits[0], len(splits[0]) * options.length)
        deviation = max(float(std[0]), 1e-8)
        scale, shift = 1 / (FULL_SCALE * deviation), -float(mean[0]) / deviation
    parts = zip(FOLDS, splits, strict=True)
    return View(
        task=TaskInfo(
            d_input=1,
            d_output=len(stored.facts["classes"]),
            length=-(-options.length // options.rate),
        ),
        read=Dense(scale=(scale,), shift=(shift,), step=options.rate),
        splits={n: Subset(part="clips", index=i) for n, i in parts},
    )
