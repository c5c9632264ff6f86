"""Every preset is a sweep of one configuration that the check takes, and its facts are facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from sweeps import Study, TrialSpec
from sweeps.blocks import complete
from sweeps.presets import find_preset, preset_names
from sweeps.results import published_of

Load = Callable[..., sweeps.SweepSpec]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_good_sweep(load: Load, name: str) -> None:
    preset = find_preset(name)
    spec = load(f"preset: {name}\nname: x\n")
    assert spec.space.size() == 1
    assert (spec.data, spec.model, spec.train) == (preset.data, preset.model, preset.train)
    assert (spec.objective, spec.seed) == (preset.objective, preset.seed)


@pytest.mark.parametrize("name", preset_names())
def test_what_was_published_is_a_plausible_number_of_a_known_metric(name: str) -> None:
    preset = find_preset(name)
    for published in (preset.published, preset.zero_shot and preset.zero_shot.published):
        if published is None:
            continue
        split, _, metric = published.metric.partition("/")
        assert split in ("test", "val")
        assert metric in ("accuracy", "rmse", "mse", "bits", "perplexity")
        assert 0 < published.value < (1 if metric == "accuracy" else 30)
        assert published.std is None or 0 < published.std < published.value


def test_speech_at_half_its_rate_was_published_for_the_weights_of_the_full_rate(
    load: Load, tmp_path: Path
) -> None:
    """Read off the tables of S4D (arXiv:2206.11893) and S5 (arXiv:2208.04933) by eye."""
    found = {n: find_preset(n).zero_shot for n in preset_names() if find_preset(n).zero_shot}
    assert {n: z.published.value for n, z in found.items() if z} == pytest.approx({
        "sc35/s4-legs": 0.9132, "sc35/s4-fout": 0.9159, "sc35/s4-legs-fout": 0.9072,
        "sc35/s4d-legs": 0.9108, "sc35/s4d-inv": 0.9180, "sc35/s4d-lin": 0.9158,
        "sc35/s5": 0.9453, "sc35/liquid-s4": 0.9,
    })  # fmt: skip
    assert all(z and z.data == {"rate": 2} for z in found.values())
    study = Study.create(load("preset: sc35/s5\nbaselines: [sc35/s5]\n"), tmp_path)
    study.recover()
    trial = study.ask()
    assert isinstance(trial, TrialSpec)
    for options, value in (({}, 0.9652), ({"rate": 2}, 0.9453), ({"rate": 4}, None)):
        published = published_of(study, trial.number, options)
        assert (published and published.value) == value


def test_the_long_range_arena_has_the_published_rows() -> None:
    """Read off the tables of S4D (arXiv:2206.11893) by eye."""
    expected = {"listops": 0.6047, "text": 0.8618, "retrieval": 0.8946, "image": 0.8819,
                "pathfinder": 0.9306}  # fmt: skip
    for task, value in expected.items():
        published = find_preset(f"lra/{task}/s4d-legs").published
        assert published is not None and published.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lra/listops/s4d-legz", "Did you mean 'lra/listops/s4d-legs'?"),
        ("listops", "presets there are of audio/beethoven, "),
        ("lra/listop/s4d-legs", "Did you mean 'lra/listops/s4d-legs'?"),
    ],
)
def test_a_wrong_name_is_answered_with_near_ones(load: Load, name: str, said: str) -> None:
    with pytest.raises(sweeps.SpecError) as caught:
        load(f"preset: {name}\n")
    assert f"sweep.yaml:1: preset: no preset {name!r}" in str(caught.value)
    assert said in str(caught.value)


def test_a_sweep_lays_its_own_values_on_a_preset(load: Load) -> None:
    spec = load("""
        preset: lra/listops/s4d-legs
        data: {train: 100, val: 50, test: 50}
        model: {n_layers: {choice: [1, 2]}}
        train: {epochs: 2, warmup: 0.0}
        """)
    assert spec.data == {"name": "listops", "train": 100, "val": 50, "test": 50}
    assert spec.model["n_layers"] == {"choice": [1, 2]}
    assert spec.model["d_model"] == 128
    assert spec.train["lr"] == 0.01


def test_baselines_run_first_and_teach_the_sampler_only_if_they_are_in_the_space(
    load: Load, tmp_path: Path
) -> None:
    inside = find_preset("lra/listops/s4d-lin")
    spec = load("""
        preset: lra/listops/s4d-legs
        model: {init: {choice: [legs, lin, inv]}, d_state: {choice: [16, 64]}}
        search: {trials: 5}
        baselines: [lra/listops/s4d-lin, lra/listops/s4-legs]
        """)
    study = Study.create(spec, tmp_path)
    study.recover()
    first, second, third = study.ask(), study.ask(), study.ask()
    assert isinstance(first, TrialSpec) and isinstance(second, TrialSpec)
    assert isinstance(third, TrialSpec)
    assert first.params == {"model.init": "lin", "model.d_state": 64}
    assert complete({"data": first.data, "model": first.model, "train": first.train}) == complete(
        {"data": first.data, "model": inside.model, "train": inside.train}
    )
    assert second.model["name"] == "s4" and second.params == {}
    assert third.params and third.params != first.params
    labels = [t.label for t in study.result().trials]
    assert labels == ["lra/listops/s4d-lin", "lra/listops/s4-legs", None]
    outcome = sweeps.Outcome(spec.objective)
    from s4core.train.report import EpochReport

    outcome.add(EpochReport(epoch=1, metrics={"val/accuracy": 0.9}, stopped_by="epochs"))
    told = study.tell(outcome.result(second))
    assert told.value == 0.9 and study.best() == told  # it counts, though Optuna is not told of it
    assert study.ledger.trial(second.number).state.name == "FAIL"
