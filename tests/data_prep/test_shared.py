"""Several nodes, as homes of their own, and one store."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from data_prep import Damaged, open_dataset
from data_prep.cache import publish_once
from data_prep.datasets import copying

FEW = {"train": 30, "val": 10, "test": 10}


def open_copying(home: Path):
    return open_dataset("copying", FEW, home=home)


def refuse(*_: object) -> None:
    raise AssertionError("built again")


@pytest.fixture(params=["folder", "url"])
def store(request, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "store"
    url = str(folder) if request.param == "folder" else folder.as_uri()
    monkeypatch.setenv("S4SWEEP_DATA_STORE", url)
    return folder


def test_what_one_node_prepared_another_fetches(tmp_path, monkeypatch, store):
    one = open_copying(tmp_path / "one")
    assert (store / "copying" / one.fingerprint / "manifest.json").is_file()
    monkeypatch.setattr(copying, "generate", refuse)
    two = open_copying(tmp_path / "two")
    assert two.fingerprint == one.fingerprint and two.entry.folder != one.entry.folder
    assert two.entry.manifest["files"] == one.entry.manifest["files"]


def test_an_upload_that_broke_off_is_nothing_and_is_done_again(tmp_path, store):
    one = open_copying(tmp_path / "one")
    (store / "copying" / one.fingerprint / "manifest.json").unlink()
    two = open_copying(tmp_path / "two")
    assert two.fingerprint == one.fingerprint
    assert (store / "copying" / one.fingerprint / "manifest.json").is_file()


def test_a_damaged_store_is_an_error_that_says_so(tmp_path, store):
    one = open_copying(tmp_path / "one")
    file = store / "copying" / one.fingerprint / "test.arrow"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(Damaged, match="another sha256"):
        open_copying(tmp_path / "two")
    assert not list((tmp_path / "two" / "data" / "copying").glob("*.tmp-*"))


def test_raw_files_are_needed_on_one_node_only(tmp_path, store):
    raw = tmp_path / "one" / "raw" / "csv_series"
    raw.mkdir(parents=True)
    lines = [f"{'ab'[i % 2]},{i},{i + 1}" for i in range(20)]
    (raw / "data.csv").write_text("\n".join(["label,1,2", *lines]))
    one = open_dataset("csv_series", home=tmp_path / "one")
    two = open_dataset("csv_series", home=tmp_path / "two")
    assert two.fingerprint == one.fingerprint and two.size("train") == one.size("train")


def _open_on_node(home: Path, node: Path, queue) -> None:
    import os

    os.environ["S4SWEEP_NODE_DATA"] = str(node)
    entry = open_copying(home).entry
    queue.put(str(entry.folder))


def test_a_node_copies_a_shared_home_once_and_maps_its_own_disk(tmp_path, monkeypatch):
    home, node = tmp_path / "shared", tmp_path / "node"
    shared = open_copying(home)
    inode = (shared.entry.folder / "train.arrow").stat().st_ino
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    workers = [context.Process(target=_open_on_node, args=(home, node, queue)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0] * 6
    folders = {queue.get() for _ in workers}
    assert folders == {str(node / "copying" / shared.fingerprint)}
    assert (node / "copying" / shared.fingerprint / "train.arrow").stat().st_ino != inode


def test_a_node_s_damaged_copy_is_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setenv("S4SWEEP_NODE_DATA", str(tmp_path / "node"))
    first = open_copying(tmp_path / "shared")
    (first.entry.folder / "train.arrow").write_bytes(b"x")
    monkeypatch.setattr(copying, "generate", refuse)
    assert open_copying(tmp_path / "shared").size("train") == 30


def test_without_working_locks_the_slower_builder_takes_the_other_s_entry(tmp_path):
    def build(folder: Path) -> dict:
        other = tmp_path / "cache" / "abc"
        if not other.exists():
            publish_under_it(other)
        return {"splits": {}, "request": "r"}

    def publish_under_it(target: Path) -> None:
        target.mkdir(parents=True)
        (target / "manifest.json").write_text('{"splits": {}, "files": [], "request": "theirs"}')

    entry, made = publish_once(tmp_path / "cache", "abc", build)
    assert not made and entry.manifest["request"] == "theirs"
    assert not list((tmp_path / "cache").glob("*.tmp-*"))
