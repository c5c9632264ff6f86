"""Searches with too few trials to begin."""

from __future__ import annotations

import pytest

from sweeps.remarks import remarks
from sweeps.spec import Search

ALL = "at random, with 5 trials every one."


@pytest.mark.parametrize(
    ("sampler", "pruner", "said"),
    [
        ({"name": "tpe"}, {"name": "none"}, [f"sampler.startup: tpe draws the first 10 {ALL}"]),
        ({"name": "tpe", "startup": 5}, {"name": "none"}, [f"tpe draws the first 5 {ALL}"]),
        ({"name": "tpe", "startup": 4}, {"name": "none"}, []),
        (
            {"name": "nsga2"},
            {"name": "none"},
            [f"sampler.population: nsga2 draws the first 50 {ALL}"],
        ),
        ({"name": "cmaes", "startup": 2, "population": 8}, {"name": "none"}, []),
        ({"name": "pbt"}, {"name": "none"}, []),
        ({"name": "random"}, {"name": "asha"}, []),
        ({"name": "random"}, {"name": "wilcoxon", "startup": 9}, []),
        (
            {"name": "gp"},
            {"name": "median"},
            [
                f"gp draws the first 10 {ALL}",
                "search.pruner.startup: median waits for 5, with 5 trials it stops none.",
            ],
        ),
    ],
)
def test_what_comes_to_nothing_with_five_trials_is_said(
    sampler: dict[str, object], pruner: dict[str, object], said: list[str]
) -> None:
    found = remarks(Search(sampler=sampler, pruner=pruner, trials=5))
    assert len(found) == len(said)
    assert all(line.endswith(end) for line, end in zip(found, said, strict=True))


def test_a_population_of_one_is_said_to_have_nobody_to_take_over() -> None:
    search = Search(sampler={"name": "pbt"}, pruner={"name": "none"}, trials=1)
    assert remarks(search) == [
        "search.trials: pbt wants two members at least, of which one takes over."
    ]
