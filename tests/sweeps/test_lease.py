"""One driver a sweep, and how a dead one gives way."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import sweeps
from sweeps import files, lease


def test_a_second_driver_is_refused_in_one_line(tmp_path: Path) -> None:
    with sweeps.SweepLock(tmp_path):
        with pytest.raises(sweeps.SweepLocked) as caught, sweeps.SweepLock(tmp_path):
            pass
        assert "is driven by process" in str(caught.value)
        assert "s4sweep stop" in str(caught.value)
        assert "\n" not in str(caught.value)
    with sweeps.SweepLock(tmp_path):
        pass
    assert lease.read_lock(tmp_path) is None


def test_a_dead_process_gives_way_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; import sweeps\n"
        "sweeps.SweepLock(Path(sys.argv[1])).__enter__(); os._exit(1)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
    held = lease.read_lock(tmp_path)
    assert held is not None and not lease.is_alive(held)
    with sweeps.SweepLock(tmp_path) as lock:
        assert lock.is_held()


def test_another_host_gives_way_when_its_heart_stops(tmp_path: Path) -> None:
    there = {"host": "elsewhere", "pid": 1, "born": 0.0, "started": 0.0, "token": "x"}
    (tmp_path / "lock.json").write_text(json.dumps({**there, "heartbeat": time.time() - 5}))
    with pytest.raises(sweeps.SweepLocked, match="on elsewhere"), sweeps.SweepLock(tmp_path):
        pass
    (tmp_path / "lock.json").write_text(json.dumps({**there, "heartbeat": time.time() - 61}))
    with sweeps.SweepLock(tmp_path):
        pass


def test_a_silent_holder_on_another_host_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `waits`: one that beats again is refused, one that stays silent gives way."""
    monkeypatch.setattr(lease, "LOOK_S", 0.01)
    there = {"host": "elsewhere", "pid": 1, "born": 0.0, "started": 0.0, "token": "x"}
    path = tmp_path / "lock.json"
    now = time.time()
    files.write_json(path, {**there, "heartbeat": now})
    beat = threading.Timer(0.3, files.write_json, (path, {**there, "heartbeat": now + 0.1}))
    beat.start()
    with pytest.raises(sweeps.SweepLocked), sweeps.SweepLock(tmp_path, waits=True):
        pass
    beat.join()
    files.write_json(path, {**there, "heartbeat": time.time() - lease.STALE_S + 0.3})
    with sweeps.SweepLock(tmp_path, waits=True) as lock:
        assert lock.is_held()


def test_a_storage_that_is_away_does_not_end_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.01)
    write, tried = lease.write_json, threading.Event()

    def away(path: Path, data: object) -> None:
        tried.set()
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with sweeps.SweepLock(tmp_path):
        monkeypatch.setattr(lease, "write_json", away)
        assert tried.wait(10.0)
        monkeypatch.setattr(lease, "write_json", write)
        before = lease.read_lock(tmp_path)
        deadline = time.monotonic() + 10.0
        while lease.read_lock(tmp_path) == before:
            assert time.monotonic() < deadline, "the heart has stopped"
            time.sleep(0.01)


def test_a_driver_that_was_taken_over_leaves_the_lock_of_its_successor(tmp_path: Path) -> None:
    with sweeps.SweepLock(tmp_path) as first:
        (tmp_path / "lock.json").unlink()
        second = sweeps.SweepLock(tmp_path)
        second.__enter__()
        assert not first.is_held()
    assert second.is_held()
    second.__exit__(None, None, None)


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.01)
    with sweeps.SweepLock(tmp_path):
        first = lease.read_lock(tmp_path)
        for _ in range(500):
            time.sleep(0.01)
            again = lease.read_lock(tmp_path)
            if first and again and again["heartbeat"] > first["heartbeat"]:
                return
    pytest.fail("no heartbeat in 5 s")
