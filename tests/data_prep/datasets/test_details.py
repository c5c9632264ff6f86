"""Facts of single data sets that published results depend on."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

from data_prep import DataError, open_dataset
from data_prep.datasets import _music, _tser, aan, imdb, lra_image, pendulum, sc10, scifar

_path = Path(__file__).parents[1] / "raw_samples.py"
_spec = importlib.util.spec_from_file_location("raw_samples_of_details", _path)
samples = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(samples)


def sample(name: str, home: Path, **options):
    raw = home / "given"
    if not raw.is_dir():
        raw.mkdir(parents=True)
        options = {**samples.SAMPLES[name](raw), **options}
    return open_dataset(name, options, home=home, raw=raw)


def whole(dataset, split: str):
    return next(dataset.batches(split, batch_size=10_000, shuffle=False))


def test_grey_is_pil_s_grey():
    image = pytest.importorskip("PIL.Image", reason="the reference itself")
    colours = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        lra_image.grey(colours), np.asarray(image.fromarray(colours).convert("L"))
    )


def test_colours_are_pixel_by_pixel_and_normalised(tmp_path):
    dataset = sample("scifar", tmp_path)
    with (tmp_path / "given" / "test_batch").open("rb") as file:
        data = pickle.load(file)[b"data"]
    x = whole(dataset, "test").x
    red, green, blue = data.reshape(20, 3, 1024)[3, :, 77] / 255
    wanted = [(red - 0.4914) / 0.247, (green - 0.4822) / 0.243, (blue - 0.4465) / 0.261]
    np.testing.assert_allclose(x[3, 77], wanted, rtol=1e-4, atol=1e-5)


def test_a_pickle_that_would_run_a_program_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(DataError, match=r"it wants to use builtins\.print"):
        scifar.read_batch(path)


def test_reviews_are_characters_by_frequency_cut_with_an_end(tmp_path):
    dataset = sample("imdb", tmp_path, val_split=0.0)
    vocabulary = dataset.entry.manifest["facts"]["vocabulary"]
    assert vocabulary[:3] == ["<pad>", "<unk>", "<eos>"]
    assert "\u00e9" in vocabulary, "characters, not bytes"
    batch = whole(dataset, "val")
    assert batch.x.shape[1] == 100 == batch.lengths.max()
    assert (batch.x[np.arange(len(batch.x)), batch.lengths - 1] == imdb.EOS).all()
    text = "".join(vocabulary[i] for i in batch.x[0, : batch.lengths[0] - 1])
    assert text == "a dull film, \u00e9 "
    assert dataset.view.splits["val"].part == "test", "as published, when nothing is held back"


def test_reviews_as_bytes_leave_room_for_the_special_tokens(tmp_path):
    dataset = sample("imdb", tmp_path, level="byte")
    batch = whole(dataset, "test")
    assert dataset.task.d_input == 259
    assert (batch.x[0, : batch.lengths[0] - 1] - 3).astype(
        np.uint8
    ).tobytes().decode() == "a dull film, \u00e9 "


def test_pairs_are_two_halves_of_a_batch_and_papers_are_stored_once(tmp_path):
    dataset = sample("aan", tmp_path)
    assert dataset.entry.splits["documents"].rows == 8
    batch = whole(dataset, "train")
    assert batch.x.shape[0] == 40 and batch.y.tolist() == [i % 2 for i in range(20)]
    # Pair 2 is of papers 2 and 6; their text is Python's notation of bytes, cut to 49 and an end.
    wanted = aan.encode(repr(b"paper 2\nin words" * 3))[:49]
    np.testing.assert_array_equal(batch.x[2, : len(wanted)], wanted)
    assert batch.x[22, batch.lengths[22] - 1] == aan.EOS


def test_levels_are_the_published_ones():
    ramp = np.linspace(-1, 1, 1001)
    linear = _music.quantise(ramp, mu_law=False)
    assert linear[0] == 0 and linear[-1] == 255 and linear[500] in (127, 128)
    assert (np.diff(linear.astype(int)) >= 0).all()
    law = _music.quantise(ramp, mu_law=True)
    assert law[0] == 0 and law[-1] == 255
    assert np.unique(law[450:551]).size > 75, "fine steps around silence"
    for mu_law in (False, True):
        back = _music.dequantise(_music.quantise(ramp, mu_law=mu_law), mu_law=mu_law)
        assert np.abs(back - ramp).max() < (0.03 if mu_law else 0.01)


def test_the_input_is_the_target_one_step_late(tmp_path):
    dataset = sample("youtubemix", tmp_path)
    assert {n: s.rows for n, s in dataset.splits.items()} == {"train": 51, "val": 3, "test": 6}
    batch = whole(dataset, "val")
    assert (batch.x[:, 0] == 128).all()
    np.testing.assert_array_equal(batch.x[:, 1:], batch.y[:, :-1])


def test_file_names_are_sorted_as_numbers():
    names = [Path(f"out{i}.wav") for i in range(12)]
    assert _music.natural(sorted(names, key=str)) == names


def test_recordings_are_told_by_their_shared_samples(tmp_path):
    dataset = sample("bidmc_rr", tmp_path, split="subject")
    assert dataset.entry.manifest["facts"]["recordings"] == 8
    part = dataset.parts["windows"]
    owners = [set(part.gather("recording", s.index).tolist()) for s in dataset.view.splits.values()]
    assert sum(map(len, owners)) == 8 == len(set().union(*owners))
    published = open_dataset(
        "bidmc_rr", {"split": "s4_reshuffle"}, home=tmp_path, raw=tmp_path / "given"
    )
    assert published.fingerprint == dataset.fingerprint
    assert [s.rows for s in published.splits.values()] == [28, 6, 6]
    leaked = [
        set(part.gather("recording", s.index).tolist()) for s in published.view.splits.values()
    ]
    assert leaked[0] & leaked[2], "the published split has windows of one recording in both"


def test_a_table_that_is_no_ts_file_is_blamed_by_its_line(tmp_path):
    path = tmp_path / "x.ts"
    path.write_text("@targetlabel true\n@data\n1,2:3,4:5.5\n1,2:3:4\n")
    rows = _tser.read_ts(path)
    series, value = next(rows)
    assert series.tolist() == [[1, 3], [2, 4]] and value == 5.5
    with pytest.raises(DataError, match=r"x\.ts:4: "):
        next(rows)


def test_ten_words_keep_their_published_classes_and_whole_clips(tmp_path):
    dataset = sample("sc10", tmp_path)
    # Twelve clips a word, of which two are short.
    assert sum(sum(s.classes) for s in dataset.splits.values()) == 100
    assert dataset.splits["train"].classes == (7,) * 10
    assert sc10.class_numbers()[sc10.shared.SC35_WORDS.index("yes")] == 0
    dropped = open_dataset("sc10", {"dropped": 30.0}, home=tmp_path, raw=tmp_path / "given")
    batch = next(dropped.batches("val", batch_size=4))
    assert batch.x.shape == (4, 16_000, 2)
    assert (batch.x[..., 1].mean(axis=1) == pytest.approx(0.7)) and not batch.x[
        batch.x[..., 1] == 0
    ][:, 0].any()
    again = next(dropped.batches("val", batch_size=4))
    np.testing.assert_array_equal(batch.x, again.x)


def test_at_half_the_rate_every_second_sample_is_read(tmp_path):
    full = sample("sc35", tmp_path)
    half = open_dataset("sc35", {"rate": 2}, home=tmp_path, raw=tmp_path / "given")
    assert half.fingerprint == full.fingerprint and half.task.length == 8000
    one, two = whole(full, "val"), whole(half, "val")
    np.testing.assert_array_equal(one.x[:, ::2], two.x)
    assert (one.rate, two.rate) == (1.0, 2.0)


def test_short_clips_are_filled_up_or_keep_their_length(tmp_path):
    whole_clips = sample("sc35", tmp_path)
    assert whole_clips.splits["train"].rows == 35 * 8
    kept = sample("sc09", tmp_path)
    batch = whole(kept, "test")
    assert set(batch.lengths.tolist()) == {16_000, 12_000} or batch.lengths.max() == 16_000


def test_the_pendulum_obeys_its_law():
    """Without kicks and damping its energy stays; a picture's bright spot is where it hangs."""
    angles = np.array([0.0, np.pi / 2, np.pi])
    pictures = pendulum.picture(angles).reshape(3, 24, 24)
    centres = [
        np.average(np.indices((24, 24)), axis=(1, 2), weights=np.stack([p, p])) for p in pictures
    ]
    wanted = [(19.5, 11.5), (11.5, 19.5), (3.5, 11.5)]
    np.testing.assert_allclose(centres, wanted, atol=0.01)


