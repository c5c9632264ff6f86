"""All mistakes of a file are found in one go, each once, with line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps import SpecError, load_spec
from sweeps.mistakes import find_mistakes

GOOD = """\
name: demo
objective: {metric: val/accuracy, mode: max}
data: {name: smnist, variant: mlxtend5k}
model:
  name: s4d
  d_model: 32
  n_layers: {choice: [1, 2]}
train:
  epochs: 2
  lr: {log_uniform: [0.001, 0.01]}
search: {trials: 2, seed: 0}
resources: {cpus: 1}
"""


def mistakes(tmp_path: Path, text: str) -> list[tuple[int, int, str]]:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    found = find_mistakes(path)
    return [(e.mark.line, e.mark.column, e.path) for e in found if e.mark is not None]


def test_a_good_file_has_none(tmp_path: Path) -> None:
    assert mistakes(tmp_path, GOOD) == []


# what is written, what is written instead, and what is blamed: line, column, dotted path
MISTAKES = [
    ("name: demo", "nmae: demo", (1, 1, "nmae")),
    ("variant: mlxtend5k", "variant: mlxtend6k", (3, 22, "data.variant")),
    ("d_model: 32", "d_modle: 32", (6, 3, "model.d_modle")),
    ("[1, 2]", "[]", (7, 14, "model.n_layers.choice")),
    ("epochs: 2", "epochs: two", (9, 3, "train.epochs")),
    ("[0.001, 0.01]", "[0.01, 0.001]", (10, 8, "train.lr.log_uniform")),
    ("seed: 0", "seed: 0.5", (11, 21, "search.seed")),
    ("resources: {cpus: 1}", "resources: {cpu: 1}", (12, 13, "resources.cpu")),
]


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES)
def test_each_mistake_is_found_alone(
    tmp_path: Path, old: str, new: str, expected: tuple[int, int, str]
) -> None:
    assert old in GOOD
    assert mistakes(tmp_path, GOOD.replace(old, new)) == [expected]


def test_all_mistakes_are_found_together(tmp_path: Path) -> None:
    text = GOOD
    for old, new, _ in MISTAKES:
        text = text.replace(old, new)
    assert mistakes(tmp_path, text) == [expected for _, _, expected in MISTAKES]


def test_a_wrong_name_does_not_hide_what_comes_after_it(tmp_path: Path) -> None:
    text = GOOD.replace("name: s4d", "name: s4e").replace("name: smnist", "name: smnits")
    found = mistakes(tmp_path, text.replace("cpus: 1", "cpus: -1"))
    assert [path for _, _, path in found] == ["data.name", "model.name", "resources.cpus"]


def test_a_wrong_item_of_a_list_is_blamed_and_the_others_too(tmp_path: Path) -> None:
    text = GOOD.replace(
        "  name: s4d\n",
        "  choice:\n    - {name: s4d, d_state: 3.5}\n    - {name: s4d, d_stat: 4}\n"
        "    - {name: s4d, init: lnn}\n",
    )
    assert [line for line, _, _ in mistakes(tmp_path, text)] == [6, 7, 8]


def test_a_rule_of_two_fields_blames_one_of_them(tmp_path: Path) -> None:
    """The other one is wrong only because the first was taken out to go on."""
    text = GOOD.replace("name: s4d", "name: s5\n  d_state: 8\n  blocks: 3")
    assert [path for _, _, path in mistakes(tmp_path, text)] == ["model.d_state"]


def test_a_broken_line_is_the_only_mistake(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, GOOD.replace("objective:", "\tobjective:"))) == 1


def test_the_first_mistake_is_what_load_spec_raises(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD.replace("epochs: 2", "epochs: two"))
    with pytest.raises(SpecError) as error:
        load_spec(path)
    assert [str(e) for e in find_mistakes(path)] == [str(error.value)]
