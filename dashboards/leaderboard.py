"""The leaderboard of a sweep: for the terminal (rich) and as plain columns for MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from sweeps.plural import plural
from sweeps.types import SweepResult, TrialResult, TrialState

ERROR_CHARS = 60
CHOSEN_CHARS = 24  # fewer beside the figures and what the search chose could not be read
STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.WAITING: "dim",
    TrialState.PRUNED: "yellow",
    TrialState.CUT: "yellow",
    TrialState.FAILED: "red",
}


def ranking(result: SweepResult) -> list[TrialResult]:
    """Trials from best to worst; those without a value (and the failed ones) after them, by number.

    Last are those that repeat another one with a further seed: they count in its mean.
    """
    sign = -1.0 if result.objective.mode == "max" else 1.0

    def key(trial: TrialResult) -> tuple[bool, bool, float, int]:
        scored = trial.value is not None and trial.state is not TrialState.FAILED
        value = sign * float(trial.value or 0.0) if scored else 0.0
        return trial.replicate_of is not None, not scored, value, trial.number

    return sorted(result.trials, key=key)


def shared_names(result: SweepResult) -> list[str]:
    """The parameters that the study chose, short names first for those that all trials have."""
    counts: dict[str, int] = {}
    for trial in result.trials:
        for name in trial.params:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])


def leaderboard(
    result: SweepResult,
    *,
    rows: int = 10,
    test: Mapping[int, float] | None = None,
    driven: bool = True,
    width: int = 120,
) -> Group:
    """The best `rows` trials as a table for the terminal, repeated ones as their mean and spread.

    Of several objectives each has a column, and the trials of the front have a star.

    test: the objective's figure on the test split by trial number, where it is known.
    driven: whether a driver is at work; without one no trial is running, whatever its record says.
    width: of the terminal; what the search chose is below the figures where it is too narrow.
    """
    there = [trial for trial in ranking(result) if trial.replicate_of is None]
    shown = there[:rows]
    by = f"by {result.objective.metric}"
    by += " (* on the front)" if result.objectives[1:] and result.front else ""
    title = f"{escape(result.name)}: {len(shown)} of {plural(len(there), 'trial')}, {by}"
    what = [escape(brief(trial.error) or chosen(trial.params)) for trial in shown]
    view = _figures(result, shown, test, driven=driven)
    roomy = Console(width=1000)
    if Measurement.get(roomy, roomy.options, view).maximum + CHOSEN_CHARS <= width:
        beside = _figures(result, shown, test, driven=driven, what=what)
        return Group(f"[bold]{title}[/]", beside)
    view.box, view.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
    for column in view.columns:
        column.header = str(column.header).replace("/", "/\n")
    below = Table.grid(padding=(0, 2))
    for trial, text in zip(shown, what, strict=True):
        below.add_row(f"  trial {trial.number}", text)
    return Group(f"[bold]{title}[/]", view, "[bold]what the search chose[/]", below)


def _figures(
    result: SweepResult,
    shown: list[TrialResult],
    test: Mapping[int, float] | None,
    *,
    driven: bool,
    what: list[str] | None = None,
) -> Table:
    """A row for each of the trials `shown`; what: the last cell of each, if it is to have one."""
    front = {trial.number for trial in result.front} if result.objectives[1:] else set()
    metric = result.objective.metric
    view = Table()
    for name in ("#", "trial"):
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column(metric, justify="right", style="bold", no_wrap=True)
    others = [objective.metric for objective in result.objectives[1:]]
    for name in [*others, *([metric.replace("val/", "test/")] if test else [])]:
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column("state", no_wrap=True)
    view.add_column("epochs", justify="right")
    view.add_column("time", justify="right", no_wrap=True)
    if what is not None:
        view.add_column("what the search chose", overflow="fold")
    for rank, trial in enumerate(shown, 1):
        spread = f" +- {number(trial.spread)}" if trial.spread is not None else ""
        star = "* " if trial.number in front else ""
        cells = [str(rank), f"{star}{trial.number}", f"{number(trial.value)}{spread}"]
        cells += map(number, other_values(result, trial))
        if test:
            cells.append(number(test.get(trial.number)))
        style = STYLES.get(trial.state, "")
        word = state_word(trial, driven=driven)
        state = f"[{style}]{word}[/]" if style else word
        epochs = str(trial.epochs)
        if trial.best_epoch is not None and trial.best_epoch != trial.epochs:
            epochs = f"{trial.epochs} (best {trial.best_epoch})"
        cells += [state, epochs, duration(trial.seconds)]
        cells += what[rank - 1 : rank] if what else []
        view.add_row(*cells, style="bold" if rank == 1 and trial.value is not None else None)
    return view


def state_word(trial: TrialResult, *, driven: bool) -> str:
    """A trial's state; driven: whether a driver is at work, without which nothing is running."""
    is_cut_off = trial.state is TrialState.RUNNING and not driven
    return "interrupted" if is_cut_off else trial.state.value


def table(result: SweepResult) -> dict[str, Any]:
    """All trials as {"columns": [...], "data": [[...], ...]}, from best to worst."""
    names = shared_names(result)
    metric = result.objective.metric
    columns = ["rank", "trial", "state", metric, *(o.metric for o in result.objectives[1:])]
    columns += ["best_epoch", "epochs", "hours", "error"]
    data = [
        [rank, t.number, t.state.value, t.value, *other_values(result, t)]
        + [t.best_epoch, t.epochs, t.seconds / 3600, t.error]
        + [t.params.get(name) for name in names]
        for rank, t in enumerate(ranking(result), 1)
    ]
    return {"columns": columns + names, "data": data}


def other_values(result: SweepResult, trial: TrialResult) -> list[float | None]:
    """The values of the objectives after the first; None where there are none (yet)."""
    return list(trial.values[1:]) or [None] * len(result.objectives[1:])


def others_said(result: SweepResult, trial: TrialResult) -> str:
    """The values of the objectives after the first, to follow the first in a sentence."""
    said = result.others(trial).items()
    return "".join(f", {metric} {value:.4f}" for metric, value in said)


def chosen(params: Mapping[str, Any]) -> str:
    """What the search chose on one line, with the last two parts of each name at most."""
    return "  ".join(f"{short(name)}={value(v)}" for name, v in params.items())


def brief(error: str | None) -> str:
    """The beginning of an error, for a line of a table."""
    line = (error or "").partition("\n")[0]
    return line if len(line) <= ERROR_CHARS else f"{line[: ERROR_CHARS - 3]}..."


def short(name: str) -> str:
    """A parameter's name without its block: model.s4d.init is s4d.init, train.lr is lr."""
    return name.split(".", 1)[-1]


def value(item: Any) -> str:
    """A chosen value as people write it: four digits of a float."""
    return f"{item:.4g}" if isinstance(item, float) else str(item)


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are two: 40 s, 90 s, 3 min, 2.5 h, 5.0 d."""
    for unit, size in (("d", 86400), ("h", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def number(item: float | None) -> str:
    """An objective value with four digits after the point, or a dash."""
    return "-" if item is None else f"{item:.4f}"
