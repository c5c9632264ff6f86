"""What every data set of the folder promises, whoever wrote it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from data_prep import DataError, Dataset, TaskInfo, dataset_card, dataset_names, open_dataset
from data_prep.options import NoOptions
from data_prep.registry import Raw, dataset_module

NEEDS = {"pathfinder": "numba", **dict.fromkeys(("sc09", "sc10", "sc35"), "torchaudio")}


def _samples():
    path = Path(__file__).parents[1] / "raw_samples.py"
    spec = importlib.util.spec_from_file_location("raw_samples", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SAMPLES


SAMPLES = _samples()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Open a data set on its sample, once for the whole file."""
    found: dict[str, Dataset] = {}

    def open_sample(name: str) -> Dataset:
        if importlib.util.find_spec(NEEDS.get(name, "numpy")) is None:
            pytest.skip(f"needs {NEEDS[name]}, an optional dependency")
        if name not in found:
            home = tmp_path_factory.mktemp(name)
            raw = home / "given"
            raw.mkdir()
            found[name] = open_dataset(name, SAMPLES[name](raw), home=home, raw=raw)
        return found[name]

    return open_sample


def test_every_data_set_has_a_sample_and_a_module_of_its_name():
    assert sorted(SAMPLES) == sorted(dataset_names())


each = pytest.mark.parametrize("name", dataset_names())


@each
def test_the_card_says_what_there_is_to_know(name):
    card = dataset_card(name)
    assert card.name == name
    for field in ("title", "source", "licence", "shapes", "units"):
        assert getattr(card, field).strip(), field
    assert card.citation or "your" in card.source
    assert json.loads(json.dumps(card.to_json()))["name"] == name
    for file in card.files:
        assert file.urls or card.layout
        assert not Path(file.path).is_absolute() and ".." not in file.path
    assert card.splits or "your" in card.source
    assert card.differs or "your" in card.source


@each
def test_the_card_s_sizes_are_those_of_its_rows(name, opened):
    """Where all rows are of one size, bytes when cached follow from the splits and the columns."""
    card, module = dataset_card(name), dataset_module(name)
    if hasattr(module, "STORED_AS"):
        assert card.cached_bytes == 0, "it prepares nothing of its own"
        return
    made = getattr(module, "Options", NoOptions)()
    columns = next(iter(opened(name).parts.values())).columns
    if not card.splits or any(c.shape is None for c in columns.values()):
        pytest.skip("rows differ in size")
    columns = module.columns(Raw(folder=Path(), options=made), "train")
    row = sum(c.size * np.dtype(c.dtype).itemsize for c in columns.values())
    assert card.cached_bytes == pytest.approx(row * sum(card.splits.values()), rel=0.01)


@each
def test_options_are_frozen_data_with_defaults(name):
    options = getattr(dataset_module(name), "Options", NoOptions)
    assert dataclasses.is_dataclass(options)
    made = options()
    assert all(f.kw_only for f in dataclasses.fields(options))
    if dataclasses.fields(options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, dataclasses.fields(options)[0].name, 1)


@each
def test_batches_have_the_shapes_of_the_task(opened, name):
    dataset = opened(name)
    task = dataset.task
    assert TaskInfo(**task.to_json() | {"axes": tuple(task.axes)}) == task
    if task.axes:
        assert int(np.prod(task.axes)) == task.length
    for split in ("train", "val", "test"):
        assert dataset.size(split) == dataset.splits[split].rows > 0
        for batch in dataset.batches(split, batch_size=8):
            check_batch(batch, task)


def check_batch(batch, task: TaskInfo) -> None:
    rows = len(batch.y)
    documents = 2 * rows if task.pairs else rows
    assert len(batch.x) == documents and batch.x.shape[1] <= task.length
    assert batch.x.flags.writeable and batch.rate == 1.0
    if task.tokens:
        assert batch.x.dtype == np.int64 and batch.x.ndim == 2
        assert batch.x.min() >= 0 and batch.x.max() < task.d_input
    else:
        assert batch.x.dtype == np.float32 and batch.x.shape[2] == task.d_input
        assert np.isfinite(batch.x).all()
    if task.ragged:
        assert batch.lengths.dtype == np.int64 and batch.lengths.max() == batch.x.shape[1]
        beyond = np.arange(batch.x.shape[1]) >= batch.lengths[:, None]
        assert not batch.x[beyond].any()
    else:
        assert batch.x.shape[1] == task.length
    if task.irregular:
        assert batch.dt.shape == batch.x.shape[:2] and batch.dt.dtype == np.float32
    steps = (rows, batch.x.shape[1]) if task.target.startswith("step") else (rows,)
    assert batch.y.shape[: len(steps)] == steps
    if task.target.endswith("class"):
        counted = batch.y[batch.y != -100]
        assert batch.y.dtype == np.int64 and batch.y.shape == steps
        assert counted.size and counted.min() >= 0 and counted.max() < task.d_output
    else:
        assert batch.y.dtype == np.float32
        assert batch.y.size == np.prod(steps) * task.d_output
        assert np.isfinite(batch.y).any()


@each
def test_a_batch_alone_is_the_batch_in_its_sequence(opened, name):
    dataset = opened(name)
    arguments = {"batch_size": 3, "epoch": 4, "seed": 5}
    one = list(dataset.batches("train", **arguments))
    two = list(dataset.batches("train", **arguments))
    assert len(one) == -(-dataset.size("train") // 3)
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left.x, right.x)
        np.testing.assert_array_equal(left.y, right.y)
    other = next(dataset.batches("train", **{**arguments, "epoch": 5}))
    assert not np.array_equal(one[0].index, other.index)


@each
def test_every_row_comes_once(opened, name):
    dataset = opened(name)
    for split in ("train", "val", "test"):
        seen = np.concatenate([b.index for b in dataset.batches(split, batch_size=7)])
        assert sorted(seen.tolist()) == list(range(dataset.size(split)))


@each
def test_on_the_device_the_same_numbers_come_out(opened, name):
    dataset = opened(name)
    stored = dataclasses.replace(dataset, on_device=True)
    one = next(dataset.batches("val", batch_size=4))
    two = next(stored.batches("val", batch_size=4))
    x = two.x.astype(np.float32) if not dataset.task.tokens else two.x
    x = x if two.scale is None else x * two.scale
    x = x if two.shift is None else x + two.shift
    np.testing.assert_allclose(x, one.x, rtol=1e-5, atol=1e-6)


@each
def test_a_split_that_is_not_there_is_answered_with_those_that_are(opened, name):
    with pytest.raises(DataError, match="no split 'tests': choose from .*Did you mean 'test'"):
        next(opened(name).batches("tests", batch_size=1))


@each
def test_missing_raw_files_are_one_line_that_says_where_they_belong(tmp_path, name):
    module = dataset_module(name)
    if getattr(module, "sizes", None) and module.sizes(module.Options()) is not None:
        pytest.skip("generated: it needs no raw files")
    with pytest.raises(DataError) as caught:
        open_dataset(name, home=tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path / "raw") in str(caught.value)
    for file in dataset_card(name).files:
        assert file.shown in str(caught.value)
    if "your" not in dataset_card(name).source:
        assert re.search(r"\d [kMG]B|size not published", str(caught.value)), "how large it is"
