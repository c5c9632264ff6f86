"""Checkpoints are whole or refused."""

from __future__ import annotations

import errno
import random
import resource

import pytest
import torch

from s4core.train import checkpoint
from s4core.train.errors import CheckpointError

STATE = {"epoch": 3, "model": {"w": torch.arange(3000.0)}, "notes": [1, 2.5, None, "x"]}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.write(path, STATE)
    state = checkpoint.read(path)
    assert torch.equal(state["model"]["w"], STATE["model"]["w"])
    assert state["notes"] == STATE["notes"]
    assert state["versions"]["torch"] == torch.__version__
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_new_last_keeps_its_predecessor(tmp_path):
    for epoch in (1, 2, 3):
        checkpoint.write(tmp_path / "last.pt", {**STATE, "epoch": epoch})
    assert checkpoint.read(tmp_path / "last.pt")["epoch"] == 3
    assert checkpoint.read(tmp_path / "previous.pt")["epoch"] == 2


def test_killed_between_the_two_renames_the_predecessor_is_the_newest(tmp_path):
    checkpoint.write(tmp_path / "last.pt", STATE)
    (tmp_path / "last.pt").rename(tmp_path / "previous.pt")
    state = checkpoint.read_last(tmp_path)
    assert state is not None and state["epoch"] == 3


def test_any_changed_bit_in_the_tensors_is_found(tmp_path):
    """torch.load alone returns wrong numbers without a word."""
    path = tmp_path / "best.pt"
    checkpoint.write(path, STATE)
    whole = path.read_bytes()
    first = whole.index(torch.arange(3000.0).numpy().tobytes()[:64])
    draw = random.Random(0)
    for _ in range(20):
        broken = bytearray(whole)
        broken[first + draw.randrange(12000)] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(broken))
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoint.read(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_torn_file_is_found(tmp_path, share):
    path = tmp_path / "best.pt"
    checkpoint.write(path, STATE)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.read(path)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"format": 1, "x": Evil()}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError):
        checkpoint.read(tmp_path / "best.pt")


def test_missing_and_foreign_files_say_so(tmp_path):
    with pytest.raises(CheckpointError, match="is not there"):
        checkpoint.read(tmp_path / "best.pt")
    torch.save({"state_dict": {}}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="format None; this version reads 1"):
        checkpoint.read(tmp_path / "best.pt")
    assert checkpoint.read_last(tmp_path) is None


def test_a_refused_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.write(path, STATE)
    before = path.read_bytes()

    def refuse() -> None:
        raise PermissionError("lost the lease")

    with pytest.raises(PermissionError):
        checkpoint.write(path, {**STATE, "epoch": 4}, guard=refuse)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_disk_that_takes_no_more_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.write(path, STATE)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="last.pt") as error:
            checkpoint.write(path, {**STATE, "epoch": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
