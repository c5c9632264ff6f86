"""A single run from words on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sweeps
from sweeps.single import read_settings, read_value, read_words


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 0.0001), ("2E3", 2000.0), ("0.5", 0.5), ("3", 3), ("true", True), ("null", None),
     ("legs", "legs"), ("[1, 2]", [1, 2]), ("1e", "1e"), ("{", "{"),
     ("", None), ("2024-13-45", "2024-13-45")],
)  # fmt: skip
def test_values_are_read_as_yaml_and_a_number_as_a_number(text: str, value: Any) -> None:
    assert read_value(text) == value


def test_a_preset_with_values_set_by_path(tmp_path: Path) -> None:
    spec = read_words(
        ["preset=lra/listops/s4d-legs", "model.n_layers=3", "train.lr=2e-3", "data.train=100"],
        tmp_path,
    )
    assert spec.name == "lra-listops-s4d-legs"
    assert (spec.model["n_layers"], spec.train["lr"], spec.data["train"]) == (3, 0.002, 100)
    assert spec.model["d_model"] == 128 and spec.seed == 2222
    assert spec.search.trials == 1 and spec.space.size() == 1


def test_a_name_that_is_taken_gets_a_number(
    tmp_path: Path, load: Callable[..., sweeps.SweepSpec]
) -> None:
    words = ["data.name=listops", "model.name=s4d"]
    names = []
    for _ in range(3):
        spec = read_words(words, tmp_path)
        sweeps.Study.create(spec, tmp_path)
        names.append(spec.name)
    assert names == ["s4d", "s4d-2", "s4d-3"]


def test_a_file_whose_ranges_are_all_given(tmp_path: Path, tiny_text: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_text)
    given = [str(path), "model=s4d", "model.s4d.init=inv", "model.s4d.dropout=0.1", "name=one"]
    with pytest.raises(sweeps.SpecError, match="train.lr: is a range, and a single run has none"):
        read_words(given, tmp_path)
    with pytest.raises(sweeps.SpecError, match="train.lr: 7.0 is outside of"):
        read_words([*given, "train.lr=7.0"], tmp_path)
    spec = read_words([*given, "train.lr=1e-2", "train.epochs=1"], tmp_path)
    assert (spec.name, spec.train["lr"], spec.train["epochs"]) == ("one", 0.01, 1)
    assert spec.model == {"d_model": 8, "n_layers": 1, "name": "s4d", "init": "inv", "dropout": 0.1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["preset=nope"], "argument:1: preset: no preset 'nope'"),
        (["data.name=listops", "model.name=s4d", "model.d_modl=3"],
         "argument:3: model.d_modl: unknown key 'd_modl'"),
        (["data.name=listops", "model.name=s4d", "train.lr=fast"],
         "argument:3: train.lr: wants a number, got 'fast'."),
        (["a.yaml", "b.yaml"], "b.yaml: wants key=value after the one file a.yaml."),
    ],
)  # fmt: skip
def test_a_wrong_word_is_blamed(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(sweeps.SpecError) as caught:
        read_words(words, tmp_path)
    assert said in str(caught.value)


def test_settings_want_an_equals_sign() -> None:
    assert read_settings(["a.b=1e-3", "c=x"]) == {"a.b": 0.001, "c": "x"}
    with pytest.raises(sweeps.SpecError, match="argument:1: wants key=value, got 'lr'"):
        read_settings(["lr"])
