"""Crews over a real study: who goes together, what breaks them, and who judges once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from s4core.train.report import EpochReport
from sweeps import Finished, Study, TrialSpec, TrialState, Waiting
from sweeps.crew import Crew, Crews

SWEEP = """
name: crowd
data: {name: copying, train: 64, val: 16, test: 16, l_noise: 8, l_memorize: 4}
model: {name: s4d, d_model: {choice: [8, 16]}, n_layers: 1, dropout: {uniform: [0.0, 0.2]}}
train: {epochs: 3, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 12}
resources: {fuse: 4}
"""
ONE_SHAPE = SWEEP.replace("{choice: [8, 16]}", "8")

Load = Callable[..., sweeps.SweepSpec]


@pytest.fixture
def study(load: Load, tmp_path: Path) -> Study:
    """Of trials of one shape."""
    return Study.create(load(ONE_SHAPE), tmp_path)


def numbers(crew: Crew | Waiting | Finished) -> list[int]:
    assert isinstance(crew, Crew), crew
    return [spec.number for spec in crew.specs]


def report(epoch: int, value: float, stopped_by: str | None = None) -> EpochReport:
    metrics = {"val/accuracy": value, "epoch_s": 1.0, "spared_s": 0.5}
    return EpochReport(epoch=epoch, metrics=metrics, stopped_by=stopped_by)  # type: ignore[arg-type]


def test_trials_of_one_shape_go_together_and_the_others_are_next(
    load: Load, tmp_path: Path
) -> None:
    """No trial is left out or taken twice, and no crew has two shapes."""
    crews = Crews(Study.create(load(SWEEP), tmp_path))
    seen: list[int] = []
    sizes = []
    while isinstance(crew := crews.next(), Crew):
        assert len({spec.model["d_model"] for spec in crew.specs}) == 1
        assert crew.specs[0].number == min(set(range(12)) - set(seen)), "nobody waits"
        seen += numbers(crew)
        sizes.append(len(crew.specs))
    assert sorted(seen) == list(range(12))
    assert 2 < max(sizes) <= 4
    assert isinstance(crew, Waiting), "all are running"


def test_who_has_not_ended_is_in_the_next_crew(study: Study) -> None:
    crews = Crews(study)
    crew = crews.next()
    assert numbers(crew) == [0, 1, 2, 3] and isinstance(crew, Crew)
    crew.report(1, report(1, 0.5, "epochs"))
    crew.fail(3, "ValueError: no")
    assert (crew.ended, crew.unfinished) == ([1, 3], [0, 2])
    states = {r.number: study.tell(r).state for r in crew.results()}
    assert states == {1: TrialState.COMPLETED, 3: TrialState.FAILED}
    assert study.ledger.result(1).spared == 0.5
    crews.release(crew)
    assert numbers(crews.next()) == [0, 2, 4, 5]


def after(crews: Crews, kind: str) -> Crews:
    """What engines do with a crew that has broken."""
    crew = crews.next()
    assert isinstance(crew, Crew)
    crews.broke(crew, kind)
    crews.release(crew)
    return crews


def test_where_memory_does_not_suffice_crews_become_smaller(study: Study) -> None:
    crews = after(Crews(study), "OutOfMemoryError")
    assert numbers(crews.next()) == [0, 1], "half as many"
    assert numbers(after(crews, "OutOfMemoryError").next()) == [2], "one by one"


def test_an_error_parts_those_that_were_there_and_nobody_else(study: Study) -> None:
    crews = after(Crews(study), "ValueError")
    assert [numbers(crews.next()) for _ in range(5)] == [[0], [1], [2], [3], [4, 5, 6, 7]]


def test_models_that_cannot_be_fused_are_not_tried_again(study: Study) -> None:
    crews = after(Crews(study), "Unfusable")
    assert [numbers(crews.next()) for _ in range(6)] == [[0], [1], [2], [3], [4], [5]]


def test_a_change_of_crews_is_no_second_judgement(load: Load, tmp_path: Path) -> None:
    """The pruner would now stop the first, on what it has learned since; the verdict stands."""
    text = ONE_SHAPE.replace("random,", "random, pruner: {name: median, startup: 1, warmup: 0},")
    study = Study.create(load(text), tmp_path)
    crews = Crews(study)
    crew = crews.next()
    assert isinstance(crew, Crew)
    assert crew.report(0, report(1, 0.2)), "news"
    for number in (1, 2, 3):
        crew.report(number, report(1, 0.5 + number / 10, "epochs"))
    for result in crew.results():
        study.tell(result)
    crews.release(crew)
    again = crews.next()
    assert isinstance(again, Crew) and numbers(again)[0] == 0
    assert not again.report(0, report(1, 0.2)), "known"
    assert again.unfinished[0] == 0
    judged = Crew(study, again.specs, {})
    judged.report(0, report(1, 0.2))
    assert judged.ended == [0], "without the first verdict it would have been stopped"


def test_nobody_is_lost_when_the_storage_fails_in_between(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    crews, ask, asked = Crews(study), study.ask, []

    def failing(only: int | None = None) -> TrialSpec | Waiting | Finished:
        asked.append(None)
        if len(asked) == 3:
            raise OSError("away")
        return ask(only)

    monkeypatch.setattr(study, "ask", failing)
    with pytest.raises(OSError, match="away"):
        crews.next()
    assert numbers(crews.next()) == [0, 1, 2, 3]


def test_a_paused_sweep_gives_no_crew(study: Study) -> None:
    crews = Crews(study)
    study.paused = True
    assert crews.next() == Waiting("paused")
    study.paused = False
    assert numbers(crews.next()) == [0, 1, 2, 3]
