from __future__ import annotations

import hashlib

import numpy as np
import pytest

from data_prep.splits import per_class, sklearn_split, torch_permutation, torch_split


def digest(rows: np.ndarray) -> str:
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16]


def test_the_permutation_is_torch_s():
    torch = pytest.importorskip("torch")
    for rows, seed in ((1, 0), (2, 1), (1000, 42), (4321, 2**31)):
        theirs = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        np.testing.assert_array_equal(torch_permutation(rows, seed), theirs.numpy())


@pytest.mark.parametrize(
    ("rows", "held_out", "digests"),
    [
        (60_000, 6_000, ("c485001e12d02300", "3d897a81a1c38a3e")),
        (50_000, 5_000, ("0d487a059d661a53", "444accb2e7d8003f")),
    ],
)
def test_published_splits_are_reproduced(rows, held_out, digests):
    assert tuple(digest(p) for p in torch_split(rows, held_out)) == digests


def test_per_class_gives_every_part_its_share_of_every_class():
    labels = np.repeat([3, 1, 7], 10)
    parts = per_class(labels, (6, 3, 1), seed=5)
    assert [np.bincount(labels[p]).tolist() for p in parts] == [
        [0, 6, 0, 6, 0, 0, 0, 6],
        [0, 3, 0, 3, 0, 0, 0, 3],
        [0, 1, 0, 1, 0, 0, 0, 1],
    ]
    assert sorted(np.concatenate(parts).tolist()) == list(range(30))
    with pytest.raises(ValueError, match="need 11"):
        per_class(labels, (10, 1), seed=0)


@pytest.mark.parametrize(("rows", "held_out", "seed"), [(10, 3, 0), (101, 31, 7), (34, 17, 1)])
@pytest.mark.parametrize("stratified", [False, True])
def test_the_split_is_scikit_learn_s(rows, held_out, seed, stratified):
    selection = pytest.importorskip("sklearn.model_selection", reason="the reference itself")
    labels = np.random.RandomState(seed).randint(0, 4, rows) if stratified else None
    theirs = selection.train_test_split(
        np.arange(rows), test_size=held_out, random_state=seed, stratify=labels
    )
    for ours, other in zip(sklearn_split(rows, held_out, seed, labels), theirs, strict=True):
        np.testing.assert_array_equal(ours, other)


def test_the_published_split_of_bidmc_is_reproduced():
    train, rest = sklearn_split(7870, 2361, 0)
    val, test = (rest[part] for part in sklearn_split(2361, 1181, 1))
    assert [digest(p) for p in (train, val, test)] == [
        "737ddbc40b9f5356",
        "36c798e655c4df50",
        "ed4e0729221f5a65",
    ]
