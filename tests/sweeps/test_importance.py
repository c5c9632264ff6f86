from __future__ import annotations

import math
import random

import pytest

from sweeps.importance import importances


def trials(count: int) -> tuple[list[dict[str, object]], list[float]]:
    """The rate matters much, the model some, dropout not at all; only s4 has a d_state."""
    rng = random.Random(1)
    rows, values = [], []
    for _ in range(count):
        row: dict[str, object] = {
            "model.name": rng.choice(["s4", "s4d"]),
            "train.lr": 10 ** rng.uniform(-4, -1),
            "model.dropout": rng.uniform(0, 0.2),
            "model.d_model": 64,
        }
        value = -((math.log10(float(str(row["train.lr"]))) + 2) ** 2) + rng.gauss(0, 0.05)
        if row["model.name"] == "s4":
            row["model.d_state"] = rng.choice([16, 32, 64])
            value += 0.5
        rows.append(row)
        values.append(value)
    return rows, values


def test_what_matters_comes_first_and_what_never_varied_not_at_all() -> None:
    rated = importances(*trials(60), logs={"train.lr"}, resamples=3)
    names = [item.name for item in rated]
    assert names[0] == "train.lr"
    assert "model.d_model" not in names
    by_name = {item.name: item for item in rated}
    assert by_name["train.lr"].share > 3 * by_name["model.dropout"].share
    assert by_name["model.d_state"].trials < by_name["train.lr"].trials == 60


def test_few_trials_are_less_certain_than_many() -> None:
    few, many = (
        {i.name: i for i in importances(*trials(n), logs={"train.lr"}, resamples=6)}
        for n in (8, 120)
    )
    assert few["train.lr"].spread > many["train.lr"].spread


@pytest.mark.parametrize(
    ("rows", "values"),
    [
        ([], []),
        ([{"a": 1}, {"a": 2}, {"a": 3}], [0.1, 0.2, 0.3]),
        ([{"a": 1}] * 9, [0.1 * i for i in range(9)]),
        ([{"a": i} for i in range(9)], [0.5] * 9),
    ],
    ids=["nothing", "too few trials", "one value", "one outcome"],
)
def test_nothing_is_said_where_nothing_can_be(
    rows: list[dict[str, object]], values: list[float]
) -> None:
    assert importances(rows, values) == []


def test_the_same_trials_give_the_same_figures() -> None:
    assert importances(*trials(12), resamples=2) == importances(*trials(12), resamples=2)
