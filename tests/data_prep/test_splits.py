from __future__ import annotations

import hashlib

import numpy as np
import pytest

from data_prep.splits import per_class, torch_permutation, torch_split


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
