from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_prep import open_dataset, prepare
from data_prep.datasets import listops
from data_prep.errors import DataError

SMALL = {"train": 2500, "val": 50, "test": 50, "min_length": 5, "max_length": 60}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two thousand sequences by the published recipe, at its true lengths."""
    home = tmp_path_factory.mktemp("home")
    return open_dataset("listops", {"train": 1000, "val": 500, "test": 500}, home=home)


def test_values_are_those_of_the_expressions(dataset):
    for batch in dataset.batches("test", batch_size=50, shuffle=False):
        for row, length, value in zip(batch.x, batch.lengths, batch.y, strict=True):
            assert row[length - 1] == listops.EOS and not row[length:].any()
            assert listops.evaluate(row[: length - 1].tolist()) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[SM 9 9 [MED 1 8 ] ]", 2),
        ("[MED 0 1 4 9 ]", 2),
    ],
)
def test_an_expression_has_its_value(text, value):
    ids = {word: number for number, word in enumerate(listops.VOCABULARY)}
    assert listops.evaluate([ids[w] for w in text.split()]) == value


def test_lengths_lie_strictly_between_the_bounds(dataset):
    lengths = dataset.parts["train"].lengths("x")
    assert lengths.min() > 500 and lengths.max() < 2000
    # 1037 published from 100,000 (sd 394): five standard errors of 1000 rows.
    assert abs(lengths.mean() - 1037) < 65


def test_workers_change_nothing(tmp_path):
    one = prepare("listops", SMALL, home=tmp_path / "one")
    with ProcessPoolExecutor(3) as pool:
        many = prepare("listops", SMALL, home=tmp_path / "many", map=pool.map)
    assert [f["sha256"] for f in one.manifest["files"]] == [
        f["sha256"] for f in many.manifest["files"]
    ]


def test_no_sequence_comes_twice_over_all_splits(tmp_path):
    tight = {"train": 1200, "val": 50, "test": 50, "min_length": 3, "max_length": 12}
    dataset = open_dataset("listops", tight, home=tmp_path)
    rows = [
        bytes(row[:length].tolist())
        for split in ("train", "val", "test")
        for batch in dataset.batches(split, batch_size=500, shuffle=False)
        for row, length in zip(batch.x, batch.lengths, strict=True)
    ]
    assert len(rows) == 1300 == len(set(rows))


def test_a_length_limit_is_a_view_that_keeps_the_end_token(dataset):
    home = dataset.entry.folder.parents[2]
    options = {"train": 1000, "val": 500, "test": 500, "l_max": 600}
    cut = open_dataset("listops", options, home=home)
    assert cut.fingerprint == dataset.fingerprint and cut.task.length == 600
    batch = next(cut.batches("test", batch_size=50))
    assert batch.x.shape[1] == 600
    assert (batch.x[np.arange(50), batch.lengths - 1] == listops.EOS).all()


def write_release(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        (folder / f"basic_{split}.tsv").write_text(
            "Source\tTarget\n( ( ( [MAX 4 ) 3 ) ] )\t4\n( ( ( [SM 9 ) 9 ) ] )\t8\n"
        )


def test_the_release_s_tables_are_read(tmp_path):
    write_release(tmp_path / "raw" / "listops")
    dataset = open_dataset("listops", {"source": "release"}, home=tmp_path)
    batch = next(dataset.batches("train", batch_size=2, shuffle=False))
    assert batch.y.tolist() == [4, 8]
    assert batch.x.tolist() == [[14, 8, 7, 3, 2], [17, 13, 13, 3, 2]]


@pytest.mark.slow
def test_ten_thousand_sequences_have_the_published_statistics(tmp_path):
    """generators of the recipe agree on these (100,000 sequences); tolerances are four errors."""
    rows = [r for s in range(10) for r in listops.generate(listops.Options(), "train", s)]
    lengths = np.array([len(r["x"]) for r in rows])
    values = np.array([r["y"] for r in rows])
    roots = np.array([r["x"][0] for r in rows])
    assert lengths.min() >= 501 and lengths.max() <= 1999
    assert lengths.mean() == pytest.approx(1037, abs=16)
    histogram = np.histogram(lengths, [500, 750, 1000, 1250, 1500, 1750, 2000])[0] / len(rows)
    np.testing.assert_allclose(histogram, [0.300, 0.235, 0.178, 0.129, 0.092, 0.065], atol=0.018)
    classes = [0.1695, 0.0895, 0.0775, 0.0833, 0.0919, 0.0850, 0.0756, 0.0732, 0.0866, 0.1679]
    np.testing.assert_allclose(np.bincount(values) / len(rows), classes, atol=0.016)
    operators = (listops.MIN, listops.MAX, listops.MED, listops.SM)
    np.testing.assert_allclose([(roots == o).mean() for o in operators], 0.25, atol=0.018)
    # The best constant answer for each root operator: what a model gets by reading one token.
    best = sum(np.bincount(values[roots == o]).max() for o in operators) / len(rows)
    assert best == pytest.approx(0.362, abs=0.02)
    tokens = np.bincount(np.concatenate([r["x"] for r in rows]), minlength=18)
    np.testing.assert_allclose(tokens[4:14] / tokens.sum(), 0.0716, atol=0.001)
    np.testing.assert_allclose(tokens[14:] / tokens.sum(), 0.0356, atol=0.001)
    assert tokens[listops.CLOSE] / tokens.sum() == pytest.approx(0.1423, abs=0.001)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_args": 2}, "none has between 500 and 2000 tokens"),
        ({"min_length": 0, "max_length": 3}, "40 different rows for train are wanted and 10 found"),
    ],
)
def test_sequences_that_cannot_be_are_refused_and_not_looked_for_for_ever(tmp_path, options, said):
    with pytest.raises(DataError, match=said):
        prepare("listops", {"train": 40, "val": 1, "test": 1, **options}, home=tmp_path)
