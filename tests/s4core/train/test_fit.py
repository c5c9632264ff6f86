"""The three promises of `fit`: on disk before it is told, restart is resume, equal bit by bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import multiprocessing
import os
import time
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.config import TaskShape
from s4core.models import build
from s4core.train import checkpoint
from s4core.train.config import OptimizerName, TrainConfig
from s4core.train.errors import CheckpointError, Diverged
from s4core.train.fit import evaluate, fit, load_model
from s4core.train.optim import build_optimizer
from s4core.train.report import MEASURED, EpochReport
from tests.s4core.train.tiny import NAME, SHAPE, Batch, Waves

MODEL = {"name": NAME}
TRAIN = TrainConfig(epochs=4, batch_size=16, lr=0.02, warmup=0.5, weight_decay=0.05)


def run(folder: Path | str, train: TrainConfig = TRAIN, **options) -> Iterator[EpochReport]:
    return fit(MODEL, SHAPE, train, Waves(), folder, **options)


def told(reports: Iterator[EpochReport]) -> list[dict]:
    """What must be equal between two runs: everything but times and memory."""
    plain = [r.to_json() for r in reports]
    for report in plain:
        report["metrics"] = {k: v for k, v in report["metrics"].items() if k not in MEASURED}
    return plain


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "last.pt")["model"]


def assert_same_weights(one: Path, other: Path) -> None:
    theirs = weights(other)
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, theirs[name]), name


def test_it_learns(tmp_path):
    reports = list(run(str(tmp_path), TrainConfig(epochs=12, batch_size=8, lr=0.03)))
    assert [r.epoch for r in reports] == list(range(1, 13))
    assert reports[-1].stopped_by == "epochs"
    assert all(r.stopped_by is None for r in reports[:-1])
    assert reports[0].metrics["val/accuracy"] < 0.75 < reports[-1].metrics["val/accuracy"]
    assert evaluate(tmp_path, Waves())["test/accuracy"] > 0.7


def test_every_report_has_the_same_finite_metrics(tmp_path):
    for report in run(tmp_path):
        assert set(report.metrics) == {
            *("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "lr/ssm"),
            *("epoch_s", "samples_per_s", "peak_memory_mb"),
        }
        assert all(np.isfinite(v) for v in report.metrics.values())


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_two_and_two_epochs_are_four_epochs(tmp_path, schedule, ema):
    train = TrainConfig(epochs=4, batch_size=16, lr=0.02, schedule=schedule, ema=ema)
    undisturbed = told(run(tmp_path / "one", train))
    stopped = run(tmp_path / "two", train)
    list(itertools.islice(stopped, 2))
    stopped.close()
    torch.rand(3)  # somebody else draws random numbers in between
    assert told(run(tmp_path / "two", train)) == undisturbed
    assert_same_weights(tmp_path / "one", tmp_path / "two")


def test_a_finished_run_tells_its_reports_again_and_changes_nothing(tmp_path):
    first = list(run(tmp_path))
    stamps = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert list(run(tmp_path)) == first
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == stamps


def test_more_epochs_go_on_where_the_run_ended(tmp_path):
    short = TrainConfig(epochs=2, batch_size=16, schedule="constant")
    long = TrainConfig(epochs=4, batch_size=16, schedule="constant")
    before = told(run(tmp_path / "a", short))
    after = told(run(tmp_path / "a", long))
    assert before[1]["stopped_by"] == "epochs" and after[1]["stopped_by"] is None
    assert after == told(run(tmp_path / "b", long))
    assert_same_weights(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("other", typing.get_args(OptimizerName))
@pytest.mark.parametrize("first", typing.get_args(OptimizerName))
def test_a_run_goes_on_with_another_optimizer(tmp_path, first, other):
    size = {"batch_size": 16, "lr": 0.001, "schedule": "constant"}
    list(run(tmp_path, TrainConfig(**size, epochs=1, optimizer=first, momentum=0.0)))
    train = TrainConfig(**size, epochs=2, optimizer=other, momentum=0.5, betas=(0.8, 0.9))
    assert [r.epoch for r in run(tmp_path, train)] == [1, 2]
    fresh = build_optimizer(build(MODEL, SHAPE), train).state_dict()["param_groups"]
    kept = checkpoint.read(tmp_path / "last.pt")["optimizer"]["param_groups"]
    for mine, theirs in zip(kept, fresh, strict=True):
        assert {**mine, "lr": 0} == {**theirs, "lr": 0}, "all settings are the new run's"


def test_moments_are_kept_where_the_optimizer_stays(tmp_path):
    size = {"batch_size": 16, "lr": 0.001, "schedule": "constant"}
    list(run(tmp_path, TrainConfig(**size, epochs=1)))
    list(run(tmp_path, TrainConfig(**size, epochs=2, optimizer="adam")))
    steps = [
        s["step"] for s in checkpoint.read(tmp_path / "last.pt")["optimizer"]["state"].values()
    ]
    list(run(tmp_path / "whole", TrainConfig(**size, epochs=2)))
    whole = checkpoint.read(tmp_path / "whole" / "last.pt")["optimizer"]["state"].values()
    assert steps == [s["step"] for s in whole]


def test_a_run_goes_on_in_half_precision(tmp_path):
    size = {"batch_size": 16, "schedule": "constant"}
    list(run(tmp_path, TrainConfig(**size, epochs=1)))
    assert len(list(run(tmp_path, TrainConfig(**size, epochs=2, precision="fp16")))) == 2


def test_momentum_begins_at_nothing_where_the_first_step_overflows(tmp_path):
    """The scaler of half precision skips it."""
    train = TrainConfig(optimizer="sgd", precision="fp16", lr=0.1)
    model = torch.nn.Linear(3, 3)
    optimizer, scaler = build_optimizer(model, train), torch.amp.GradScaler("cpu")
    scaler.scale((model.weight * math.inf).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    buffers = [s.get("momentum_buffer") for s in optimizer.state.values()]
    assert all(b is None or not b.any() for b in buffers)


def test_the_state_is_on_disk_before_a_report_is_told(tmp_path):
    for report in run(tmp_path):
        assert checkpoint.read(tmp_path / "last.pt")["epoch"] == report.epoch
        if report.best:
            assert checkpoint.read(tmp_path / "best.pt")["epoch"] == report.epoch


def test_other_random_numbers_do_not_matter_and_are_not_touched(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    one = told(run(tmp_path / "one"))
    assert torch.equal(torch.rand(4), expected)
    assert told(run(tmp_path / "two")) == one
    assert told(run(tmp_path / "three", seed=1)) != one


def test_a_run_killed_at_random_moments_tells_what_an_undisturbed_one_tells(tmp_path, monkeypatch):
    """Real SIGKILLs, at moments that no test author chose: before, in and between the epochs."""
    undisturbed = told(run(tmp_path / "one"))
    random = np.random.default_rng(int(os.environ.get("S4_KILL_SEED", "0")))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    children = multiprocessing.get_context("forkserver")  # torch is imported once, not each time
    children.set_forkserver_preload(["tests.s4core.train.child"])
    from tests.s4core.train.child import tell_into

    seen = kills = 0
    while seen < len(undisturbed):
        heard = tmp_path / f"heard-{kills}"
        child = children.Process(target=tell_into, args=(heard, tmp_path / "two"))
        child.start()
        while child.is_alive() and lines_of(heard) < max(1, seen):
            time.sleep(0.001)
        # Longer and longer: on a loaded machine an epoch takes many times its 50 ms.
        time.sleep(random.uniform(0, 0.1 + 0.05 * kills))
        child.kill()
        child.join()
        kills += 1
        stream = [json.loads(line) for line in heard.read_text().split("\n")[:-1]]
        assert stream == undisturbed[: len(stream)]
        seen = max(seen, len(stream))
        assert kills < 100, "some start must get further than the one before"
    assert told(run(tmp_path / "two")) == undisturbed
    assert_same_weights(tmp_path / "one", tmp_path / "two")


def lines_of(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_a_torn_checkpoint_falls_back_to_its_predecessor_and_says_so(tmp_path, caplog):
    undisturbed = told(run(tmp_path / "one"))
    list(itertools.islice(run(tmp_path / "two"), 3))
    last = tmp_path / "two" / "last.pt"
    last.write_bytes(last.read_bytes()[:-1000])
    assert told(run(tmp_path / "two")) == undisturbed
    assert "last.pt: is damaged" in caplog.text
    assert "Going on from previous.pt, epoch 2." in caplog.text


def test_two_torn_checkpoints_are_an_error_and_not_a_fresh_start(tmp_path):
    list(itertools.islice(run(tmp_path), 3))
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"PK\3\4 nothing")
    with pytest.raises(CheckpointError, match=r"previous\.pt: is damaged"):
        next(run(tmp_path))


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    next(run(tmp_path))
    with pytest.raises(CheckpointError, match="another model: d_model was 8, is 4"):
        next(fit({"name": NAME, "d_model": 4}, SHAPE, TRAIN, Waves(), tmp_path))
    with pytest.raises(CheckpointError, match="another objective"):
        next(run(tmp_path, metric="val/loss", mode="min"))


def test_a_guard_that_raises_leaves_the_folder_as_it_was(tmp_path):
    next(run(tmp_path))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def lost() -> None:
        raise PermissionError("the trial belongs to another attempt")

    with pytest.raises(PermissionError):
        list(run(tmp_path, guard=lost))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    next(run(tmp_path))
    (tmp_path / "last.pt.4242.tmp").write_bytes(b"half")
    next(run(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_a_loss_that_is_no_number_is_an_error_that_names_the_epoch(tmp_path):
    class Poisoned(Waves):
        def batches(self, split, *, epoch, **rest):
            for batch in super().batches(split, epoch=epoch, **rest):
                yield Batch(batch.x * np.float32(np.nan if epoch == 2 else 1), batch.y)

    stream = fit(MODEL, SHAPE, TRAIN, Poisoned(), tmp_path)
    assert next(stream).epoch == 1
    with pytest.raises(Diverged, match="became nan in epoch 2: lower lr"):
        next(stream)
    assert checkpoint.read(tmp_path / "last.pt")["epoch"] == 1


def test_patience_ends_a_run_and_more_patience_goes_on(tmp_path):
    def impatient(patience):
        return TrainConfig(epochs=20, batch_size=16, schedule="constant", patience=patience)

    # 33 examples that are nearly noise: the best accuracy of 20 epochs does not come step by step.
    noise = Waves(noise=30.0)
    short = list(fit(MODEL, SHAPE, impatient(2), noise, tmp_path))
    assert short[-1].stopped_by == "patience" and len(short) < 20
    best = max(r.epoch for r in short if r.best)
    assert short[-1].epoch - best == 2
    longer = list(fit(MODEL, SHAPE, impatient(None), noise, tmp_path))
    assert len(longer) == 20 and longer[-1].stopped_by == "epochs"
    assert [r.metrics for r in longer[: len(short)]] == [r.metrics for r in short]


def test_a_wrong_objective_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'val/accuracy'"):
        next(run(tmp_path, metric="val/acuracy"))


def test_the_model_that_is_loaded_is_the_best_one(tmp_path):
    best = [r for r in run(tmp_path) if r.best][-1]
    model, made_by = load_model(tmp_path)
    assert made_by["model"]["name"] == NAME and not model.training
    scores = evaluate(tmp_path, Waves(), split="val")
    assert scores["val/accuracy"] == best.metrics["val/accuracy"]
    assert scores["val/loss"] == pytest.approx(best.metrics["val/loss"], abs=1e-12)


def test_what_was_trained_as_cuda_graphs_is_tested_without_a_gpu(tmp_path):
    told(run(tmp_path))
    scores = evaluate(tmp_path, Waves(), device="cpu")
    state = checkpoint.read(tmp_path / "best.pt")
    state["made_by"]["train"]["backend"] = "graphs"
    checkpoint.write(tmp_path / "best.pt", state)
    assert evaluate(tmp_path, Waves(), device="cpu") == scores


def test_accumulated_batches_give_the_step_of_one_large_batch(tmp_path):
    """Equal to rounding: batch norm sees the same batches, so it is left out (dropout too)."""
    shape = TaskShape(d_input=1, d_output=3, length=24, target="step_class")
    states = {}
    for size, accumulate in ((32, 1), (8, 4)):
        train = TrainConfig(
            epochs=1, batch_size=size, accumulate=accumulate, eval_batch_size=64, optimizer="sgd"
        )
        folder = tmp_path / str(size)
        model = {"name": "tests.s4core.train.plain"}
        list(fit(model, shape, train, Waves(shape), folder))
        states[size] = weights(folder)
    for name, tensor in states[32].items():
        torch.testing.assert_close(tensor, states[8][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_keeps_float32_weights(tmp_path, precision):
    train = TrainConfig(epochs=6, batch_size=16, lr=0.02, precision=precision)
    stream = run(tmp_path / "a", train)
    list(itertools.islice(stream, 3))
    reports = told(run(tmp_path / "a", train))
    assert reports == told(run(tmp_path / "b", train))
    assert reports[-1]["metrics"]["train/loss"] < reports[0]["metrics"]["train/loss"]
    assert all(w.dtype != torch.float16 for w in weights(tmp_path / "a").values())


def test_averaged_weights_are_what_is_evaluated_and_kept(tmp_path):
    train = TrainConfig(epochs=3, batch_size=16, lr=0.02, ema=0.99)
    reports = list(run(tmp_path, train))
    last = evaluate(tmp_path, Waves(), split="val", checkpoint="last")
    assert last["val/loss"] == pytest.approx(reports[-1].metrics["val/loss"], abs=1e-12)
    averaged, _ = load_model(tmp_path, "last")
    assert not torch.equal(
        averaged.state_dict()["decoder.weight"], weights(tmp_path)["decoder.weight"]
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex")
def test_a_compiled_model_trains_the_same(tmp_path):
    model = {"name": "s4d", "d_model": 8, "n_layers": 1, "d_state": 8}
    losses = []
    for backend in ("eager", "compiled"):
        train = TrainConfig(epochs=1, batch_size=35, eval_batch_size=33, backend=backend)
        report = next(fit(model, SHAPE, train, Waves(), tmp_path / backend))
        losses.append([report.metrics["train/loss"], report.metrics["val/loss"]])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_where_memory_runs_out_half_the_batch_is_taken_if_asked_for(tmp_path, caplog):
    model = {"name": "tests.s4core.train.greedy", "room": 5}
    size = {"epochs": 3, "batch_size": 16, "lr": 0.02}
    with pytest.raises(torch.OutOfMemoryError, match="16 sequences"):
        next(fit(model, SHAPE, TrainConfig(**size), Waves(), tmp_path / "fails"))
    train = TrainConfig(**size, halve_batch=True)
    next(fit(model, SHAPE, train, Waves(), tmp_path / "one"))
    assert "out of memory; going on with batch_size 8." in caplog.text
    assert "out of memory; going on with batch_size 4." in caplog.text
    caplog.clear()
    resumed = told(fit(model, SHAPE, train, Waves(), tmp_path / "one"))
    assert not caplog.text, "a restart remembers the size that fits"
    assert [r["metrics"].pop("batch_size") for r in resumed] == [4.0, 4.0, 4.0]
    small = TrainConfig(**{**size, "batch_size": 4})
    assert resumed == told(fit(model, SHAPE, small, Waves(), tmp_path / "small"))


def test_batches_of_validation_stay_as_they_are_where_nothing_was_halved(tmp_path):
    train = dataclasses.replace(TRAIN, halve_batch=True, eval_batch_size=33)
    undisturbed = told(run(tmp_path / "a", train))
    stopped = run(tmp_path / "b", train)
    next(stopped)
    stopped.close()
    assert told(run(tmp_path / "b", train)) == undisturbed


def test_a_batch_size_that_was_not_halved_is_no_limit_for_the_next(tmp_path):
    size = {"lr": 0.02, "halve_batch": True}
    list(run(tmp_path, TrainConfig(**size, epochs=1, batch_size=8)))
    reports = list(run(tmp_path, TrainConfig(**size, epochs=2, batch_size=16)))
    assert [r.metrics["batch_size"] for r in reports] == [8.0, 16.0]


def test_settings_may_be_blocks_and_are_blamed_by_their_path(tmp_path):
    shape = {"d_input": 1, "d_output": 3, "length": 24}
    block = {"epochs": 4, "batch_size": 16, "lr": 0.02, "warmup": 0.5, "weight_decay": 0.05}
    reports = fit(MODEL, shape, block, Waves(), tmp_path / "block")
    assert told(reports) == told(run(tmp_path / "config"))
    with pytest.raises(ValueError, match="train.epoch: unknown key 'epoch'"):
        next(fit(MODEL, SHAPE, {"epoch": 4}, Waves(), tmp_path / "none"))
    with pytest.raises(ValueError, match="need seed >= 0, got -1"):
        next(run(tmp_path / "none", seed=-1))
