"""`s4sweep check` looks at the files that only the user can bring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster import cli

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
