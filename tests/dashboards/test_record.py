from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import sweep_folders

from dashboards.record import SweepRecord, whole_lines
from sweeps import StudyError
from sweeps.files import flatten


def test_an_unknown_sweep_is_answered_with_those_there_are(tmp_path: Path) -> None:
    sweep_folders.make_sweep(tmp_path, "one", trials=1)
    (tmp_path / "sweeps" / "half").mkdir()  # of a beginning that failed
    for name in ("two", "half"):
        with pytest.raises(StudyError, match=f"no sweep '{name}': choose from one."):
            SweepRecord.of(tmp_path, name)
    with pytest.raises(StudyError, match=r"'\.\.' cannot name a sweep"):
        SweepRecord.of(tmp_path, "..")


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xc3')
    first = list(whole_lines(path, 0))
    assert first == [('{"a": 1}', 9)]
    path.write_bytes(b'{"a": 1}\n{"a": "\xc3\xa4"}\n')
    assert [text for text, _ in whole_lines(path, first[-1][1])] == ['{"a": "\u00e4"}']


def test_a_torn_line_in_the_middle_costs_that_line_only(tmp_path: Path) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=1, epochs=2)
    path = folder / "trials" / "0000" / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"epoch": 3, "metr{"epoch": 3}\n')
    sweep_folders.add_epoch(folder, 0, 3)
    curve = SweepRecord(folder).trial(0).curve()
    assert [line.report.epoch for line in curve] == [1, 2, 3]


def test_an_epoch_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=1, epochs=3)
    sweep_folders.add_epoch(folder, 0, 2)
    assert [line.report.epoch for line in SweepRecord(folder).trial(0).curve()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("lock", "driven"),
    [
        (None, False),
        (
            {"host": socket.gethostname(), "pid": 2**22 + 1, "born": 0.0},
            False,
        ),  # above the kernel's pid_max
        ({"host": "elsewhere", "pid": 1, "heartbeat": 0.0}, False),
        ({"host": "elsewhere", "pid": 1, "heartbeat": 4e9}, True),
    ],
)
def test_a_sweep_is_driven_while_its_lock_is_alive(
    tmp_path: Path, lock: dict[str, object] | None, driven: bool
) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=0)
    if lock is not None:
        (folder / "lock.json").write_text(json.dumps(lock))
    assert SweepRecord(folder).is_driven() is driven


def test_the_process_that_holds_the_lock_drives(tmp_path: Path) -> None:
    folder = sweep_folders.make_sweep(tmp_path, trials=0)
    sweep_folders.drive(folder)
    assert SweepRecord(folder).is_driven()


def test_flatten_names_leaves_by_dotted_path() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": [1, 2],
        "e": None,
    }
