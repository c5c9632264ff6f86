"""K trials trained as one tell what each would tell alone, up to float32 rounding."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from s4core.config import TaskShape
from s4core.train import checkpoint
from s4core.train.config import TrainConfig
from s4core.train.errors import Diverged
from s4core.train.fit import fit
from s4core.train.fused import Member, crowd_key, fit_together
from tests.s4core.train.test_fit import MODEL, told
from tests.s4core.train.tiny import SHAPE, Batch, Waves

SMALL = {"d_model": 8, "n_layers": 2, "d_state": 8}
S4D = {"name": "s4d", **SMALL}


def members(folder: Path, model: dict, count: int = 3, **settings) -> list[Member]:
    """Trials that differ in everything that may differ."""
    return [
        Member(
            model={**model, "dropout": 0.1 * k},
            train=TrainConfig(
                batch_size=16,
                lr=0.004 * (k + 1),
                ssm_lr=0.002 if k else None,
                weight_decay=0.05 * k,
                schedule=("cosine", "linear", "constant")[k % 3],
                warmup=0.5,
                grad_clip=0.5 if k == 1 else None,
                label_smoothing=0.1 * (k == 2),
                **{"epochs": 3, **settings},
            ),
            folder=folder / str(k),
            seed=10 + k,
        )
        for k in range(count)
    ]


def alone(member: Member, folder: Path, shape: TaskShape = SHAPE) -> list[dict]:
    data = Waves(shape)
    return told(fit(member.model, shape, member.train, data, folder, seed=member.seed))


def in_turns(stream, count: int) -> list[list[dict]]:
    found: list[list[dict]] = [[] for _ in range(count)]
    for index, report in itertools.chain.from_iterable(stream):
        found[index] += told(iter([report]))
    return found


def assert_close(fused: list[dict], single: list[dict]) -> None:
    assert [r["epoch"] for r in fused] == [r["epoch"] for r in single]
    assert [r["stopped_by"] for r in fused] == [r["stopped_by"] for r in single]
    for one, other in zip(fused, single, strict=True):
        for name, value in other["metrics"].items():
            near = 0.04 if "accuracy" in name else 1e-3  # one example near the border
            assert one["metrics"][name] == pytest.approx(value, rel=near, abs=near), name


MODELS = {
    "s4d": S4D,
    "s4d, one shared system, batch norm, pooled": {
        **S4D, "n_ssm": 2, "norm": "batch", "block_pool": "avg",
        # Before a first batch norm the encoder's bias has no gradient but rounding, which AdamW
        # makes a random walk of: no two ways of computing it agree.
        "prenorm": False,
    },
    "s4d, real modes, post-norm, bidirectional": {
        **S4D, "init": "real", "is_real": True, "prenorm": False, "bidirectional": True,
        "norm": "layer",
    },
    "s4": {"name": "s4", **SMALL},
    "s4, rank 2, shared, rms, half_glu2, last": {
        "name": "s4", **SMALL, "rank": 2, "n_ssm": 1, "norm": "rms", "final_act": "half_glu2",
        "pooling": "last", "dt_tie": False,
    },
    "s4d, one shared system, by blocks": {**S4D, "n_ssm": 2, "mode": "scan"},
    "s4d, inner dropout, linear": {**S4D, "dropout_rule": "inner", "final_act": "linear"},
}  # fmt: skip


@pytest.mark.parametrize("what", MODELS)
def test_together_as_alone(tmp_path, what):
    trials = members(tmp_path / "fused", MODELS[what])
    fused = in_turns(fit_together(trials, SHAPE, Waves()), len(trials))
    for k, member in enumerate(trials):
        assert_close(fused[k], alone(member, tmp_path / f"alone{k}"))


def test_members_may_begin_from_other_systems(tmp_path):
    inits = ("legs", "fout", "lagt")
    trials = [
        dataclasses.replace(m, model={**m.model, "init": init, "dt_max": 0.1 * (k + 1)})
        for k, (m, init) in enumerate(
            zip(members(tmp_path, {"name": "s4", **SMALL}), inits, strict=True)
        )
    ]
    assert len({crowd_key(m.model, m.train) for m in trials}) == 1
    fused = in_turns(fit_together(trials, SHAPE, Waves()), 3)
    for k, member in enumerate(trials):
        assert_close(fused[k], alone(member, tmp_path / f"alone{k}"))


def test_an_epoch_says_what_it_spared_and_timing_it_changes_nothing(tmp_path):
    trials = members(tmp_path / "fused", S4D, count=2, epochs=1)
    short = [dataclasses.replace(m.train, batch_size=4) for m in trials]
    trials = [dataclasses.replace(m, train=t) for m, t in zip(trials, short, strict=True)]
    reports = dict(itertools.chain.from_iterable(fit_together(trials, SHAPE, Waves())))
    for k, member in enumerate(trials):
        metrics = reports[k].metrics
        assert metrics["fused"] == 2.0
        assert 0 < metrics["spared_s"] + metrics["epoch_s"] < 60, "about the time alone"
        assert_close(told(iter([reports[k]])), alone(member, tmp_path / f"alone{k}"))


def test_answers_at_every_step_are_fused_too(tmp_path):
    shape = TaskShape(d_input=1, d_output=3, length=24, target="step_class")
    trials = members(tmp_path / "fused", S4D, count=2, epochs=2)
    fused = in_turns(fit_together(trials, shape, Waves(shape)), 2)
    for k, member in enumerate(trials):
        assert_close(fused[k], alone(member, tmp_path / f"alone{k}", shape))


def test_what_was_begun_together_goes_on_alone_and_the_other_way_round(tmp_path):
    trials = members(tmp_path / "fused", S4D)
    stream = fit_together(trials, SHAPE, Waves())
    assert next(stream) == [], "nothing was said before"
    assert [(k, report.epoch) for k, report in next(stream)] == [(0, 1), (1, 1), (2, 1)]
    stream.close()
    assert [checkpoint.read(m.folder / "last.pt")["epoch"] for m in trials] == [1, 1, 1]
    # The first goes on alone; then all together again, from different epochs.
    list(itertools.islice(alone_from(trials[0]), 2))
    stream = fit_together(trials, SHAPE, Waves())
    assert [(k, r.epoch) for k, r in next(stream)] == [(0, 1), (0, 2), (1, 1), (2, 1)]
    stream.close()
    rest = in_turns(fit_together(trials, SHAPE, Waves()), 3)
    for k, member in enumerate(trials):
        assert_close(rest[k], alone(member, tmp_path / f"a{k}"))


def alone_from(member: Member):
    """What `fit` says of a member that goes on in its own folder."""
    return fit(member.model, SHAPE, member.train, Waves(), member.folder, seed=member.seed)


def test_those_that_stop_leave_and_the_others_go_on(tmp_path):
    first, *others = members(tmp_path, S4D)
    short = dataclasses.replace(first, train=dataclasses.replace(first.train, epochs=2))
    rounds = [[k for k, _ in said] for said in fit_together([short, *others], SHAPE, Waves())]
    assert rounds == [[], [0, 1, 2], [0, 1, 2], [1, 2]]


def test_trials_that_differ_in_what_each_keeps_for_itself_have_one_key():
    one, other, third = (crowd_key(m.model, m.train) for m in members(Path(), S4D))
    assert one == other == third is not None
    train = TrainConfig()
    key = crowd_key(S4D, train)
    assert crowd_key({**S4D, "init": "lin", "dt_max": 0.2}, train) == key
    assert crowd_key({**S4D, "activation": "relu"}, train) != key
    assert crowd_key({**S4D, "d_model": 16}, train) != key
    assert crowd_key(S4D, TrainConfig(batch_size=8)) != key
    assert crowd_key(S4D, TrainConfig(ema=0.9)) is None


def test_one_that_diverges_does_not_harm_the_others(tmp_path):
    class Poisoned(Waves):
        def batches(self, split, *, epoch, seed, **rest):
            bad = split == "train" and epoch == 2 and seed == 11
            for batch in super().batches(split, epoch=epoch, seed=seed, **rest):
                yield Batch(batch.x * np.float32(np.nan if bad else 1), batch.y)

    trials = members(tmp_path / "fused", S4D)
    outcomes = list(itertools.chain.from_iterable(fit_together(trials, SHAPE, Poisoned())))
    assert [type(o) for i, o in outcomes if i == 1][-1] is Diverged
    assert checkpoint.read(trials[1].folder / "last.pt")["epoch"] == 1
    for k in (0, 2):
        mine = told(o for i, o in outcomes if i == k)
        assert_close(mine, alone(trials[k], tmp_path / f"alone{k}"))


def test_the_weights_are_those_of_separate_training(tmp_path):
    trials = members(tmp_path / "fused", S4D, epochs=2)
    list(fit_together(trials, SHAPE, Waves()))
    for k, member in enumerate(trials):
        alone(member, tmp_path / f"alone{k}")
        theirs = checkpoint.read(tmp_path / f"alone{k}" / "last.pt")
        mine = checkpoint.read(member.folder / "last.pt")
        for name, tensor in theirs["model"].items():
            torch.testing.assert_close(mine["model"][name], tensor, rtol=1e-3, atol=1e-4)
        steps = [s["step"] for s in mine["optimizer"]["state"].values()]
        assert steps == [s["step"] for s in theirs["optimizer"]["state"].values()]


@pytest.mark.parametrize(
    ("model", "settings", "reason"),
    [
        (S4D, {"ema": 0.9}, "only AdamW without accumulation and averaging"),
        (S4D, {"precision": "bf16"}, "only float32"),
        ({**S4D, "residual": "affine"}, {}, "only residual 'add'"),
        ({**S4D, "tie_dropout": False}, {}, "only tied dropout"),
        ({**S4D, "drop_path": 0.1}, {}, "drop_path"),
        ({**S4D, "kernel_dropout": 0.1}, {}, "kernel_dropout is not fused"),
        ({**S4D, "weight_norm": True}, {}, "weight_norm is not fused"),
        ({"name": "s6", "d_model": 8, "n_layers": 1}, {}, "only blocks around a plain SSM layer"),
        (MODEL, {}, "only stacks of blocks"),
    ],
)
def test_what_cannot_be_fused_says_why(tmp_path, model, settings, reason):
    with pytest.raises(ValueError, match=reason):
        next(fit_together(members(tmp_path, model, **settings), SHAPE, Waves()))
