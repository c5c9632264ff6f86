"""A tiny model of sound is trained, and speaks: real data, real steps, files that can be heard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sweeps
from cluster import cli
from data_prep.datasets._music import dequantise
from sweeps import Study

SPECS = {
    "tunes": "data: {name: youtubemix, length: 200}\n"
    "model: {name: sashimi, d_model: 8, n_layers: 1, d_state: 4, pool: [2]}\n",
    "words": "data: {name: wikitext103, l_max: 16}\n"
    "model: {name: s4d, d_model: 8, n_layers: 1, d_state: 4, position: learned}\n",
    "classes": "data: {name: listops, train: 32, val: 16, test: 16, l_max: 16, min_length: 3, "
    "max_length: 16}\nmodel: {name: s4d, d_model: 8, n_layers: 1}\n",
}


class Silent:
    """Nobody watches."""

    def trial_started(self, spec: sweeps.TrialSpec) -> None: ...
    def trial_reported(self, number: int, report: object) -> None: ...
    def trial_ended(self, result: sweeps.TrialResult) -> None: ...


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    music, text = home / "raw" / "youtubemix", home / "raw" / "wikitext103"
    for folder in (music, text):
        folder.mkdir(parents=True)
    for number in range(20):
        wave = 0.5 * np.sin(0.1 * (1 + number % 5) * np.arange(600))
        soundfile.write(music / f"out{number}.wav", wave, 16_000, subtype="PCM_16")
    for split in ("train", "valid", "test"):
        (text / f"wiki.{split}.tokens").write_text(" \n the <unk> cat sat \n" * 40)
    for name in ("tunes", "words", "classes"):
        path = home / f"{name}.yaml"
        train = "train: {epochs: 1, batch_size: 16}\nsearch: {sampler: random, trials: 1}\n"
        path.write_text(f"name: {name}\n{SPECS[name]}{train}")
        sweeps.run_inline(sweeps.load_spec(path), home, Silent())
    return home


def generate(home: Path, *words: str) -> int:
    return cli.main(["generate", "--home", str(home), *words])


def test_a_model_of_sound_writes_sound(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "samples"
    options = ["--samples", "3", "--length", "50", "--seed", "7", "--to", str(to)]
    assert generate(home, "tunes", *options, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [Path(t["path"]).name for t in told] == ["000.wav", "001.wav", "002.wav"]
    bits = [t["bits_per_step"] for t in told]
    assert bits == sorted(bits)
    assert 0 < bits[0] < 16
    signals = []
    levels = dequantise(np.arange(256, dtype=np.uint8), mu_law=True)
    for t in told:
        about = soundfile.info(t["path"])
        assert (about.samplerate, about.frames, about.channels) == (16_000, 50, 1)
        assert about.subtype == "PCM_16"
        signals.append(soundfile.read(t["path"], dtype="float32")[0])
        # Each sample is one of the 256 levels, to the rounding of 16 bits.
        assert np.abs(signals[-1][:, None] - levels).min(1).max() < 2 / 32768
    assert not np.array_equal(signals[0], signals[1])
    again = tmp_path / "again"
    assert generate(home, "tunes", *options[:-1], str(again)) == 0
    assert str(again / "000.wav") in capsys.readouterr().out
    for t in told:
        name = Path(t["path"]).name
        assert (again / name).read_bytes() == (to / name).read_bytes()
    assert json.loads((to / "samples.json").read_text())["seed"] == 7


def test_a_prefix_is_continued(home: Path, tmp_path: Path) -> None:
    assert generate(home, "tunes", "--samples", "1", "--prefix", "120", "--to", str(tmp_path)) == 0
    signal, _ = soundfile.read(tmp_path / "000.wav", dtype="float32")
    study = Study.open("tunes", home)
    data = sweeps.trial.open_data(study.trial_spec(0), home)
    row = next(data.batches("test", batch_size=1, shuffle=False)).x[0]
    heard = dequantise(row[1:120].astype(np.uint8), mu_law=True)
    np.testing.assert_allclose(signal[:119], heard, atol=1 / 32768)
    assert len(signal) == 199


def test_a_model_of_text_writes_text(home: Path, tmp_path: Path) -> None:
    options = ["--samples", "2", "--prefix", "3", "--temperature", "0.5", "--top-p", "0.9"]
    assert generate(home, "words", *options, "--to", str(tmp_path)) == 0
    words = (tmp_path / "001.txt").read_text().replace("\n", "EOS").split()
    assert len(words) == 16
    assert set(words) <= {"the", "<unk>", "cat", "sat", "EOS"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["classes"], "trial 0 cannot generate: only a model of the next token generates"),
        (["words", "--length", "16"], "cannot go on to step 17"),
        (["tunes", "--prefix", "0"], "--prefix: wants a whole number >= 1, got '0'"),
        (["tunes", "--split", "dev"], "the data have no split 'dev'"),
        (["tunes", "--samples", "0"], "--samples: wants a whole number >= 1, got '0'"),
        (["tunes", "--top-p", "2"], "0 < top_p <= 1"),
        (["tunes", "--trial", "5"], "has no trial 5"),
        (["tunes", "--device", "gpu"], "cannot generate: no device 'gpu' here: Expected one of"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], text: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(home, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert text in error
