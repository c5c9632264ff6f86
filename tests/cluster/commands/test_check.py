"""`s4sweep check` looks at the files, and the code, that only the user can bring."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from cluster import cli
from sweeps import load_spec, run_inline
from sweeps.hints import RESUMED_WITH

SWEEP = "name: mine\ndata: {name: NAME, raw: raw}\nmodel: {name: s4d}\n"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("S4SWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def check(capsys: pytest.CaptureFixture[str], name: str) -> tuple[int, str, str]:
    """Check a sweep on the data set; its status and what it says, on both streams."""
    Path("mine.yaml").write_text(SWEEP.replace("NAME", name))
    status = cli.main(["check", "mine.yaml"])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("name", ["csv_series", "folder_audio"])
def test_files_that_are_not_here_are_no_mistake_and_are_told(
    raw: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The sweep may be for a cluster that has them."""
    status, said, mistakes = check(capsys, name)
    assert (status, mistakes) == (0, "")
    good, note = said.splitlines()
    assert good.startswith("mine.yaml: good, ")
    assert note.startswith(f"  not on this machine: {name}: no raw files in {raw.absolute()}. Put ")
    assert cli.main(["check", "mine.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mine.yaml"]["notes"] == [note[23:]]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("lable,a,b\nx,1,2\n", "no column 'label': choose from a, b, lable. Did you mean 'lable'?"),
        ("label\nx\n", "no column is left beside label."),
        ("label,a\nx,1,2\n", "raw/x.csv: CSV parse error: Row #2: Expected 2 columns, got 3"),
        ("", "raw/x.csv: Empty CSV file"),
        ("label,a\nx,1\n", None),
    ],
)
def test_a_table_that_cannot_be_is_a_mistake(
    raw: Path, capsys: pytest.CaptureFixture[str], text: str, wrong: str | None
) -> None:
    (raw / "x.csv").write_text(text)
    status, said, mistakes = check(capsys, "csv_series")
    if wrong is None:
        assert (status, mistakes) == (0, "")
        assert "not on this machine" not in said
        return
    assert (status, said) == (2, "")
    assert mistakes.startswith("mine.yaml: data: csv_series: ") and wrong in mistakes
    assert mistakes.count("\n") == 1


def test_a_wide_table_is_not_recited(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "x.csv").write_text(",".join(["lable", *(f"t{n:05d}" for n in range(16_000))]) + "\n")
    _, _, mistakes = check(capsys, "csv_series")
    assert "Did you mean 'lable'?" in mistakes
    assert "and 15,9" in mistakes and len(mistakes) < 500


def test_sounds_of_one_class_are_a_mistake(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "only").mkdir()
    (raw / "only" / "a.wav").touch()
    status, _, mistakes = check(capsys, "folder_audio")
    assert status == 2
    assert mistakes.startswith("mine.yaml: data: folder_audio: ")
    assert mistakes.endswith("holds 1 classes, need two.\n")


MODEL = """\
import s4core
from s4core.config import config


@config
class Config:
    width: int = 4


def build(config, shape):
    return s4core.build({"name": "s4d", "d_model": config.width, "n_layers": 1}, shape)
"""


def test_code_in_this_folder_is_found_by_every_command_that_may_import(
    raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before, only by those that run a sweep; here without the folder on Python's path."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    for name in ("PYTHONPATH", RESUMED_WITH):
        monkeypatch.setenv(name, "")
    Path("near_lab").mkdir()
    Path("near_lab/__init__.py").touch()
    Path("near_lab/small.py").write_text(MODEL)
    Path("near.yaml").write_text(
        "name: near\nmodel: {name: near_lab.small}\n"
        "data: {name: listops, train: 8, val: 8, test: 8, min_length: 3, max_length: 8, l_max: 8}\n"
        "train: {epochs: 1, batch_size: 8}\nsearch: {sampler: random, trials: 1}\n"
    )
    assert cli.main(["check", "near.yaml", "--allow-imports"]) == 0, capsys.readouterr().err
    run_inline(load_spec("near.yaml", allow_imports=True), raw.parent / "home")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(raw.parent)])
    for module in [m for m in sys.modules if m.startswith("near_lab")]:
        monkeypatch.delitem(sys.modules, module)
    importlib.invalidate_caches()
    for words in (["test", "near"], ["export", "near", "--to", "model"]):
        assert cli.main(words) == 2
        assert capsys.readouterr().err.count("No module named 'near_lab'") == 1
    for words in (["test", "near"], ["export", "near", "--to", "model"]):
        assert cli.main([*words, "--allow-imports"]) == 0, capsys.readouterr().err