def test_windows_of_text_are_one_stream(tmp_path):
    dataset = sample("wikitext103", tmp_path)
    batches = whole(dataset, "test")
    stream = dataset.parts["test"].flat("x", 0, dataset.parts["test"].flat_size("x"))
    counted = np.arange(16) < batches.lengths[:, None]
    np.testing.assert_array_equal(batches.x[counted], stream[:-1])
    np.testing.assert_array_equal(batches.y[counted], stream[1:])


def test_the_vocabulary_is_a_file_of_its_own_that_gives_the_words_back(tmp_path):
    dataset = sample("wikitext103", tmp_path)
    files = {f["name"] for f in dataset.entry.manifest["files"]}
    assert files == {"vocabulary.arrow", "train.arrow", "val.arrow", "test.arrow"}
    assert list(dataset.entry.manifest["facts"]) == ["words"]
    assert set(dataset.splits) == {"train", "val", "test"}
    assert dataset.parts["vocabulary"].rows == dataset.task.d_input
    part = dataset.parts["test"]
    text = dataset.view.decode(part.flat("x", 0, part.flat_size("x")).astype(np.int64))
    raw = (tmp_path / "given" / "wiki.test.tokens").read_text()
    assert [line.split() for line in text.split("\n")][:-1] == [
        line.split() for line in raw.splitlines()
    ]


