"""What a driver writes down of where it ran, and what it says when it is not the same again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

import sweeps
from cluster import capture
from cluster.cli import main
from cluster.data import NodeReport
from sweeps import Study

SWEEP = """\
name: first
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: s4d, d_model: 8, n_layers: 1}
train: {epochs: 2, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 1}
"""


@pytest.fixture
def node() -> NodeReport:
    return NodeReport(
        address="10.0.0.1",
        host="n1",
        versions={"torch": "2.13.0", "numpy": "2.2"},
        code="abc",
        gpus=["NVIDIA A10, 570.1, 24 GiB", "NVIDIA H100, 570.1, 81559 MiB"],
        data={"listops": "f00d"},
    )


def test_each_driver_leaves_its_environment(tmp_path: Path, node: NodeReport) -> None:
    about = capture.describe([node], argv=["s4sweep", "run", "a b.yaml"])
    paths = [capture.keep(tmp_path, about) for _ in range(2)]
    assert [p.name for p in paths] == ["001.json", "002.json"]
    kept = json.loads(paths[0].read_text())
    assert kept["command"] == "s4sweep run 'a b.yaml'"
    assert kept["packages"]["torch"] and kept["packages"]["ray"]
    assert kept["nodes"] == [vars(node)]
    patched = [p.stem for p in paths[0].parent.glob("*.patch")]
    assert patched == (["001", "002"] if str(kept["git_commit"]).endswith("-dirty") else [])


def test_nodes_that_differ_are_named(node: NodeReport) -> None:
    other = dataclasses.replace(node, address="10.0.0.2", versions={**node.versions, "torch": "2"})
    (line,) = capture.differences([node, other])
    assert line.startswith("the nodes differ in torch: 2.13.0 on 10.0.0.1, 2 on 10.0.0.2")
    assert capture.differences([node, node]) == []


@pytest.mark.parametrize(
    ("name", "before", "line"),
    [
        ("torch", "2.12.0", "torch is 2.13.0 and was 2.12.0"),
        ("code", "abd", "code is abc and was abd"),
        ("data", "beef", "data is f00d and was beef"),
        ("gpu", "NVIDIA H100, 560.2", "gpu is NVIDIA H100, 570.1 and was NVIDIA H100, 560.2"),
        ("gpu", "NVIDIA B200, 580.1", "gpu is NVIDIA A10, 570.1 and was NVIDIA B200, 580.1"),
        ("gpu", "NVIDIA H100, 570.1", None),
        ("commit", "another, which the hash of the code judges", None),
    ],
)
def test_what_is_not_the_same_is_said(
    node: NodeReport, name: str, before: str, line: str | None
) -> None:
    about = capture.describe([node, node])
    same = {"code": "abc", "torch": "2.13.0", "numpy": "2.2", "data": "f00d"}
    assert capture.deviations(same, about) == []
    assert capture.deviations({**same, name: before}, about) == ([line] if line else [])


def test_the_yaml_of_a_trial_says_what_it_ran_with_wherever_the_home_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The home is copied away; there the versions are others."""
    path, home = tmp_path / "first.yaml", tmp_path / "home"
    path.write_text(SWEEP)
    study = Study.create(sweeps.load_spec(path), home)
    here = capture.this_machine()
    kept = capture.keep(study.folder, capture.describe([here]))
    sweeps.run_inline(study.spec, home)
    away = home.rename(tmp_path / "away")
    words = ["best", "first", "--yaml", "--home", str(away)]

    assert main(words) == 0
    out, err = capsys.readouterr()
    ran_with = yaml.safe_load(out)["ran_with"]
    assert ran_with["code"] == here.code
    assert ran_with["torch"] == here.versions["torch"]
    assert len(ran_with["data"]) >= 12
    assert err == ""
    again = tmp_path / "again.yaml"
    again.write_text(out)
    assert sweeps.load_spec(again).ran_with == ran_with

    other = away / kept.relative_to(home)
    other.write_text(other.read_text().replace(here.versions["torch"], "1.0.0"))
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out + err)["ran_with"]["torch"] == "1.0.0"
    assert err == (
        "# on this machine it cannot be quite the same: torch is "
        f"{here.versions['torch']} and was 1.0.0\n"
    )
