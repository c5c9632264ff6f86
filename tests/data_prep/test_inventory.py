from __future__ import annotations

import os
import time

from data_prep import open_dataset
from data_prep.datasets import copying
from data_prep.inventory import cached, describe, prune, verify

FEW = {"train": 20, "val": 5, "test": 5}


def states(home) -> list[str]:
    return sorted(found.state for found in cached(home))


def test_good_old_damaged_and_torn_are_told_apart(tmp_path, monkeypatch):
    dataset = open_dataset("copying", FEW, home=tmp_path)
    folder = dataset.entry.folder
    assert states(tmp_path) == ["good"]
    assert describe(next(cached(tmp_path)))["splits"] == FEW
    torn = folder.with_name(f"{folder.name}.tmp-other-1-ab")
    torn.mkdir()
    folder.with_name(f"{folder.name}.bad-1").mkdir()
    assert states(tmp_path) == ["damaged", "good", "torn"]
    # Somebody may still be building the torn one.
    assert [f.state for f in prune(tmp_path)] == ["damaged"]
    old = time.time() - 2 * 24 * 3600
    os.utime(torn, (old, old))
    assert [f.state for f in prune(tmp_path, dry=True)] == ["torn"]
    assert [f.state for f in prune(tmp_path)] == ["torn"]
    raised = copying.CARD.__class__(**{**vars(copying.CARD), "version": copying.CARD.version + 1})
    monkeypatch.setattr(copying, "CARD", raised)
    assert states(tmp_path) == ["old"]
    assert [f.folder for f in prune(tmp_path)] == [folder]
    assert states(tmp_path) == []


def test_everything_is_pruned_only_when_asked_and_can_be_made_again(tmp_path):
    first = open_dataset("copying", FEW, home=tmp_path)
    assert list(prune(tmp_path)) == []
    assert len(list(prune(tmp_path, everything=True))) == 1
    assert open_dataset("copying", FEW, home=tmp_path).fingerprint == first.fingerprint


def test_verify_reads_every_byte(tmp_path):
    dataset = open_dataset("copying", FEW, home=tmp_path)
    assert [wrong for _, wrong in verify(tmp_path)] == [None]
    path = dataset.entry.folder / "test.arrow"
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    ((_, wrong),) = verify(tmp_path)
    assert "another sha256" in wrong
