"""A whole small sweep in this process, and everything that can be done with it afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import sweeps
from s4core.export import load_exported
from s4core.train.report import EpochReport
from sweeps import Study, TrialResult, TrialSpec, TrialState, open_sweep, results
from sweeps.rerun import rerun_yaml

Load = Callable[..., sweeps.SweepSpec]


class Events:
    """What a sweep tells whoever watches."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.epochs: list[tuple[int, int]] = []
        self.ended: list[int] = []

    def trial_started(self, spec: TrialSpec) -> None:
        self.started.append(spec.number)

    def trial_reported(self, number: int, report: EpochReport) -> None:
        self.epochs.append((number, report.epoch))

    def trial_ended(self, result: TrialResult) -> None:
        self.ended.append(result.number)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Events]:
    """The sweep of conftest, run inline with one trial that fails."""
    path = tmp_path_factory.mktemp("yaml") / "tiny.yaml"
    path.write_text(
        "name: tiny\n"
        "data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, "
        "l_max: 16}\n"
        "model: {name: s4d, d_model: 8, n_layers: {choice: [1, 2]}, init: {choice: [lin, inv]}}\n"
        "train: {epochs: 2, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}\n"
        "search: {sampler: random, trials: 3}\n"
    )
    events = Events()
    sweeps.run_inline(sweeps.load_spec(path), home, events)
    return Study.open("tiny", home), events


def test_everything_was_said_once_and_is_on_disk(run: tuple[Study, Events]) -> None:
    study, events = run
    assert events.started == events.ended == [0, 1, 2]
    assert events.epochs == [(n, e) for n in range(3) for e in (1, 2)]
    for trial in study.result().trials:
        assert trial.state is TrialState.COMPLETED
        files = {p.name for p in study.trial_folder(trial.number).iterdir()}
        assert {"spec.json", "lease.json", "metrics.jsonl", "last.pt", "best.pt",
                "result.json"} <= files  # fmt: skip
    assert not (study.folder / "lock.json").exists()
    assert (study.folder / "sweep.yaml").read_text().startswith("name: tiny\n")


def test_running_it_again_runs_nothing(run: tuple[Study, Events], home: Path) -> None:
    study, _ = run
    events = Events()
    sweeps.run_inline(study.spec, home, events)
    assert events.started == []


def test_a_notebook_sees_trials_curves_and_the_best_model(
    run: tuple[Study, Events], home: Path
) -> None:
    sweep = open_sweep("tiny", home)
    trials = sweep.trials()
    assert list(trials["value"]) == sorted(trials["value"], reverse=True)
    assert {"number", "state", "params.train.lr", "params.model.init"} <= set(trials.columns)
    curves = sweep.curves("val/accuracy", "val/loss")
    assert list(curves.columns) == ["trial", "epoch", "time", "val/accuracy", "val/loss"]
    assert len(curves) == 6
    model = sweep.load_model()
    assert sweep.made_by()["model"]["name"] == "s4d"
    y = model(torch.zeros(2, 16, dtype=torch.int64), lengths=torch.tensor([16, 9]))
    assert y.shape == (2, 10)
    best = sweep.best()
    assert best.value == max(trials["value"])


def test_a_trial_is_tested_and_its_figures_are_kept(run: tuple[Study, Events]) -> None:
    study, _ = run
    number, metrics = results.test_trial(study, None)
    assert study.best() is not None and number == study.best().number  # type: ignore[union-attr]
    assert set(metrics) >= {"test/accuracy", "test/loss"}
    assert json.loads((study.trial_folder(number) / "test.json").read_text()) == metrics
    with pytest.raises(sweeps.StudyError, match="the data have no split 'tset'"):
        results.test_trial(study, 0, split="tset")
    with pytest.raises(sweeps.StudyError, match="has no trial 77"):
        results.test_trial(study, 77)


