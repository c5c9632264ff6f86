"""Patience as tables that can be checked by eye."""

from __future__ import annotations

import math

import pytest

from s4core.train.patience import Best, is_out_of_patience

NAN = math.nan


@pytest.mark.parametrize(
    ("mode", "patience", "margin", "values", "stops_after"),
    [
        # epoch              1    2    3    4    5    6
        ("max", 2, 0.0, [0.1, 0.2, 0.2, 0.1, 0.9, 0.9], 4),  # equal is no improvement
        ("max", 1, 0.0, [0.1, 0.2, 0.3, 0.4, 0.4, 0.9], 5),
        ("max", 3, 0.0, [0.5, 0.4, 0.4, 0.6, 0.1, 0.1], None),
        ("max", 3, 0.0, [0.5, 0.4, 0.4, 0.4, 0.6, 0.6], 4),
        ("max", None, 0.0, [0.5, 0.4, 0.3, 0.2, 0.1, 0.0], None),
        ("max", 2, 0.1, [0.1, 0.15, 0.19, 0.9, 0.9, 0.9], 3),  # creeps less than the margin
        ("max", 2, 0.1, [0.1, 0.15, 0.21, 0.21, 0.9, 0.9], None),  # measured from the last best
        ("min", 2, 0.0, [0.9, 0.8, 0.9, 0.7, 0.7, 0.8], 6),
        ("min", 2, 0.0, [0.9, NAN, NAN, 0.7, 0.7, 0.8], 3),  # NaN never improves
        ("min", 2, 0.0, [NAN, 0.9, 0.8, 0.7, 0.6, 0.5], None),
        ("max", 2, 0.0, [NAN, NAN, NAN, NAN, NAN, NAN], 2),
    ],
)
def test_when_to_stop(mode, patience, margin, values, stops_after):
    best = Best(mode=mode, margin=margin)
    stopped = None
    for epoch, value in enumerate(values, start=1):
        best.update(epoch, value)
        if is_out_of_patience(patience, epoch=epoch, best_epoch=best.epoch):
            stopped = epoch
            break
    assert stopped == stops_after


def test_the_best_is_the_first_of_equals():
    best = Best(mode="max")
    assert [best.update(e, v) for e, v in enumerate([0.1, 0.5, 0.5, 0.4], 1)] == [
        *(True, True, False, False)
    ]
    assert (best.value, best.epoch) == (0.5, 2)
