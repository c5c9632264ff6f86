"""Sampling from the model of a trial, and writing what was sampled so that it is heard or read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import Dataset
from s4core.generate import generate_kept

from .errors import StudyError
from .files import write_json
from .results import pick
from .study import Study
from .trial import open_data

NATS_PER_BIT = float(np.log(2.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One generated sequence: its file, and its bits a step by the model itself."""

    path: Path
    bits: float


def generate_trial(
    study: Study,
    number: int | None,
    to: Path | None,
    *,
    samples: int = 4,
    length: int | None = None,
    prefix: int = 1,
    split: str = "test",
    checkpoint: str = "best",
    **draw: Any,
) -> list[Sample]:
    """Sample sequences from a trial's model (default: the best) and write them, likeliest first.

    prefix: steps that are given, from the first rows of `split`; the first of a data set of sound
    is its mark of a start. length: steps that follow, None up to the length that the model was
    trained for. to: a folder, None is NAME-TRIAL-samples. draw: temperature, top_p, seed, device.
    Raises StudyError, in one line.
    """
    trial = pick(study, number)
    data = open_data(study.trial_spec(trial.number), study.home)
    length = data.task.length - prefix if length is None else length
    if samples < 1 or length < 1:
        raise StudyError(f"need at least one sample of at least one step, got {samples}, {length}.")
    if not data.task.tokens:
        raise StudyError(f"{data.card.name} is not made of tokens: there is no next one to draw.")
    given = _prefixes(data, split, samples, prefix)
    try:
        tokens, log_prob = generate_kept(
            study.trial_folder(trial.number), given, length=length, checkpoint=checkpoint, **draw
        )
    except ValueError as error:
        raise StudyError(f"trial {trial.number} cannot generate: {error}") from error
    folder = to or Path(f"{study.spec.name}-{trial.number}-samples")
    folder.mkdir(parents=True, exist_ok=True)
    bits = -log_prob / (length * NATS_PER_BIT)
    made = [
        Sample(path=data.write_row(tokens[row], folder / f"{place:03d}"), bits=float(bits[row]))
        for place, row in enumerate(np.argsort(bits))
    ]
    about = {"sweep": study.spec.name, "trial": trial.number, "checkpoint": checkpoint}
    settings = {"length": length, "prefix": prefix, "split": split, **draw}
    kept = [{"file": s.path.name, "bits_per_step": s.bits} for s in made]
    write_json(folder / "samples.json", {**about, **settings, "samples": kept})
    return made


def _prefixes(data: Dataset, split: str, samples: int, steps: int) -> np.ndarray:
    """The first steps of the first rows of a split, (samples, steps); again from the first."""
    if split not in data.splits:
        raise StudyError(f"the data have no split {split!r}; there are {', '.join(data.splits)}.")
    count = min(samples, data.size(split))
    batch = next(data.batches(split, batch_size=count, shuffle=False))
    longest = batch.x.shape[1] if batch.lengths is None else int(batch.lengths.min())
    if not 1 <= steps <= longest:
        raise StudyError(
            f"need a prefix of 1 to {longest} steps, which the first rows of {split} have; "
            f"got {steps}."
        )
    given: np.ndarray = np.resize(batch.x[:, :steps], (samples, steps))
    return given
