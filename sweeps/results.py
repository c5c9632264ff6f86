"""Looking at a sweep from a notebook or a command: `open_sweep`, tables, tests, exports."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import s4core
from data_prep.errors import DataError
from data_prep.fetch import Progress
from data_prep.registry import dataset_module
from s4core.config import ConfigError
from s4core.train.report import EpochReport
from sweeps.plural import plural

from .blocks import BlockError, complete
from .errors import StudyError
from .files import flatten, write_json
from .home import home as default_home
from .outcome import Outcome
from .presets import Published, find_preset, preset_names
from .progress import Counted
from .study import Study
from .trial import open_data, read_metrics
from .types import SweepResult, TrialResult, TrialState

if TYPE_CHECKING:
    import pandas


class Sweep:
    """A sweep to look at; made by `open_sweep`.

    >>> sweep = open_sweep("quickstart")  # doctest: +SKIP
    >>> sweep.trials()  # a data frame, a row a trial
    >>> model = sweep.load_model()  # the best one, ready to be called
    """

    def __init__(self, study: Study) -> None:
        self.study = study

    def __repr__(self) -> str:
        result = self.study.result()
        best = "" if result.best is None else f", best {result.best.value:.4g}"
        done = f"{plural(len(result.trials), 'trial')}{best}"
        return f"<sweep {self.study.spec.name!r}: {done}, in {self.study.folder}>"

    def trials(self) -> pandas.DataFrame:
        """A row a trial, best first: number, state, value, ..., and a column a parameter."""
        import pandas

        result = standing(self.study)
        unranked = [t for t in result.trials if t not in result.ranked]
        rows = []
        for trial in (*result.ranked, *unranked):
            row = trial.to_json()
            params = row.pop("params")
            rows.append({**row, **{f"params.{k}": v for k, v in params.items()}})
        return pandas.DataFrame(rows)

    def curves(self, *metrics: str) -> pandas.DataFrame:
        """A row an epoch and trial: trial, epoch, time, and the metrics (default: all)."""
        import pandas

        rows = []
        for trial in self.study.result().trials:
            for line in read_metrics(self.study.trial_folder(trial.number)):
                known = line["metrics"]
                chosen = {k: known.get(k) for k in metrics} if metrics else known
                about = {"trial": trial.number, "epoch": line["epoch"], "time": line["time"]}
                rows.append({**about, **chosen})
        return pandas.DataFrame(rows)

    def best(self) -> TrialResult:
        """The best trial; StudyError while none has a value."""
        return pick(self.study, None)

    def load_model(self, number: int | None = None, checkpoint: str = "best") -> Any:
        """Build the model of a trial (default: the best) with its weights, in eval mode."""
        return self._load(number, checkpoint)[0]

    def made_by(self, number: int | None = None, checkpoint: str = "best") -> dict[str, Any]:
        """Say what made the model of a trial: model, shape, train, objective, seed."""
        return self._load(number, checkpoint)[1]

    def _load(self, number: int | None, checkpoint: str) -> tuple[Any, dict[str, Any]]:
        folder = self.study.trial_folder(pick(self.study, number).number)
        return s4core.load_model(folder, checkpoint=checkpoint)


def open_sweep(name: str, home: Path | str | None = None) -> Sweep:
    """Open a sweep to look at; StudyError with the nearest name if there is none."""
    return Sweep(Study.open(name, Path(home) if home is not None else default_home()))


def standing(study: Study) -> SweepResult:
    """How a sweep stands, and what its unfinished trials have taken, which only their logs say."""
    result = study.result()

    def timed(trial: TrialResult) -> TrialResult:
        if trial.state is not TrialState.RUNNING:
            return trial
        lines = read_metrics(study.trial_folder(trial.number))
        outcome = Outcome.of(study.spec.objectives, map(EpochReport.from_json, lines))
        return dataclasses.replace(trial, seconds=outcome.seconds, spared=outcome.spared)

    return dataclasses.replace(result, trials=tuple(map(timed, result.trials)))


def pick(study: Study, number: int | None) -> TrialResult:
    """Give a trial by its number, or the best one; StudyError if there is none."""
    result = study.result()
    if number is None:
        if result.best is None:
            raise StudyError(f"sweep {study.spec.name!r} has no trial with a value yet.")
        return result.best
    found = [t for t in result.trials if t.number == number]
    if not found:
        raise StudyError(f"sweep {study.spec.name!r} has no trial {number}.")
    return found[0]


def test_trial(
    study: Study,
    number: int | None,
    *,
    split: str = "test",
    checkpoint: str = "best",
    options: Mapping[str, Any] | None = None,
    tell: Progress | None = None,
) -> tuple[int, dict[str, float]]:
    """Score a trial (default: the best) on a split; gives its number and the metrics.

    options: of the data set, in place of the trial's (`rate: 2` is the published test on half the
    sampling rate). The plain test of best.pt is kept in the trial's test.json. tell: hears of the
    progress.
    """
    trial = pick(study, number)
    folder = study.trial_folder(trial.number)
    spec = study.trial_spec(trial.number)
    if options:
        spec = type(spec).from_json({**spec.to_json(), "data": {**spec.data, **options}})
    data = open_data(spec, study.home)
    if split not in data.splits:
        raise StudyError(f"the data have no split {split!r}; there are {', '.join(data.splits)}.")
    watched = Counted(data, tell) if tell else data
    metrics = s4core.evaluate(folder, watched, split=split, checkpoint=checkpoint)
    if (split, checkpoint) == ("test", "best") and not options:
        write_json(folder / "test.json", metrics)
    return trial.number, metrics


def published_of(
    study: Study, number: int, options: Mapping[str, Any] | None = None
) -> Published | None:
    """What was published for the experiment that a trial repeats, if it repeats one.

    options: those of `test_trial`; what was published is of the same ones.
    """
    label = pick(study, number).label
    if label not in preset_names():
        return None
    preset = find_preset(label)
    if not options:
        return preset.published
    other = preset.zero_shot
    return other.published if other and dict(other.data) == dict(options) else None


def compare(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """A row a sweep: what it reached, over how many trials, for how many hours."""
    rows = []
    for study in studies:
        result = standing(study)
        best = result.best
        values = [t.value for t in result.ranked if t.value is not None]
        test = _kept_test(study, best.number) if best else {}
        metric = result.objective.metric
        rows.append(
            {
                "sweep": study.spec.name,
                "metric": metric,
                "best": best.value if best else None,
                "others": result.others(best) if best else {},
                "median": statistics.median(values) if values else None,
                "test": test.get(metric.replace("val/", "test/", 1)),
                "trial": best.number if best else None,
                "trials": len(result.ranked),
                "hours": sum(t.seconds for t in result.trials) / 3600,
            }
        )
    return rows


def differences(studies: Sequence[Study]) -> dict[str, list[Any]]:
    """Where the best trials differ: dotted path, and the value of each sweep (None: absent).

    Of what any of them says; what another one does not say has its default there.
    """
    said, whole = [], []
    for study in studies:
        best = study.best()
        spec = study.trial_spec(best.number) if best else None
        blocks = {"data": spec.data, "model": spec.model, "train": spec.train} if spec else {}
        said.append(flatten(blocks))
        whole.append({**_with_defaults(blocks), **said[-1]})
    paths = sorted({path for flat in said for path in flat})
    table = {path: [flat.get(path) for flat in whole] for path in paths}
    return {p: v for p, v in table.items() if any(x != v[0] for x in v)}


def _with_defaults(blocks: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return flatten(complete(blocks, allow_imports=False)) if blocks else {}
    except BlockError:  # of code outside this package, which is not run for a table
        return {}


def export_trial(
    study: Study,
    number: int | None,
    to: Path | None,
    *,
    checkpoint: str = "best",
    onnx: bool = False,
) -> Path:
    """Write a trial's model (default: the best) to a folder of its own; gives the folder."""
    from s4core.export import export

    trial = pick(study, number)
    folder = to or Path(f"{study.spec.name}-{trial.number}")
    facts = {
        "sweep": study.spec.name,
        "trial": trial.number,
        "objective": {"metric": study.spec.objective.metric, "value": trial.value},
        "epoch": trial.best_epoch,
        "data": dict(study.trial_spec(trial.number).data),
        **_reading(study, trial.number),
        "params": dict(trial.params),
        "test": _kept_test(study, trial.number),
    }
    source = study.trial_folder(trial.number)
    try:
        export(source, folder, checkpoint=checkpoint, facts=facts, onnx=onnx)
    except ConfigError:  # of a module that is not here, say
        raise
    except ValueError as error:  # a model that has no step, or none that ONNX could hold
        raise StudyError(f"trial {trial.number} has no ONNX: {error}") from error
    return folder


def _reading(study: Study, number: int) -> dict[str, Any]:
    """How a user's own data were read, whose classes and scale no paper says."""
    spec = study.trial_spec(number)
    try:
        is_own = hasattr(dataset_module(str(spec.data["name"])), "glance")
        return open_data(spec, study.home).reading if is_own else {}
    except DataError:  # they are no longer here
        return {}


def _kept_test(study: Study, number: int) -> dict[str, float]:
    try:
        text = (study.trial_folder(number) / "test.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    kept: dict[str, float] = json.loads(text)
    return kept
