from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sweep_folders

from dashboards.record import SweepRecord
from dashboards.report import search, training, write_report
from dashboards.report.evidence import gather
from dashboards.report.page import script_json
from sweeps.types import TrialState


def page(home: Path, name: str) -> tuple[str, dict[str, Any]]:
    """The page, and the data that its script draws from."""
    text = write_report(home, name).read_text()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    return text, json.loads(data[1])


def titles(text: str) -> list[str]:
    return re.findall(r"<h3>(.*?)</h3>", text)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("searched")
    sweep_folders.make_searched_sweep(home)
    return home


@pytest.fixture(scope="module")
def shown_page(searched: Path) -> tuple[str, dict[str, Any]]:
    return page(searched, "searched")


def test_a_search_is_shown_from_every_side(shown_page: tuple[str, dict[str, Any]]) -> None:
    text, data = shown_page
    shown = titles(text)
    wanted = ["History", "What mattered", "Models compared", "Parallel coordinates"]
    wanted += ["Learning curves", "Timeline", "Time spent and saved"]
    assert not set(wanted) - set(shown)
    assert "Slice: train.lr" in shown
    theirs = data["figures"][shown.index("Published, and ours")]["traces"][0]
    assert "this sweep, trial 22" in theirs["y"]
    assert "smnist/annotated-s4" in theirs["y"]
    assert [t for t in shown if t.startswith("Contour: ")]
    assert len(data["figures"]) == len(shown)
    assert len(data["trials"]) == 40
    assert text.count("<tr data-trial") + text.count('<tr class="first"') >= 40
    assert "Diverged: train/loss is &lt;nan&gt; at epoch 3" in text


def test_it_works_offline(shown_page: tuple[str, dict[str, Any]]) -> None:
    text, _ = shown_page
    without_plotly = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "http" not in without_plotly
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", without_plotly)


def test_every_point_of_a_trial_can_be_filtered(shown_page: tuple[str, dict[str, Any]]) -> None:
    _, data = shown_page
    numbers = {trial["number"] for trial in data["trials"]}
    for figure in data["figures"]:
        for trace in figure["traces"]:
            if "customdata" in trace:
                assert set(trace["customdata"]) <= numbers
                for key in ("x", "y", "text", "base"):
                    if isinstance(trace.get(key), list):
                        assert len(trace[key]) == len(trace["customdata"])


def test_nothing_of_a_sweep_can_become_a_tag() -> None:
    nasty = {"text": "</script><script>alert(1)</script>", "value": float("nan")}
    written = script_json(nasty)
    assert "<" not in written
    assert json.loads(written) == {"text": nasty["text"], "value": None}


@pytest.mark.parametrize(
    "others, fronts",
    [
        (["params"], ["Pareto front"]),
        (
            ["params", "seconds"],
            [
                "Pareto front, val/accuracy and params",
                "Pareto front, val/accuracy and seconds",
                "Pareto front, params and seconds",
            ],
        ),
    ],
)
def test_several_objectives_have_a_front(
    tmp_path: Path, others: list[str], fronts: list[str]
) -> None:
    folder = sweep_folders.make_searched_sweep(tmp_path, trials=6)
    spec = json.loads((folder / "spec.json").read_text())
    spec["objectives"] += [{"metric": name, "mode": "min"} for name in others]
    (folder / "spec.json").write_text(json.dumps(spec))
    for path in folder.glob("trials/*/result.json"):
        result = json.loads(path.read_text())
        more = [1000.0 * result["number"] for _ in others]
        result["values"] += more if result["values"] else []
        path.write_text(json.dumps(result))
    text, _ = page(tmp_path, "searched")
    assert [title for title in titles(text) if "front" in title] == fronts
    assert "<th>params</th>" in text and ">3000.0000</td>" in text
    front = {trial.number for trial in SweepRecord(folder).ended().front}
    starred = re.findall(r'<td class="num" data-value="[0-9]+">\* ([0-9]+)</td>', text)
    assert {int(number) for number in starred} == front != set()
    assert "<h2>Best trials (* on the front)</h2>" in text


@pytest.mark.parametrize("trials", [0, 1])
def test_a_sweep_that_has_just_begun_has_a_report(tmp_path: Path, trials: int) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=0)
    for number in range(trials):
        sweep_folders.start_trial(folder, number)
        sweep_folders.add_epoch(folder, number, 1)
    sweep_folders.drive(folder)
    text, data = page(tmp_path, "demo")
    assert "still running" in text
    assert len(data["trials"]) == trials


