"""What the doctor says of each fault, over probes a reader can check by eye."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cluster import doctor, probe

WELL: dict[str, Any] = {
    "name": "n1",
    "host": "n1",
    "time": 1000.0,
    "python": "3.11.7",
    "versions": dict.fromkeys(probe.LIBRARIES, "1.0"),
    "code": "abc",
    "uid": 1000,
    "home": "/home/sweeps",
    "storage": {"seen": True, "error": "", "write_ms": 3.0, "free_gb": 100.0},
    "ports": {},
    "mlflow": "",
    "gpus": ["A, 550, 80 GiB"],
    "ray_gpus": 1.0,
    "files": 65536,
    "shm_gb": 8.0,
    "scratch_gb": 50.0,
}


def node(name: str, **changes: Any) -> dict[str, Any]:
    return {**WELL, "name": name, **changes}


def told(*probes: dict[str, Any], delay: float = 0.0) -> list[tuple[str, str, str]]:
    found = doctor.judge(list(probes), delay=delay)
    return [(f.level, f.where, f.what) for f in found if f.level != "ok"]


def test_three_healthy_nodes_are_three_good_lines() -> None:
    found = list(doctor.judge([node("a"), node("b"), node("c")]))
    assert [(f.level, f.where) for f in found] == [("ok", "a"), ("ok", "b"), ("ok", "c")]


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"python": "3.12.1"}, "fail", "Python is 3.12, elsewhere 3.11"),
        ({"python": "3.11.9"}, None, ""),
        ({"code": "abd"}, "fail", "the code of s4sweep is abd, elsewhere abc"),
        ({"versions": {**WELL["versions"], "torch": "2.9"}}, "fail", "torch is 2.9, elsewhere 1.0"),
        ({"uid": 0}, "warn", "user id is 0, elsewhere 1000"),
        ({"storage": {**WELL["storage"], "error": "Read-only (/x)"}}, "fail", "cannot write to"),
        ({"storage": {**WELL["storage"], "seen": False}}, "fail", "does not see the driver's"),
        ({"storage": {**WELL["storage"], "free_gb": 1.2}}, "warn", "1.2 GB are free in the home"),
        ({"storage": {**WELL["storage"], "write_ms": 9e3}}, "warn", "takes 9000 ms to write"),
        ({"time": 1090.0}, "warn", "its clock is +90.0 s off"),
        ({"mlflow": "it answers 403"}, "warn", "MLflow: it answers 403"),
        ({"ray_gpus": 8.0}, "fail", "Ray offers 8 GPUs and nvidia-smi shows 1"),
        ({"shm_gb": 0.06}, "warn", "/dev/shm has 0.1 GB free"),
        ({"files": 1024}, "warn", "a process may open 1024 files"),
        ({"ports": {"10.0.0.1:6379": "timed out"}}, "fail", "cannot connect to 10.0.0.1:6379"),
    ],
)
def test_the_one_node_that_differs_is_blamed(
    changes: dict[str, Any], level: str | None, words: str
) -> None:
    found = told(node("a"), node("b"), node("c", **changes))
    if level is None:
        assert found == []
    else:
        [(blamed, where, what)] = found
        assert (blamed, where) == (level, "c")
        assert words in what


def test_every_fault_comes_with_a_way_out() -> None:
    sick = node(
        "c",
        python="3.9.1",
        uid=0,
        time=1.0,
        mlflow="x",
        ray_gpus=9.0,
        shm_gb=0.0,
        files=1,
        ports={"h:1": "no"},
        storage={"seen": False, "error": "x", "write_ms": 1e5, "free_gb": 0.0},
    )
    found = [f for f in doctor.judge([node("a"), node("b"), sick]) if f.level != "ok"]
    assert len(found) >= 9
    assert all(f.fix for f in found)


def test_a_slow_collection_is_not_taken_for_a_wrong_clock() -> None:
    assert told(node("a"), node("b"), node("c", time=1004.0), delay=5.0) == []


def test_a_node_that_does_not_answer_is_a_failure() -> None:
    assert told(node("a"), {"name": "b", "silent": "timed out"}) == [
        ("fail", "b", "no answer: timed out")
    ]


def test_a_probe_of_this_machine_is_plain_data_that_the_doctor_takes(tmp_path: Path) -> None:
    (tmp_path / probe.PROBES).mkdir()
    (tmp_path / probe.PROBES / "driver").write_text("nonce")
    found = probe.look(home=str(tmp_path), nonce="nonce", node="me", ports=[], mlflow="")
    assert json.loads(json.dumps(found)) == found
    assert (tmp_path / probe.PROBES / "me").read_text() == "nonce"
    judged = list(doctor.judge([{**found, "name": "me", "ray_gpus": 0.0}]))
    assert "fail" not in {f.level for f in judged}


def test_a_home_that_is_no_folder_is_told_not_raised(tmp_path: Path) -> None:
    found = probe.storage(tmp_path / "nothing", nonce="x", node="me")
    assert found["seen"] is False
    assert "No such file" in found["error"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a port below 1024 that nobody listens to")
def test_a_closed_port_says_why() -> None:
    assert probe.connect("127.0.0.1:1") == "Connection refused"


def test_mlflow_that_is_away_or_has_no_folder_says_why(tmp_path: Path) -> None:
    assert "refused" in probe.reach("http://127.0.0.1:1")
    assert probe.reach(f"sqlite:///{tmp_path}/mlflow.db") == ""
    assert "is not there" in probe.reach("sqlite:////nowhere/at/all/mlflow.db")


def test_no_password_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    finding = doctor.Finding(level="warn", where="n", what="https://a:b@mlflow is away")
    assert doctor.tell([finding], as_json=False) == 0
    assert capsys.readouterr().out == "warn  n: https://***@mlflow is away\n"
