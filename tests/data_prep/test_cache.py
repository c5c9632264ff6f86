from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_prep import DataError, open_dataset
from data_prep.cache import read_entry

SMALL = {"train": 60, "val": 20, "test": 20, "min_length": 5, "max_length": 60}


def listops(home: Path):
    return open_dataset("listops", SMALL, home=home)


def entries(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "data" / "listops").iterdir() if p.is_dir())


def test_a_second_open_builds_nothing(tmp_path):
    first = listops(tmp_path)
    manifest = first.entry.folder / "manifest.json"
    before = manifest.stat().st_mtime_ns
    again = listops(tmp_path)
    assert again.fingerprint == first.fingerprint == entries(tmp_path)[0]
    assert manifest.stat().st_mtime_ns == before


def test_another_stored_option_is_another_entry_and_a_view_is_not(tmp_path):
    one = listops(tmp_path)
    view = open_dataset("listops", {**SMALL, "l_max": 32}, home=tmp_path)
    other = open_dataset("listops", {**SMALL, "seed": 1}, home=tmp_path)
    assert one.fingerprint == view.fingerprint != other.fingerprint


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def swap(path: Path) -> None:
    """A whole Arrow file of the right size is not enough: the checksum is another."""
    path.write_bytes(path.with_name("test.arrow").read_bytes())


@pytest.mark.parametrize("harm", [flip_a_bit, truncate, swap, Path.unlink])
def test_a_damaged_file_is_moved_aside_and_rebuilt(tmp_path, harm):
    good = listops(tmp_path)
    file = good.entry.folder / "val.arrow"
    content = file.read_bytes()
    del good
    harm(file)
    rebuilt = listops(tmp_path)
    assert (rebuilt.entry.folder / "val.arrow").read_bytes() == content
    aside, kept = sorted(entries(tmp_path), key=len, reverse=True)
    assert aside.startswith(f"{kept}.bad-")


def test_a_torn_folder_without_a_manifest_is_no_entry(tmp_path):
    good = listops(tmp_path)
    (good.entry.folder / "manifest.json").unlink()
    assert read_entry(good.entry.folder) is None
    assert read_entry(listops(tmp_path).entry.folder) is not None


def test_the_manifest_tells_sizes_checksums_and_labels(tmp_path):
    entry = listops(tmp_path).entry
    manifest = json.loads((entry.folder / "manifest.json").read_text())
    assert [f["name"] for f in manifest["files"]] == ["test.arrow", "train.arrow", "val.arrow"]
    assert sum(manifest["splits"]["train"]["classes"]) == 60
    assert all(len(f["sha256"]) == 64 and f["bytes"] > 0 for f in manifest["files"])


def _open(home: Path, queue) -> None:
    before = time.time()
    queue.put((listops(home).entry.manifest["created"] >= before, os.getpid()))


def test_eight_builders_at_once_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    workers = [context.Process(target=_open, args=(tmp_path, queue)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0] * 8
    created = {
        read_entry(tmp_path / "data" / "listops" / e).manifest["created"] for e in entries(tmp_path)
    }
    assert len(entries(tmp_path)) == len(created) == 1


def _stall_in_mid_build(home: Path, queue) -> None:
    from data_prep.datasets import listops as module

    whole = module.generate

    def generate(options, split, shard):
        if split == "val":
            queue.put("train is written")
            time.sleep(600)
        return whole(options, split, shard)

    module.generate = generate
    listops(home)


def test_a_builder_killed_in_the_middle_leaves_nothing_visible(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=_stall_in_mid_build, args=(tmp_path, queue))
    worker.start()
    queue.get()
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    (torn,) = entries(tmp_path)
    assert ".tmp-" in torn
    assert entries(tmp_path) == [torn]
    assert listops(tmp_path).splits["val"].rows == 20
    assert entries(tmp_path) == [torn.split(".")[0]]


def _build_with_a_file_size_limit(home: Path, queue) -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        listops(home)
    except DataError as error:
        queue.put(str(error))


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=_build_with_a_file_size_limit, args=(tmp_path, queue))
    worker.start()
    worker.join()
    message = queue.get()
    assert message.startswith(f"cannot write {tmp_path}/data/listops/")
    assert "File too large" in message and "\n" not in message
    assert entries(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A real file system of 256 kB; needs the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    # Lazily: the test's own data set still maps a file of it.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_is_really_full_keeps_what_was_published_before(small_disk):
    first = listops(small_disk)
    with pytest.raises(DataError, match="No space left on device.*make room") as caught:
        open_dataset("copying", {"train": 5000}, home=small_disk)
    assert "\n" not in str(caught.value)
    assert not list((small_disk / "data" / "copying").glob("*.tmp-*"))
    first.entry.check_contents()
    assert listops(small_disk).fingerprint == first.fingerprint


def test_batches_are_never_views_of_the_map(tmp_path):
    dataset = listops(tmp_path)
    first = next(dataset.batches("train", batch_size=8))
    first.x[:] = 0
    first.y[:] = 0
    again = next(dataset.batches("train", batch_size=8))
    assert again.x.any() and not np.shares_memory(first.x, again.x)