def test_a_model_is_tested_at_half_the_sampling_rate_without_more_training(
    load: Load, tmp_path: Path
) -> None:
    """Tones of two heights: the step that follows the rate hears the heights that it learned."""
    generator = np.random.default_rng(0)
    for word, hertz in {"low": 100.0, "high": 200.0}.items():
        (tmp_path / "raw" / word).mkdir(parents=True)
        for i in range(20):
            t = np.arange(400) / 4000 + generator.random()
            tone = np.sin(2 * np.pi * hertz * t) * (0.5 + 0.4 * generator.random())
            soundfile.write(tmp_path / "raw" / word / f"{i}.wav", tone, 4000)
    spec = load(f"""
        name: tones
        data: {{name: folder_audio, raw: {tmp_path / "raw"}, sample_rate: 4000, length: 400,
                val: 0.2, test: 0.3}}
        model: {{name: s5, d_model: 8, n_layers: 2, d_state: 8, blocks: 1, dt_min: 0.01}}
        train: {{epochs: 8, batch_size: 5, lr: 0.02}}
        search: {{trials: 1}}
        """)
    sweeps.run_inline(spec, tmp_path, Events())
    study = Study.open("tones", tmp_path)
    kept = results.test_trial(study, 0)[1]
    assert kept["test/accuracy"] == 1.0
    at_half = results.test_trial(study, 0, options={"rate": 2})[1]
    assert at_half["test/accuracy"] >= 0.9
    # The plain test is what is kept.
    assert json.loads((study.trial_folder(0) / "test.json").read_text()) == kept


def test_the_yaml_of_the_best_trial_runs_it_again_with_the_same_result(
    run: tuple[Study, Events], load: Load, tmp_path: Path
) -> None:
    study, _ = run
    best = study.best()
    assert best is not None
    spec = load(rerun_yaml(study, best.number))
    again = sweeps.run_inline(spec, tmp_path / "elsewhere").best
    assert again is not None
    assert (again.value, again.best_epoch) == (best.value, best.best_epoch)


def test_two_sweeps_are_compared(run: tuple[Study, Events], load: Load, home: Path) -> None:
    study, _ = run
    other = load(rerun_yaml(study, 0).replace("epochs: 2", "epochs: 1"))
    sweeps.run_inline(other, home)
    studies = [study, Study.open(other.name, home)]
    rows = results.compare(studies)
    assert [row["sweep"] for row in rows] == ["tiny", "tiny-0"]
    assert [row["trials"] for row in rows] == [3, 1]
    assert results.differences(studies)["train.epochs"] == [2, 1]
    assert "data.name" not in results.differences(studies)


def test_a_default_is_no_difference_from_the_same_value_that_is_given(
    run: tuple[Study, Events], load: Load, home: Path
) -> None:
    study, _ = run
    spelled = rerun_yaml(study, 0).replace("name: tiny-0", "name: spelled")
    given = "optimizer: adamw\n  weight_decay: 0.5\n  epochs: 2"
    other = load(spelled.replace("epochs: 2", given))
    sweeps.run_inline(other, home)
    found = results.differences([study, Study.open("spelled", home)])
    assert "train.optimizer" not in found
    assert found["train.weight_decay"] == [0.01, 0.5]