def test_streams_of_text_run_on_from_batch_to_batch_and_are_rolled_in_every_epoch(tmp_path):
    dataset = sample("wikitext103", tmp_path, order="streams")
    part = dataset.parts["train"]
    text = part.flat("x", 0, part.flat_size("x"))
    steps = len(text) // 6

    def epoch(number: int, **where: int) -> tuple[np.ndarray, np.ndarray]:
        read = list(dataset.batches("train", epoch=number, seed=5, **where))
        assert [b.x.shape[1] for b in read[:-1]] == [16] * (len(read) - 1)
        return np.concatenate([b.x for b in read], 1), np.concatenate([b.y for b in read], 1)

    x, y = epoch(0, batch_size=6)
    assert x.shape == (6, steps - 1)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    for row, (stream, last) in enumerate(zip(x, y[:, -1:], strict=True)):
        whole_stream = np.concatenate([stream, last])
        wanted = text[row * steps : (row + 1) * steps]
        assert any((np.roll(wanted, shift) == whole_stream).all() for shift in range(steps))
    assert (epoch(0, batch_size=6)[0] == x).all() and (epoch(1, batch_size=6)[0] != x).any()
    for rank in (0, 1):  # two ranks of three streams are one of six
        np.testing.assert_array_equal(epoch(0, batch_size=3, rank=rank, world=2)[0], x[rank::2])
    cut = [b.x.shape[1] for b in dataset.batches("train", batch_size=6, drop_last=True)]
    assert cut == [16] * ((steps - 1) // 16)
