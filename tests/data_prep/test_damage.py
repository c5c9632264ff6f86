"""What is damaged is found, named and, where it can be made again, made again."""

from __future__ import annotations

import gzip
import importlib.util
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data_prep import DataError, open_dataset
from data_prep.inventory import verify
from data_prep.unpack import unpack


def _samples():
    path = Path(__file__).parent / "raw_samples.py"
    spec = importlib.util.spec_from_file_location("raw_samples", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


samples = _samples()


def listops(folder: Path) -> dict[str, str]:
    for split in ("train", "val", "test"):
        table = "Source\tTarget\n( ( ( [MAX 4 ) 3 ) ] )\t4\n"
        (folder / f"basic_{split}.tsv").write_text(table)
    return {"source": "release"}


def pathfinder(folder: Path) -> dict[str, str]:
    level = folder / "pathfinder32" / "curv_contour_length_14"
    (level / "metadata").mkdir(parents=True)
    (level / "metadata" / "0.npy").write_text("imgs/0 sample_0.png 0 1 1 14\n")
    return {"source": "release"}


WRITERS = {**samples.SAMPLES, "listops": listops, "pathfinder": pathfinder}
# Without the time, which would make other tests of them in each process of a run.
TORN = gzip.compress(bytes(range(256)) * 9, mtime=0)[:-20]
LABELS = gzip.compress(b"\0\0\x08\1\0\0\0\7" + bytes(7), mtime=0)
IDX = "train-labels-idx1-ubyte.gz"
META = "pathfinder32/curv_contour_length_14/metadata/0.npy"


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("smnist", IDX, TORN, "cannot be read"),
        ("smnist", IDX, gzip.compress(b"", mtime=0), "cannot be read"),
        ("smnist", IDX, LABELS, "100 images.* 7 labels"),
        ("scifar", "data_batch_2", b"\x80\x02]q\x00.", "cannot be read"),
        ("imdb", "train/pos/3_1.txt", b"na\xefve", "cannot be read .Unicode"),
        ("aan", "new_aan_pairs.eval.tsv", b"\xff\xfe", "cannot be read .Unicode"),
        ("aan", "new_aan_pairs.eval.tsv", b"yes\tP1\tP2\ta\tb\n", ":1: the label is 'yes'"),
        ("aan", "new_aan_pairs.test.tsv", b"1\tP1\tP2\ta\tb\n", "test.tsv: the paper P1 comes"),
        ("wikitext103", "wiki.train.tokens", b"\xff\xfe", "cannot be read .Unicode"),
        ("csv_series", "data.csv", b"\xd3\xff,label\n1,2\n", "utf-8"),
        ("nsynth", "nsynth-test/examples.json", b"", "cannot be read .JSON"),
        ("nsynth", "nsynth-test/examples.json", b"[]", "cannot be read"),
        ("listops", "basic_val.tsv", b"a\tb\n1\t2\n", ":2: no Target"),
        ("listops", "basic_val.tsv", b"Source\tTarget\n[MAX 4 3 ]\t14\n", ":2: no Target"),
        ("listops", "basic_val.tsv", b"Source\tTarget\n[MOX 4 3 ]\t4\n", r":2: '\[MOX' is no"),
        ("pathfinder", META, b"imgs/0 sample_0.png\n", "0.npy:1: need"),
        ("pathfinder", META, b"imgs/0 sample_0.png 0 2\n", "0.npy:1: need"),
    ],
)
def test_a_damaged_raw_file_is_one_line_that_names_it(tmp_path, name, file, content, message):
    options = WRITERS[name](tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(name, options, home=tmp_path / "home", raw=tmp_path)
    assert file in str(caught.value)


def test_raw_files_with_a_class_too_many_are_refused_before_training(tmp_path):
    samples.mnist(tmp_path)
    samples.write_idx(tmp_path / IDX, (np.arange(100) % 47).astype(np.uint8))
    with pytest.raises(DataError, match="a row of train has the class 46, and the task classes 0"):
        open_dataset("smnist", home=tmp_path / "home", raw=tmp_path)


def packed_reviews(raw: Path) -> None:
    folder = raw.parent / "reviews"
    folder.mkdir()
    samples.imdb(folder)
    raw.mkdir(parents=True)
    with tarfile.open(raw / "aclImdb_v1.tar.gz", "w:gz") as archive:
        archive.add(folder, "aclImdb")


def test_what_a_killed_process_had_unpacked_is_not_taken_for_the_whole(tmp_path):
    raw = tmp_path / "raw"
    packed_reviews(raw)
    torn = raw / "unpacked.tmp-0123abcd" / "aclImdb"
    shutil.copytree(tmp_path / "reviews", torn)
    for file in sorted((torn / "train" / "pos").iterdir())[5:]:
        file.unlink()
    dataset = open_dataset("imdb", {"val_split": 0.0}, home=tmp_path / "home", raw=raw)
    assert dataset.size("train") == 30
    assert not torn.exists(), "what a dead process left is cleared away"


@pytest.mark.parametrize("kind", ["gz", "xz", ""])
def test_an_archive_with_a_changed_bit_or_a_lost_end_is_refused(tmp_path, kind):
    archive = tmp_path / "a.tar"
    random = np.random.RandomState(0)
    with tarfile.open(archive, f"w:{kind}") as tar:
        for number in range(9):
            info = tarfile.TarInfo(f"{number}")
            info.size = 700
            tar.addfile(info, io.BytesIO(random.bytes(700)))
    whole = archive.read_bytes()
    # Of an uncompressed archive only the headers have checksums; it may end between two files.
    harms = [whole[: 3 * 1536 + 9], whole[: 3 * 1536], whole[:1536] + b"#" + whole[1537:]]
    if kind:
        middle = len(whole) // 2
        harms = [whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]]
    for harm in harms:
        archive.write_bytes(harm)
        with pytest.raises(DataError, match=r"a\.tar cannot be read"):
            unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text.replace(b'"tokens": ', b'"tokens": 1'),
        lambda text: text.replace(b'"splits"', b'"splats"'),
        lambda text: text.replace(b"imdb", b"im\xffdb"),
        lambda text: b"{}",
        lambda text: b"null",
    ],
    ids=["number", "name", "byte", "empty", "null"],
)
def test_a_damaged_manifest_is_found_and_made_again(tmp_path, harm):
    raw = tmp_path / "raw"
    raw.mkdir()
    options = samples.imdb(raw)
    before = open_dataset("imdb", options, home=tmp_path, raw=raw)
    manifest = before.entry.folder / "manifest.json"
    whole = manifest.read_bytes()
    assert harm(whole) != whole
    manifest.write_bytes(harm(whole))
    assert list(verify(tmp_path)) == []
    after = open_dataset("imdb", options, home=tmp_path, raw=raw)
    assert (after.task, after.splits) == (before.task, before.splits)
    assert [found.entry is None for found, _ in verify(tmp_path)] == [False]


def test_a_damaged_entry_is_no_obstacle_to_another_without_its_raw_files(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    options = samples.imdb(raw)
    wanted = open_dataset("imdb", options, home=tmp_path, raw=raw)
    other = open_dataset("imdb", {**options, "l_max": 50}, home=tmp_path, raw=raw)
    (other.entry.folder / "manifest.json").write_text("{")
    shutil.rmtree(raw)
    again = open_dataset("imdb", options, home=tmp_path, raw=raw)
    assert again.fingerprint == wanted.fingerprint


def test_a_raw_file_that_is_not_the_published_one_is_told_of(tmp_path, caplog):
    folder = tmp_path / "raw" / "smnist"
    folder.mkdir(parents=True)
    options = samples.SAMPLES["smnist"](folder)
    open_dataset("smnist", options, home=tmp_path)
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    named = {m.partition(" is not")[0] for m in told}
    assert named == {str(path) for path in folder.glob("*.gz")}
    assert "is not the published file and is used as it is (sha256 " in told[0]
    caplog.clear()
    open_dataset("smnist", options, home=tmp_path)  # which is there now: nothing is read again
    assert not caplog.records
