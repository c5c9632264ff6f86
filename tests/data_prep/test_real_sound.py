"""The keyword task on sound that synthetic voices spoke, in the published layout."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from data_prep import open_dataset
from data_prep.datasets._speech_commands import SC10_WORDS
from data_prep.synthesise import make, split_of, voices

pytestmark = pytest.mark.skipif(
    not (shutil.which("espeak-ng") or shutil.which("flite")),
    reason="needs the Debian package espeak-ng or flite (scripts/system-packages)",
)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Ten words by a dozen voices, at least one of them in each split."""
    folder = tmp_path_factory.mktemp("home") / "raw" / "speech_commands"
    assert make(folder, words=SC10_WORDS, limit=14) == 140
    return folder


def test_voices_are_disjoint_between_the_splits(spoken):
    lists = {
        name: set(re.findall(r"/([0-9a-f]{8})_", (spoken / f"{name}_list.txt").read_text()))
        for name in ("validation", "testing")
    }
    assert not lists["validation"] & lists["testing"]
    everyone = {p.name[:8] for p in spoken.glob("*/*.wav")}
    assert len(everyone) == len(voices()[:14])
    assert lists["testing"] == {s for s in everyone if split_of(s) == "testing"}


@pytest.mark.parametrize(
    "options", [{}, {"norm": "unit"}, {"mfcc": "correct"}, {"rate": 2}], ids=str
)
def test_ten_words_are_prepared_and_normalised(spoken, options):
    dataset = open_dataset("sc10", options, home=spoken.parents[1])
    assert sum(s.rows for s in dataset.splits.values()) < 140, "short clips are left out"
    x = np.concatenate([b.x for b in dataset.batches("train", batch_size=32)])
    assert x.shape[1:] == (dataset.task.length, dataset.task.d_input)
    if options.get("norm") == "unit" or options.get("mfcc"):
        np.testing.assert_allclose(x.mean(axis=(0, 1)), 0, atol=0.02)
        np.testing.assert_allclose(x.std(axis=(0, 1)), 1, rtol=0.02)
    elif not options:
        # The published double scaling: 3e-6 of deviation beside an epsilon of 1e-5.
        assert 0.05 < x.std() < 0.4


def test_the_words_can_be_told_apart(spoken):
    """Nearest centroid of the mean cepstra: far above one in ten, so labels and sounds agree."""
    dataset = open_dataset("sc10", {"mfcc": "correct"}, home=spoken.parents[1])

    def means(*splits: str) -> tuple[np.ndarray, np.ndarray]:
        batches = [b for s in splits for b in dataset.batches(s, batch_size=64, shuffle=False)]
        return (
            np.concatenate([b.x.mean(axis=1) for b in batches]),
            np.concatenate([b.y for b in batches]),
        )

    x, y = means("train")
    centroids = np.stack([x[y == k].mean(axis=0) for k in range(10)])
    rows, labels = means("val", "test")
    guess = np.square(rows[:, None] - centroids[None]).sum(axis=2).argmin(axis=1)
    assert (guess == labels).mean() > 0.25