def test_compared_are_all_objectives_of_the_best_trial(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    loss = sweeps.Objective(metric="val/loss", mode="min")
    two = dataclasses.replace(tiny, objectives=(*tiny.objectives, loss))
    study = Study.create(two, tmp_path)
    for values in ((0.5, 0.25), (0.75, 0.125)):
        spec = study.ask()
        assert isinstance(spec, TrialSpec)
        done = TrialState.COMPLETED
        study.tell(
            TrialResult(number=spec.number, state=done, value=values[0], values=values, epochs=2)
        )
    (row,) = results.compare([study])
    assert (row["best"], row["others"]) == (0.75, {"val/loss": 0.125})


def test_the_median_of_an_even_number_of_trials_is_between_the_middle_two(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = Study.create(tiny, tmp_path)
    for value in (0.5, 0.6, 0.1, 0.9):
        spec = study.ask()
        assert isinstance(spec, TrialSpec)
        done = TrialState.COMPLETED
        study.tell(TrialResult(number=spec.number, state=done, value=value, values=(value,)))
    assert results.compare([study])[0]["median"] == pytest.approx(0.55)


def test_an_unfinished_trial_counts_with_the_time_that_it_had(
    tiny: sweeps.SweepSpec, tmp_path: Path
) -> None:
    study = Study.create(tiny, tmp_path)
    spec = study.ask()
    assert isinstance(spec, sweeps.TrialSpec)
    folder = study.trial_folder(spec.number)
    with contextlib.closing(sweeps.run_trial(spec, folder, home=tmp_path)) as stream:
        report = next(stream)
    study.report(spec.number, report)
    (trial,) = results.standing(study).trials
    assert (trial.state.value, trial.seconds) == ("running", report.metrics["epoch_s"])
    assert results.compare([study])[0]["hours"] == pytest.approx(trial.seconds / 3600)
    assert open_sweep("tiny", tmp_path).trials()["seconds"][0] == trial.seconds


def test_an_exported_model_computes_the_same(
    run: tuple[Study, Events], home: Path, tmp_path: Path
) -> None:
    study, _ = run
    folder = results.export_trial(study, None, tmp_path / "model")
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    exported = load_exported(folder)
    model = open_sweep("tiny", home).load_model()
    tokens = torch.from_numpy(np.arange(32).reshape(2, 16) % 18)
    with torch.no_grad():
        assert torch.equal(exported(tokens), model(tokens))
    card = (folder / "README.md").read_text()
    assert "parameters. Built again by" in card and '"sweep": "tiny"' not in card
    assert '- sweep: "tiny"' in card


def test_an_exported_model_of_own_data_names_its_classes_and_their_scale(
    load: Load, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [f"{'up' if i % 2 else 'down'},{i},{3 * i},{i % 5}" for i in range(60)]
    (raw / "own.csv").write_text("\n".join(["label,a,b,c", *rows]) + "\n")
    spec = load(f"""
        name: own
        data: {{name: csv_series, raw: {raw}}}
        model: {{name: s4d, d_model: 4, n_layers: 1}}
        train: {{epochs: 1, batch_size: 20}}
        search: {{trials: 1}}
        """)
    sweeps.run_inline(spec, tmp_path)
    study = Study.open("own", tmp_path)
    card = (results.export_trial(study, 0, tmp_path / "model") / "README.md").read_text()
    said = dict(line[2:].split(": ", 1) for line in card.splitlines() if line.startswith("- "))
    assert json.loads(said["classes"]) == ["down", "up"]
    (scale,), (shift,) = json.loads(said["scale"]), json.loads(said["shift"])
    data = sweeps.trial.open_data(study.trial_spec(0), tmp_path)
    batch = next(data.batches("val", batch_size=20, shuffle=False))
    stored = (batch.x[:, :, 0] - shift) / scale
    np.testing.assert_allclose(stored[:, 1], 3 * stored[:, 0], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(batch.y, np.round(stored[:, 0]).astype(int) % 2)
    shutil.rmtree(raw)
    shutil.rmtree(tmp_path / "data")
    alone = (results.export_trial(study, 0, tmp_path / "alone") / "README.md").read_text()
    assert "- classes" not in alone  # which nothing says any more


@pytest.mark.slow  # torch's exporter takes 10 s a model
@pytest.mark.parametrize("name", ["s4d", "s4", "s5", "s6"])
def test_a_step_as_onnx_computes_the_same(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from s4core import TaskShape, build
    from s4core.export import _Step, export_step

    shape = TaskShape(d_input=3, d_output=5, length=32)
    model = build({"name": name, "d_model": 8, "n_layers": 2}, shape).eval()
    path = tmp_path / "step.onnx"
    export_step(model, shape, path)
    session = runtime.InferenceSession(str(path))
    state = model.initial_state(1)  # type: ignore[operator]
    theirs = [t.numpy() for t in _Step(model, state, torch.zeros(1, 3)).inputs()]
    for x in torch.randn(8, 1, 3):
        with torch.no_grad():
            y, state = model.step(x, state)  # type: ignore[operator]
        names = {f"state_{i}": t for i, t in enumerate(theirs)}
        out, *theirs = session.run(None, {"x": x.numpy(), **names})
        np.testing.assert_allclose(out, y.numpy(), atol=1e-5)


def test_a_model_that_cannot_step_has_no_onnx_and_leaves_no_folder(
    load: Load, tmp_path: Path
) -> None:
    spec = load(
        "name: looks-ahead\n"
        "data: {name: listops, train: 8, val: 8, test: 8, min_length: 3, max_length: 16, "
        "l_max: 16}\n"
        "model: {name: s4d, d_model: 4, n_layers: 1, bidirectional: true}\n"
        "train: {epochs: 1}\n"
        "search: {sampler: random, trials: 1}\n"
    )
    sweeps.run_inline(spec, tmp_path)
    study = Study.open("looks-ahead", tmp_path)
    with pytest.raises(sweeps.StudyError, match="trial 0 has no ONNX: a bidirectional layer has"):
        results.export_trial(study, None, tmp_path / "model", onnx=True)
    assert not (tmp_path / "model").exists()


def test_a_sweep_says_in_a_notebook_what_it_is(run: tuple[Study, Events], home: Path) -> None:
    shown = repr(open_sweep("tiny", home))
    assert shown.startswith("<sweep 'tiny': 3 trials, best 0.")
    assert str(home) in shown
