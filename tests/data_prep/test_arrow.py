from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep import arrow
from data_prep.arrow import Column, Part, Spool, pack
from data_prep.errors import Damaged, DataError

COLUMNS = {
    "x": Column("int16", (4, 2)),
    "words": Column("uint8", None),
    "y": Column("float32"),
}


def rows(count: int) -> list[dict]:
    random = np.random.RandomState(0)
    return [
        {
            "x": random.randint(-99, 99, (4, 2)).astype(np.int16),
            "words": np.arange(i % 5, dtype=np.uint8),
            "y": float(i),
        }
        for i in range(count)
    ]


def write(folder: Path, data: list[dict]) -> list[Path]:
    with Spool(folder, COLUMNS) as spool:
        for start in range(0, len(data), 7):
            spool.append(pack(data[start : start + 7], COLUMNS))
        return spool.write("train")


@pytest.mark.parametrize("shards", [1, 4])
def test_what_is_gathered_is_what_was_written(tmp_path, monkeypatch, shards):
    if shards > 1:
        monkeypatch.setattr(arrow, "SHARD_ABOVE_BYTES", 0)
        monkeypatch.setattr(arrow, "SHARD_BYTES", 400)
    data = rows(50)
    files = write(tmp_path, data)
    assert (len(files) > 1) == (shards > 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in files)
    part = Part(files, COLUMNS)
    index = np.array([49, 0, 17, 17, 3])
    np.testing.assert_array_equal(part.gather("x", index), [data[i]["x"] for i in index])
    np.testing.assert_array_equal(part.gather("y", index), [data[i]["y"] for i in index])
    np.testing.assert_array_equal(part.lengths("words", index), index % 5)
    padded = part.gather_ragged("words", index, width=6, limit=3, fill=9)
    np.testing.assert_array_equal(padded[0], [0, 1, 2, 9, 9, 9])
    np.testing.assert_array_equal(part.lengths("words"), np.arange(50) % 5)


def test_a_gather_is_a_copy_and_the_map_is_read_only(tmp_path):
    part = Part(write(tmp_path, rows(9)), COLUMNS)
    batch = part.gather("x", np.arange(9))
    batch += 1
    assert (part.gather("x", np.arange(9)) == batch - 1).all()
    mapped = part._values["x"][0]
    assert not mapped.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"y": 1}, "no column 'x'"),
        ({"x": np.zeros((4, 3), np.int16), "words": [1], "y": 1}, "wants shape"),
        ({"x": np.full((4, 2), 40_000), "words": [1], "y": 1}, "cannot hold"),
        ({"x": np.full((4, 2), 0.5), "words": [1], "y": 1}, "cannot hold"),
    ],
)
def test_a_row_that_would_lose_something_is_refused(row, message):
    with pytest.raises(DataError, match=message):
        pack([row], COLUMNS)


def test_a_file_with_another_schema_or_none_is_damaged(tmp_path):
    files = write(tmp_path, rows(3))
    with pytest.raises(Damaged, match="schema"):
        Part(files, {**COLUMNS, "x": Column("int16", (2, 4))})
    files[0].write_bytes(files[0].read_bytes()[:-20])
    with pytest.raises(Damaged, match="no Arrow file"):
        Part(files, COLUMNS)