def test_repeats_with_further_seeds_pass_for_no_trials_in_the_figures(tmp_path: Path) -> None:
    folder = sweep_folders.make_repeated_sweep(tmp_path)
    evidence = gather(SweepRecord(folder))
    assert [t.number for t in evidence.scored] == [0, 1]
    (figure,) = search.history(evidence)
    (front,) = [trace for trace in figure.traces if trace["name"] == "best so far"]
    assert front["y"] == [0.8, 0.8]


def test_time_is_accounted_for(tmp_path: Path) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=1, epochs=4)
    sweep_folders.start_trial(folder, 1)
    for epoch in (1, 2):
        sweep_folders.add_epoch(folder, 1, epoch)  # 9 s each, of 4 epochs asked
    sweep_folders.end_trial(folder, 1, epochs=2, state=TrialState.PRUNED)
    evidence = gather(SweepRecord(folder))
    assert [t.result.seconds for t in evidence.trials] == [36.0, 18.0]
    assert [t.saved_s for t in evidence.trials] == [0.0, 18.0]


@pytest.mark.parametrize(("spared", "told"), [(60.0, "saved"), (-60.0, "lost")])
def test_what_fusing_saved_or_lost_is_told(tmp_path: Path, spared: float, told: str) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=2)
    for path in folder.glob("trials/*/result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "spared": spared}))
    text, _ = page(tmp_path, "demo")
    assert f'<b>2 min</b><span class="muted">{told} by fusing</span>' in text


def test_a_trial_that_was_taken_up_again_has_two_spans(tmp_path: Path) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=1, epochs=4)
    attempts = folder / "trials" / "0000" / "attempts.jsonl"
    again = {"time": sweep_folders.START + 25, "host": "other", "device": "cuda:0"}
    with attempts.open("a") as file:
        file.write(json.dumps(again) + "\n")
    (trial,) = gather(SweepRecord(folder)).trials
    start = sweep_folders.START
    assert [(s.host, s.start - start, s.end - start) for s in trial.spans] == [
        ("node0", 0, 20),
        ("other", 25, 40),
    ]
    assert training.timeline(gather(SweepRecord(folder)))[0].traces[0]["y"] == [
        "node0 / 1",
        "other / 1",
    ]


def test_a_checkpoint_that_cannot_be_read_is_told_and_costs_no_figure(searched: Path) -> None:
    record = SweepRecord.of(searched, "searched")
    best = gather(record).best
    assert best is not None
    path = record.trial(best.number).folder / "best.pt"
    path.write_bytes(b"not a checkpoint")
    text, _ = page(searched, "searched")
    path.unlink()
    assert f"Not drawn: trial {best.number} cannot be looked into" in text
    assert "History" in titles(text)


def test_the_best_model_is_looked_into(tmp_path: Path) -> None:
    """A real trial: its kernels, its poles and its confusion matrix on the test split."""
    from sweeps import run_trial
    from sweeps.types import Objective, TrialResult, TrialSpec

    folder = sweep_folders.make_sweep(tmp_path, trials=0)
    data = {"name": "listops", "train": 32, "val": 16, "test": 16}
    data |= {"min_length": 3, "max_length": 20, "l_max": 24}
    spec = TrialSpec(
        sweep="demo",
        number=0,
        data=data,
        model={"name": "s4d", "d_model": 8, "n_layers": 2, "d_state": 8},
        train={"epochs": 1, "batch_size": 16},
        objective=Objective(),
        seed=0,
    )
    trial = folder / "trials" / "0000"
    (report,) = run_trial(spec, trial, home=tmp_path)
    result = TrialResult(number=0, state=TrialState.COMPLETED, value=0.1, best_epoch=1, epochs=1)
    (trial / "result.json").write_text(json.dumps(result.to_json()))
    text, data = page(tmp_path, "demo")
    shown = titles(text)
    assert "Impulse response, layer 2 of 2" in shown
    assert "Poles of a step, layer 1 of 2" in shown
    confusion = data["figures"][shown.index("Confusion on test, trial 0")]["traces"][0]
    assert sum(map(sum, confusion["text"])) == 16
