"""Promises of docs/security.md that no other file holds, and the document itself."""

from __future__ import annotations

import ast
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from s4core.train.checkpoint import read
from s4core.train.errors import CheckpointError

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("s4core", "data_prep", "sweeps", "dashboards", "cluster")
SECURITY = ROOT / "docs" / "security.md"


class Program:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_checkpoint_that_is_a_program_is_not_run(tmp_path: Path, how: str) -> None:
    path, ran = tmp_path / "best.pt", tmp_path / "ran"
    if how == "torch":
        torch.save({"model": Program(ran)}, path)
    else:
        path.write_bytes(pickle.dumps(Program(ran)))
    with pytest.raises(CheckpointError):
        read(path)
    assert not ran.exists()


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in our packages: file and line, what is called, the call."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield place, ast.unparse(node.func), node


def test_nothing_unpickles_what_it_did_not_make() -> None:
    """`torch.load` says weights_only=True; no pickle.load, joblib, yaml.load, eval or exec."""
    seen, faults = 0, []
    for place, name, call in calls():
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name == "torch.load":
            seen += 1
            if keywords.get("weights_only") != "True":
                faults.append(f"{place}: torch.load without weights_only=True")
        if name == "np.load" and keywords.get("allow_pickle", "False") != "False":
            faults.append(f"{place}: np.load with allow_pickle")
        forbidden = (
            "pickle.load",
            "pickle.loads",
            "joblib.load",
            "cloudpickle.loads",
            "eval",
            "exec",
        )
        if name in (*forbidden, "yaml.load", "yaml.unsafe_load", "os.system", "marshal.loads"):
            faults.append(f"{place}: {name}")
        if keywords.get("shell") == "True":
            faults.append(f"{place}: a shell")
    assert not faults, "\n".join(faults)
    assert seen >= 1


def test_no_telemetry() -> None:
    """Both are set wherever we start a server, a driver or a node."""
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for package in PACKAGES
        for pattern in ("*.py", "*.tmpl")
        for path in (ROOT / package).rglob(pattern)
    }
    for name in ("cluster/runtime.py", "cluster/parcel.py", "cluster/templates/compose.yaml.tmpl"):
        assert "RAY_USAGE_STATS_ENABLED" in texts[name]
    assert "--disable-usage-stats" in texts["cluster/nodes.py"]
    assert "MLFLOW_DISABLE_TELEMETRY" in texts["dashboards/store.py"]
    assert not [n for n, t in texts.items() if re.search(r"USAGE_STATS_ENABLED\W{1,4}1", t)]


def test_every_promise_names_a_test_that_exists() -> None:
    rows = [line for line in SECURITY.read_text().splitlines() if line.count("|") == 4]
    promises = [row for row in rows if "`tests/" in row]
    assert len(promises) >= 15
    assert [row for row in rows[2:] if row not in promises] == []
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SECURITY.read_text()):
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
