"""The space: resolving, naming, fitting back, corners and grids."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps import SpecError
from sweeps.space import Misfit, Space, random_suggest
from sweeps.yaml_tree import parse_yaml

CONDITIONAL = {
    "model": {
        "d_model": 64,
        "n_layers": {"choice": [2, 3]},
        "choice": [
            {"name": "s4d", "init": {"choice": ["lin", "inv"]}},
            {"name": "s4", "rank": {"int": [1, 2]}},
        ],
    },
    "train": {"lr": {"log_uniform": [0.001, 0.1]}, "betas": [0.9, {"uniform": [0.9, 0.99]}]},
}


def test_a_parameter_is_named_by_its_path_and_below_a_block_by_the_name_of_the_block() -> None:
    names = set()
    for point in Space.from_data(CONDITIONAL).corners():
        names |= set(point.params)
    assert names == {
        "model", "model.n_layers", "model.s4d.init", "model.s4.rank", "train.lr", "train.betas.1",
    }  # fmt: skip


def test_what_is_common_joins_the_chosen_block() -> None:
    point = Space.from_data(CONDITIONAL).at(
        {"model": "s4", "model.n_layers": 3, "model.s4.rank": 2, "train.lr": 0.01,
         "train.betas.1": 0.95}
    )  # fmt: skip
    assert point.config["model"] == {"d_model": 64, "n_layers": 3, "name": "s4", "rank": 2}
    assert point.config["train"] == {"lr": 0.01, "betas": [0.9, 0.95]}


@given(seed=st.integers(0, 10_000))
def test_a_point_fits_back_to_what_was_sampled(seed: int) -> None:
    space = Space.from_data({**CONDITIONAL, "x": {"y": {"normal": [3, 2]}, "z": {"int": [2, 9]}}})
    sampled: dict[str, Any] = {}
    draw = random_suggest(random.Random(seed))

    def suggest(name: str, distribution: Any) -> Any:
        sampled[name] = draw(name, distribution)
        return sampled[name]

    point = space.resolve(suggest)
    found = space.fit(point.config)
    assert found.keys() == sampled.keys()
    assert {k: v for k, v in found.items() if "normal" not in k} == pytest.approx(sampled, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"name": "lssl", "n_layers": 2}}, "is none of s4d, s4"),
        ({"model": {"name": "s4", "n_layers": 2, "rank": 3}}, r"model.choice.1.rank: 3 is outside"),
        ({"train": {"lr": 1.0, "betas": [0.9, 0.95]}}, r"train.lr: 1.0 is outside \[0.001, 0.1\]"),
        ({"train": {"lr": 0.01, "betas": [0.9]}}, "not a list of 2"),
    ],
)
def test_a_configuration_outside_of_the_space_is_said_to_be(change: Any, said: str) -> None:
    inside = {
        "model": {"name": "s4", "n_layers": 2, "rank": 1},
        "train": {"lr": 0.01, "betas": [0.9, 0.95]},
    }
    with pytest.raises(Misfit, match=said):
        Space.from_data(CONDITIONAL).fit({**inside, **change})


def test_corners_visit_every_option_and_both_ends() -> None:
    seen: set[tuple[str, Any]] = set()
    for point in Space.from_data(CONDITIONAL).corners():
        seen |= set(point.params.items())
    assert {("model", "s4d"), ("model", "s4"), ("model.s4.rank", 1), ("model.s4.rank", 2)} <= seen
    assert {("train.lr", 0.001), ("train.lr", 0.1), ("model.s4d.init", "inv")} <= seen


def test_a_grid_has_only_the_parameters_of_the_chosen_block() -> None:
    data = {"model": CONDITIONAL["model"]}
    points = list(Space.from_data(data).grid(None))
    assert len(points) == 2 * 2 + 2 * 2 == Space.from_data(data).size()
    assert {"model": "s4d", "model.n_layers": 2, "model.s4d.init": "lin"} in points


def test_a_grid_of_a_continuous_range_needs_to_know_how_many_points() -> None:
    space = Space.from_data({"lr": {"log_uniform": [0.01, 1.0]}, "n": {"int": [1, 100]}})
    assert space.size() is None
    values = {point["lr"] for point in space.grid(3)}
    assert sorted(values) == pytest.approx([0.01, 0.1, 1.0])
    assert {point["n"] for point in space.grid(3)} == {1, 51, 100}


def test_a_derived_value_follows_the_others() -> None:
    space = Space.from_data(
        {"model": {"d_model": {"choice": [8, 16]}, "d_state": {"expr": "model.d_model // 2"}}}
    )
    assert {p.config["model"]["d_state"] for p in space.corners()} == {4, 8}
    assert space.at({"model.d_model": 16}).params == {"model.d_model": 16}


def test_blocks_of_one_name_are_told_apart() -> None:
    space = Space.from_data({"m": {"choice": [{"name": "a", "x": 1}, {"name": "a", "x": 2}]}})
    assert [p.config["m"]["x"] for p in space.corners()] == [1, 2]
    assert {p.params["m"] for p in space.corners()} == {"a", "a#2"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{choice: []}", "f.yaml:1: a.choice: an empty choice; give at least one option."),
        ("{uniform: [2, 1]}", "f.yaml:1: a.uniform: an empty range: 2 > 1."),
        ("{log_uniform: [0, 1]}", "f.yaml:1: a.log_uniform: log_uniform wants low > 0, got 0."),
        (
            "{log_uniform: [1e-4, 0.1]}",
            "f.yaml:1: a.log_uniform.0: wants a number, got '1e-4', which YAML reads as text; "
            "write 0.0001.",
        ),
        ("{int: [1, 2.5]}", "f.yaml:1: a.int.1: int wants whole numbers, got 2.5."),
        ("{int: [1, 6], step: 2}", "f.yaml:1: a.int: 6 is not reached from 1 in steps of 2."),
        (
            "{uniform: [0, 0.5], step: 0.2}",
            "f.yaml:1: a.uniform: 0.5 is not reached from 0 in steps of 0.2.",
        ),
        ("{int: 3}", "f.yaml:1: a.int: int wants [low, high], got 3."),
        ("{int: [1, 2], log: true}", "f.yaml:1: a.log: unknown key 'log' beside 'int'."),
        (
            "{int: [1, 2], choice: [3]}",
            "f.yaml:1: a: two ranges in one value (choice and int); keep one.",
        ),
        (
            "{choice: [1, 2], x: 3}",
            "f.yaml:1: a.x: 'x' beside a choice is common to its blocks, but not every option is "
            "a block.",
        ),
        (
            "{int: [1, 100000000000000000]}",
            "f.yaml:1: a.int.1: int wants whole numbers up to 2**53, got 100000000000000000.",
        ),
        (
            "{uniform: [0, 1], step: 1.0e-300}",
            "f.yaml:1: a.uniform: too wide a range: 0 to 1 in steps of 1e-300.",
        ),
        (
            "{uniform: [-1.0e+308, 1.0e+308]}",
            "f.yaml:1: a.uniform: too wide a range: -1e+308 to 1e+308.",
        ),
        ("{choice: [1, .nan]}", "f.yaml:1: a.choice.1: nan is no value."),
        ("{normal: [0, 0]}", "f.yaml:1: a.normal: normal wants [mean, std] with std > 0."),
        ("{expr: 'import os'}", "f.yaml:1: a.expr: not an expression: 'import os'."),
    ],
)
def test_a_range_that_cannot_be_is_said_in_one_line(value: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        Space.parse(parse_yaml(f"a: {value}\n", file="f.yaml"))
    assert str(caught.value) == said


def test_a_word_that_is_nearly_a_range_is_not_a_block() -> None:
    with pytest.raises(SpecError, match="no range 'loguniform'.* Did you mean 'log_uniform'?"):
        Space.from_data({"train": {"lr": {"loguniform": [0.1, 0.2]}}})
