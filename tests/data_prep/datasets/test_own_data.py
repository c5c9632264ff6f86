"""One's own data without code: CSV files and folders of sounds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep import DataError, open_dataset
from data_prep.transforms import converted


def write_csv(home: Path, lines: list[str]) -> None:
    folder = home / "raw" / "csv_series"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.csv").write_text("\n".join(lines) + "\n")


def read_all(dataset, split: str = "train"):
    return next(dataset.batches(split, batch_size=1000, shuffle=False))


def test_wide_lines_are_series_of_their_own_length(tmp_path):
    rows = [f"{'up' if i % 2 else 'down'},{i},{i + 1},{'' if i % 3 else i + 2}" for i in range(30)]
    write_csv(tmp_path, ["label,t0,t1,t2", *rows])
    dataset = open_dataset("csv_series", {"normalise": "none"}, home=tmp_path)
    task = dataset.task
    assert (task.d_input, task.d_output, task.length, task.ragged) == (1, 2, 3, True)
    batch = read_all(dataset)
    first = batch.x[:, 0, 0].astype(int)
    np.testing.assert_array_equal(batch.y, first % 2, "classes in alphabetical order: down, up")
    np.testing.assert_array_equal(batch.lengths, np.where(first % 3, 2, 3))
    assert sum(dataset.size(s) for s in ("train", "val", "test")) == 30


def test_long_lines_are_steps_at_their_own_times(tmp_path):
    lines = ["series,when,label,a,b,part"]
    for series in range(12):
        part = ("train", "val", "test")[series % 3]
        for step in (2, 0, 1):
            lines.append(f"s{series},{step**2 + 10},{series / 2},{series},{step},{part}")
    write_csv(tmp_path, lines)
    options = {"layout": "long", "time": "when", "target": "value", "split": "part"}
    dataset = open_dataset("csv_series", {**options, "normalise": "none"}, home=tmp_path)
    assert {n: s.rows for n, s in dataset.splits.items()} == {"train": 4, "val": 4, "test": 4}
    assert dataset.task.irregular and dataset.task.target == "value" and not dataset.task.ragged
    batch = read_all(dataset, "val")
    assert batch.y.tolist() == [0.5, 2.0, 3.5, 5.0]
    assert batch.x[0].tolist() == [[1, 0], [1, 1], [1, 2]], "sorted by time"
    assert batch.dt[0].tolist() == [2.0, 1.0, 3.0], "the first step takes the median gap"


def test_a_target_a_step_is_padded_so_that_no_loss_counts_it(tmp_path):
    lines = ["series,label,a"]
    for series in range(10):
        lines += [f"s{series},{'xy'[step % 2]},{step}" for step in range(2 + series % 3)]
    write_csv(tmp_path, lines)
    options = {"layout": "long", "target": "step_class"}
    dataset = open_dataset("csv_series", options, home=tmp_path)
    batch = read_all(dataset)
    padded = np.arange(batch.y.shape[1]) >= batch.lengths[:, None]
    assert (batch.y[padded] == -100).all() and not batch.x[padded].any()
    assert set(batch.y[~padded].tolist()) == {0, 1}


def test_channels_have_mean_0_and_deviation_1_over_the_training_series(tmp_path):
    random = np.random.RandomState(0)
    lines = ["series,label,a,b"]
    for i in range(400):
        lines.append(f"s{i // 8},{i // 8 % 2},{5 + 3 * random.randn()},{100 * random.randn()}")
    write_csv(tmp_path, lines)
    dataset = open_dataset("csv_series", {"layout": "long"}, home=tmp_path)
    x = read_all(dataset).x.reshape(-1, 2)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=5e-3)


def test_a_group_is_in_one_part(tmp_path):
    lines = ["label,patient,t0,t1"]
    lines += [f"{i % 2},p{i // 4},{i // 4},{i}" for i in range(80)]
    write_csv(tmp_path, lines)
    options = {"group": "patient", "normalise": "none"}
    dataset = open_dataset("csv_series", options, home=tmp_path)
    patients = [set(read_all(dataset, s).x[:, 0, 0].tolist()) for s in ("train", "val", "test")]
    assert sum(len(p) for p in patients) == 20 == len(set().union(*patients))


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["lable,a", "x,1"], {}, "no column 'label': choose from a, lable. Did you mean 'lable'?"),
        (["label,a", "x,one"], {}, "data.csv:2: the column 'a' is not numeric (one): mend it, or "),
        (["label,a,b,c", "", "x,1,,2"], {}, "data.csv:3: the column 'b' has an empty cell within"),
        (["label,a", "x,1", "x,"], {}, "data.csv:3: the series is empty: leave it out."),
        (["label,a", "x,1", ",2"], {}, "data.csv:3: the column 'label' is empty: fill it, or leav"),
        (["label,a", "1,1", ",2"], {}, "data.csv:3: the column 'label' is empty: fill it, or leav"),
        (["label,a", "1,1", ",2"], {"target": "value"}, "data.csv:3: the column 'label' is empty"),
        (["label,a", "1,1", "2,inf"], {}, "data.csv:3: the column 'a' is no finite float32 number"),
        (["label,a", "1,1", "2,1e99"], {}, "column 'a' is no finite float32 number (1e+99): mend"),
        (["label,a,group", "1,1,p", "2,1,"], {"group": "group"}, ":3: the column 'group' is empty"),
        (["label,a", "x,1", "x,2"], {}, "is 'x': need two classes."),
        (["label,a,g", "x,1,p", "y,2,p"], {"group": "g"}, "1 groups are too few"),
        (["label"], {}, "no column is left beside label"),
        (["label,a,part", "x,1,trian"], {"split": "part"}, "Did you mean 'train'?"),
        (["label,a"], {"layout": "wide", "time": "a"}, "need layout: long"),
    ],
)
def test_a_mistake_in_a_table_is_one_line(tmp_path, lines, options, message):
    write_csv(tmp_path, lines)
    with pytest.raises(DataError) as caught:
        open_dataset("csv_series", options, home=tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["s,x,1,0", "s,y,2,0"], {}, "data.csv:3: the column 'label' says 'y', and 'x' elsewhere "
         "in the series: write one (a label for each step wants target: step_class or step_value)"),
        (["s,1,1,0", "s,2,2,0"], {"target": "value"}, ":3: the column 'label' says 2, and 1 elsew"),
        (["s,x,1,p", "s,x,2,q"], {"group": "extra"}, ":3: the column 'extra' says 'q', and 'p' el"),
        (["s,x,1,val", "s,x,2,test"], {"split": "extra"}, ":3: the column 'extra' says 'test', an"),
        (["s,x,1,0", ",x,2,0"], {}, ":3: the column 'series' is empty: fill it"),
        (["s,x,1,0", "s,x,2,"], {"time": "extra"}, ":3: the column 'extra' is empty: every step h"),
        (["s,x,1,0", "s,x,2,inf"], {"time": "extra"}, ":3: the column 'extra' is no finite number"),
        (["s,x,1,8:30", "s,x,2,"], {"time": "extra"}, ":2: the column 'extra' is not numeric (8:3"),
        (["s,x,1,08:30", "s,x,2,08:31"], {"time": "extra"}, "'extra' is not numeric (08:30:00): w"),
        (["s,x,1,0", "s,,2,0", "t,,1,0"], {"target": "step_class"}, ":4: no step of the series ha"),
    ],
)  # fmt: skip
def test_a_mistake_about_series_of_many_lines_is_one_line(tmp_path, lines, options, message):
    write_csv(tmp_path, ["series,label,a,extra", *lines])
    with pytest.raises(DataError) as caught:
        open_dataset("csv_series", {"layout": "long", **options}, home=tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_do_not_fit_each_other_are_named(tmp_path):
    write_csv(tmp_path, ["label,a", "1,1", "2,2"])
    other = tmp_path / "raw" / "csv_series" / "more.csv"
    other.write_text("label,a\nx,1\n")
    with pytest.raises(DataError, match=r"more.csv: .*Field label .*int64 vs string .* one way"):
        open_dataset("csv_series", home=tmp_path)
    other.write_text("label,a\n3,4\n\n4,\n")
    with pytest.raises(DataError, match="more.csv:4: the series is empty"):
        open_dataset("csv_series", home=tmp_path)


@pytest.mark.parametrize(
    ("moments", "gaps"),
    [
        ([f"{1_700_000_000 + 10 * i}" for i in (0, 1, 3)], [15, 10, 20]),
        ([f"{1_700_000_000.5 + 10 * i}" for i in (0, 1, 3)], [15, 10, 20]),
        ([f"{1_700_000_000_123_456_789 + i}" for i in (0, 1, 3)], [1.5, 1, 2]),
        (["2026-01-31T23:59:59Z", "2026-02-01T00:00:01Z", "2026-02-01T00:00:05Z"], [3, 2, 4]),
        (["2026-01-31 23:59:59.5", "2026-01-31 23:59:59.75", "2026-02-01"], [0.25, 0.25, 0.25]),
        (["2026-02-28", "2026-03-01", "2026-03-02"], [86400, 86400, 86400]),
    ],
)
def test_gaps_keep_their_digits_whatever_the_clock(tmp_path, moments, gaps):
    lines = ["series,label,a,when"]
    for series in range(10):
        lines += [f"s{series},{series % 2},{step},{moments[step]}" for step in (2, 0, 1)]
    write_csv(tmp_path, lines)
    dataset = open_dataset("csv_series", {"layout": "long", "time": "when"}, home=tmp_path)
    np.testing.assert_allclose(read_all(dataset).dt, [gaps] * dataset.size("train"), rtol=1e-6)


def test_steps_without_a_label_and_empty_lines_at_the_end_count_in_no_loss(tmp_path):
    lines = ["series,label,a,when"]
    for series in range(10):
        lines += [f"s{series},{label},{a},{when}" for label, a, when in
                  (("x", 1, 0), ("", 2, 1), ("y", 3, 3), ("", "", 9))]  # fmt: skip
    write_csv(tmp_path, lines)
    options = {"layout": "long", "time": "when", "target": "step_class"}
    dataset = open_dataset("csv_series", options, home=tmp_path)
    batch = read_all(dataset)
    assert dataset.task.d_output == 2 and batch.y[0].tolist() == [0, -100, 1]
    assert batch.lengths[0] == 3 and batch.dt[0].tolist() == [1.5, 1, 2]


def test_a_channel_of_large_whole_numbers_is_numeric(tmp_path):
    write_csv(tmp_path, ["label,a", *(f"{i % 2},{20_000_001 + 2 * i}" for i in range(20))])
    x = read_all(open_dataset("csv_series", {"normalise": "none"}, home=tmp_path)).x
    assert np.isin(x, np.float32(20_000_001 + 2 * np.arange(20))).all()


def write_sounds(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(np.arange(800) * 0.1 * (1 + number)) * 0.3
        soundfile.write(folder / name, tone, 8000)


def test_folders_of_parts_decide_and_a_speaker_stays_in_one_part(tmp_path):
    told = tmp_path / "told"
    parts = [f"{p}/{c}/{i}.wav" for p in ("train", "val", "test") for c in "ab" for i in (1, 2)]
    write_sounds(told, parts)
    options = {"sample_rate": 8000, "length": 1000, "raw": str(told)}
    dataset = open_dataset("folder_audio", options, home=tmp_path)
    assert {n: s.classes for n, s in dataset.splits.items()} == dict.fromkeys(
        ("train", "val", "test"), (2, 2)
    )
    by_lot = tmp_path / "by_lot"
    write_sounds(by_lot, [f"{c}/s{s}_{i}.ogg" for c in "ab" for s in range(12) for i in (1, 2)])
    options = {**options, "raw": str(by_lot), "speaker": "^(s[0-9]+)_"}
    dataset = open_dataset("folder_audio", options, home=tmp_path)
    part = dataset.parts["clips"]
    speakers = [
        set(part.gather("speaker", dataset.view.splits[s].index).tolist())
        for s in ("train", "val", "test")
    ]
    assert sum(map(len, speakers)) == 12 == len(set().union(*speakers))
    assert sum(s.rows for s in dataset.splits.values()) == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speaker": "("}, "speaker is no regular expression"),
        ({"speaker": "abc"}, "speaker needs a group"),
        ({}, "holds 1 classes, need two"),
    ],
)
def test_a_mistake_about_sounds_is_one_line(tmp_path, options, message):
    write_sounds(tmp_path / "raw" / "folder_audio", ["only/1.wav"])
    with pytest.raises(DataError, match=message):
        open_dataset("folder_audio", options, home=tmp_path)


def test_lists_decide_which_sounds_validate_and_test(tmp_path):
    folder = tmp_path / "raw" / "folder_audio"
    write_sounds(folder, [f"{c}/{i}.wav" for c in "ab" for i in range(4)])
    (folder / "validation_list.txt").write_text("a/1.wav\nb/1.wav\n\n")
    (folder / "testing_list.txt").write_text("a/2.wav\n")
    dataset = open_dataset("folder_audio", {"sample_rate": 8000, "length": 800}, home=tmp_path)
    assert {n: s.rows for n, s in dataset.splits.items()} == {"train": 5, "val": 2, "test": 1}
    read_all(dataset)


@pytest.mark.parametrize(
    ("sounds", "lists", "message"),
    [
        (["train/a/1.wav", "train/b/1.wav", "val/a/1.txt", "test/a/1.wav"], (),
         " has no sounds for val: add some"),
        (["a/1.wav", "a/2.wav", "b/1.wav"], ("", "a/2.wav"), " has no sounds for val: add some"),
        (["train/a/1.wav", "train/b/1.wav", "test/a/1.wav"], (), " has no val: add it, or let pa"),
        (["a/1.wav", "b/1.wav"], ("a/1.wav",), " has no testing_list.txt: add it, or let parts be"),
        (["a/1.wav", "b/1.wav"], ("a/1.wav", "b/1.wav"), " has no sounds for train: add some"),
        (["a/1.wav", "a/2.wav", "b/1.wav"], ("a\\1.wav\na/3.wav", "a/2.wav"),
         "validation_list.txt: 2 of its lines name no sound, such as a\\1.wav, a/3.wav: write CLA"),
    ],
)  # fmt: skip
def test_a_part_without_sounds_and_a_line_without_one_are_refused(tmp_path, sounds, lists, message):
    folder = tmp_path / "raw" / "folder_audio"
    write_sounds(folder, [name for name in sounds if name.endswith(".wav")])
    for name in sounds:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name, text in zip(("validation_list.txt", "testing_list.txt"), lists, strict=False):
        (folder / name).write_text(text)
    with pytest.raises(DataError) as caught:
        open_dataset("folder_audio", {"sample_rate": 8000, "length": 800}, home=tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_silence_stays_silence(tmp_path):
    for name in [f"{c}/{i}.wav" for c in "ab" for i in range(10)]:
        path = tmp_path / "raw" / "folder_audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(100), 8000)
    dataset = open_dataset("folder_audio", {"sample_rate": 8000, "length": 100}, home=tmp_path)
    assert not converted(read_all(dataset)).x.any()


def test_other_raw_files_are_never_taken_for_those_that_are_missing(tmp_path):
    """Prepared raw files may go; a folder that never was is no reason to use another one's."""
    known = tmp_path / "known"
    write_sounds(known, [f"{c}/{i}.wav" for c in "ab" for i in range(12)])
    options = {"sample_rate": 8000, "length": 500, "raw": str(known)}
    first = open_dataset("folder_audio", options, home=tmp_path)
    shutil.rmtree(known)
    assert open_dataset("folder_audio", options, home=tmp_path).fingerprint == first.fingerprint
    with pytest.raises(DataError, match="no raw files in .*/unknown"):
        open_dataset("folder_audio", {**options, "raw": str(tmp_path / "unknown")}, home=tmp_path)
    del options["raw"]
    with pytest.raises(DataError, match="no raw files in .*/raw/folder_audio"):
        open_dataset("folder_audio", options, home=tmp_path)
