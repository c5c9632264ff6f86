"""NSynth: single notes of four seconds at 16 kHz, by family of instrument."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_prep.arrow import Column
from data_prep.audio import FULL_SCALE, read_sound
from data_prep.card import DatasetCard, RawFile, TaskInfo
from data_prep.errors import DataError
from data_prep.options import view as view_option
from data_prep.registry import Raw
from data_prep.sources import UNPACKED, reading
from data_prep.splits import torch_split
from data_prep.transforms import Dense, Stored, Subset, View

SPLITS = ("notes",)
FOLDS = ("train", "valid", "test")
SAMPLES = 64_000
ARCHIVES = (23_800_000_000, 1_000_000_000, 300_000_000)  # of 25.2 GB in all, by their notes
# fmt: off
FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string",
    "synth_lead", "vocal",
)
# fmt: on

CARD = DatasetCard(
    name="nsynth",
    title="NSynth, instrument families",
    source="magenta.tensorflow.org/datasets/nsynth (25.2 GB in three archives)",
    licence="CC-BY-4.0",
    citation="Engel et al. 2017, arXiv:1704.01279",
    version=1,
    shapes="x (64000, 1), one of 11 families",
    units="samples at 16 kHz in [-1, 1)",
    splits={"train": 289_205, "val": 12_678, "test": 4_096},
    cached_bytes=39_160_000_000,
    files=tuple(
        RawFile(
            path=f"nsynth-{fold}.jsonwav.tar.gz",
            about=bytes_about,
            urls=(
                "http://download.magenta.tensorflow.org/datasets/nsynth/"
                f"nsynth-{fold}.jsonwav.tar.gz",
            ),
            unpack=f"unpacked-{fold}",
        )
        for fold, bytes_about in zip(FOLDS, ARCHIVES, strict=True)
    ),
    layout="Folders nsynth-train, nsynth-valid and nsynth-test with examples.json and audio/ in "
    "each also work.",
    differs=(
        "s4torch speaks of ten families; eleven occur, but no test note is of synth_lead.",
        "s4torch merges the three parts and holds back a random hundredth (split: s4torch).",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """split: the official parts, or s4torch's random one (val and test are then the same rows)."""

    split: Literal["official", "s4torch"] = view_option("official")


def _folder(raw: Raw, fold: str) -> Path:
    places = (raw.folder / f"unpacked-{fold}" / f"nsynth-{fold}", raw.folder / f"nsynth-{fold}")
    return next((p for p in places if p.is_dir()), places[1])


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return each part's note, or its index and its sounds."""
    found: list[Path] = []
    for fold in FOLDS:
        note = raw.folder / f"unpacked-{fold}" / UNPACKED
        folder = _folder(raw, fold)
        sounds = sorted((folder / "audio").glob("*.wav"))
        found += [note] if note.is_file() else [folder / "examples.json", *sounds]
    return tuple(found)


def columns(raw: Raw, split: str) -> dict[str, Column]:
    """A row is a note, its family, and the official part it is in."""
    return {"x": Column("int16", (SAMPLES,)), "y": Column("uint8"), "fold": Column("uint8")}


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read every note, part by part, by name."""
    for number, fold in enumerate(FOLDS):
        folder = _folder(raw, fold)
        index = folder / "examples.json"
        with reading(index):
            notes = json.loads(index.read_text(encoding="utf-8"))
            families = {name: note["instrument_family"] for name, note in notes.items()}
        for name in sorted(families):
            samples, _ = read_sound(folder / "audio" / f"{name}.wav", sample_rate=16_000)
            if len(samples) != SAMPLES:
                raise DataError(f"{folder}/audio/{name}.wav has {len(samples)} samples.")
            yield {"x": samples, "y": families[name], "fold": number}


def view_of(stored: Stored, samples: int) -> View:
    """Read the first `samples` samples of each note."""
    part = stored.part("notes")
    fold = part.gather("fold", np.arange(part.rows))
    if stored.options.split == "official":
        rows = [np.flatnonzero(fold == k) for k in range(3)]
    else:
        train, held_back = torch_split(part.rows, max(1, part.rows // 100))
        rows = [train, held_back, held_back]
    return View(
        task=TaskInfo(d_input=1, d_output=len(FAMILIES), length=samples),
        read=Dense(scale=(1 / FULL_SCALE,), keep=samples),
        splits={
            name: Subset(part="notes", index=index)
            for name, index in zip(("train", "val", "test"), rows, strict=True)
        },
    )


def view(stored: Stored) -> View:
    """Read whole notes."""
    return view_of(stored, SAMPLES)
