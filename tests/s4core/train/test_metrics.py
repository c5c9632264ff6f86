"""Metrics by sums equal the definitions, however the examples are cut into batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s4core.config import TaskShape
from s4core.train.losses import IGNORE
from s4core.train.metrics import METRICS, Meter, reported

CLASSES = TaskShape(d_input=1, d_output=4, length=6)
STEPS = TaskShape(d_input=1, d_output=4, length=6, target="step_class")
VALUES = TaskShape(d_input=1, d_output=3, length=6, target="value")
EXTRA = ("accuracy@2", "accuracy@3", "f1", "balanced_accuracy")


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), cuts=st.lists(st.integers(0, 30), max_size=4), seed=st.integers(0, 99))
def test_class_metrics_are_those_of_all_examples_at_once(n, cuts, seed):
    random = np.random.default_rng(seed)
    scores, y = random.standard_normal((n, 4)).astype(np.float32), random.integers(0, 4, n)
    meter = Meter(CLASSES, extra=EXTRA)
    edges = [0, *sorted(c for c in cuts if c < n), n]
    for a, b in zip(edges, edges[1:], strict=False):
        meter.loss(torch.from_numpy(scores[a:b]), torch.from_numpy(y[a:b]), None)
    got = meter.result()
    guess, order = scores.argmax(1), (-scores).argsort(1)
    log_p = scores - np.log(np.exp(scores.astype(np.float64)).sum(1, keepdims=True))
    assert got["loss"] == pytest.approx(-log_p[np.arange(n), y].mean(), rel=1e-5)
    assert got["accuracy"] == pytest.approx((guess == y).mean())
    for k in (2, 3):
        assert got[f"accuracy@{k}"] == pytest.approx((order[:, :k] == y[:, None]).any(1).mean())
    f1 = []
    for c in sorted({*y, *guess}):
        hits = ((guess == c) & (y == c)).sum()
        f1.append(2 * hits / ((guess == c).sum() + (y == c).sum()))
    assert got["f1"] == pytest.approx(np.mean(f1))
    recall = [(guess[y == c] == c).mean() for c in sorted(set(y))]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(recall))


def test_steps_beyond_a_length_and_ignored_labels_do_not_count():
    scores = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    y = torch.ones(2, 6, dtype=torch.long)
    y[0, 1] = IGNORE
    lengths = torch.tensor([3, 6])
    meter, flat = Meter(STEPS), Meter(CLASSES)
    meter.loss(scores, y, lengths)
    kept = torch.cat([scores[0, [0, 2]], scores[1]])
    flat.loss(kept, torch.ones(8, dtype=torch.long), None)
    got = meter.result()
    assert got["loss"] == pytest.approx(flat.result()["loss"])
    assert got["accuracy"] == flat.result()["accuracy"]
    assert got["perplexity"] == pytest.approx(math.exp(got["loss"]))
    assert got["bits"] == pytest.approx(got["loss"] / math.log(2))


def test_steps_without_a_value_do_not_count():
    shape = TaskShape(d_input=1, d_output=2, length=3, target="step_value")
    y = torch.tensor([[[1.0, 2.0], [torch.nan, 0.0], [3.0, 4.0]]])
    meter = Meter(shape)
    meter.loss(torch.zeros(1, 3, 2), y, None)
    assert meter.result()["mse"] == (1 + 4 + 9 + 16) / 4


def test_value_metrics():
    random = np.random.default_rng(0)
    guess, y = random.standard_normal((2, 50, 3)).astype(np.float32)
    meter = Meter(VALUES, extra=("r2",))
    for rows in (slice(0, 7), slice(7, 50)):
        meter.loss(torch.from_numpy(guess[rows]), torch.from_numpy(y[rows]), None)
    got = meter.result()
    assert got["mse"] == pytest.approx(((guess - y) ** 2).mean())
    assert got["loss"] == pytest.approx(got["mse"])
    assert got["rmse"] == pytest.approx(np.sqrt(((guess - y) ** 2).mean()))
    assert got["mae"] == pytest.approx(np.abs(guess - y).mean())
    r2 = 1 - ((guess - y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    assert got["r2"] == pytest.approx(r2.mean())


def test_r2_of_an_output_that_never_varies_is_1_or_0():
    y = torch.tensor([[0.1, 0.1, 1.0], [0.1, 0.1, 3.0]])
    guess = y + torch.tensor([0.0, 0.5, 0.0])
    meter = Meter(VALUES, extra=("r2",))
    meter.loss(guess, y, None)
    assert meter.result()["r2"] == pytest.approx(2 / 3)


def test_nothing_added_is_no_number():
    assert all(math.isnan(v) for v in Meter(CLASSES).result().values())


def test_predictions_that_do_not_fit_the_targets_are_refused():
    with pytest.raises(ValueError, match="8 predictions do not fit 7 targets"):
        Meter(CLASSES).loss(torch.zeros(8, 4), torch.zeros(7, dtype=torch.long), None)


def test_metrics_of_another_kind_of_task_are_refused():
    assert reported(CLASSES, ("f1",)) == ("loss", "accuracy", "f1")
    for shape, name in ((CLASSES, "r2"), (VALUES, "f1"), (CLASSES, "accuracy@5")):
        with pytest.raises(ValueError, match="needs"):
            reported(shape, (name,))
    assert {"f1", "r2"} <= set(METRICS)
