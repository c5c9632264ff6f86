from __future__ import annotations

import numpy as np
import pytest
import soundfile

from data_prep import DataError, audio
from data_prep.audio import FULL_SCALE, mfcc, read_sound, resample


def speech_like(samples: int = 16_000) -> np.ndarray:
    random = np.random.RandomState(1)
    envelope = np.sin(np.linspace(0, 20, samples)) ** 2
    return (envelope * random.standard_normal(samples) * 3000).astype(np.int16)


def plain_mfcc(signal: np.ndarray) -> np.ndarray:
    """The published definition, written out: HTK mel, power 2, log(x + 1e-6), orthonormal DCT."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    padded = np.pad(signal.astype(np.float64), 100, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 200)[::100] * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    mel = 2595 * np.log10(1 + np.array([0.0, 8000.0]) / 700)
    points = 700 * (10 ** (np.linspace(*mel, 66) / 2595) - 1)
    up = (np.linspace(0, 8000, 101)[:, None] - points[None, :-2]) / np.diff(points)[:-1]
    down = (points[None, 2:] - np.linspace(0, 8000, 101)[:, None]) / np.diff(points)[1:]
    energies = np.log(power @ np.maximum(0, np.minimum(up, down)) + 1e-6)
    k, n = np.arange(20)[:, None], np.arange(64)[None]
    basis = np.sqrt(2 / 64) * np.cos(np.pi / 64 * (n + 0.5) * k)
    basis[0] /= np.sqrt(2)
    return energies @ basis.T


@pytest.mark.parametrize(("kind", "divide"), [("correct", 1), ("s4", FULL_SCALE)])
def test_cepstra_are_those_of_the_definition(kind, divide):
    clip = speech_like()
    found = mfcc(clip[None], kind=kind)
    assert found.shape == (1, 161, 20) and found.dtype == np.float32
    # float32 spectra, and a logarithm whose argument is as small as 1e-6
    np.testing.assert_allclose(found[0], plain_mfcc(clip / FULL_SCALE / divide), atol=5e-3)


def test_the_published_scaling_saturates_the_logarithm():
    clip = speech_like()
    assert mfcc(clip[None], kind="correct")[0, :, 0].std() > 1
    assert mfcc(clip[None], kind="s4")[0, :, 0].std() < 0.01


def test_sound_is_read_exactly_and_resampled_where_asked(tmp_path):
    clip = speech_like()
    soundfile.write(tmp_path / "a.wav", clip, 16_000, subtype="PCM_16")
    np.testing.assert_array_equal(read_sound(tmp_path / "a.wav")[0], clip)
    stereo = np.stack([clip, np.zeros_like(clip)], axis=1)
    soundfile.write(tmp_path / "b.flac", stereo, 16_000)
    halved, rate = read_sound(tmp_path / "b.flac")
    assert rate == 16_000 and np.abs(halved - clip / 2).max() <= 1
    tone = np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000)
    soundfile.write(tmp_path / "c.wav", tone * 0.5, 8000)
    found, rate = read_sound(tmp_path / "c.wav", sample_rate=16_000)
    assert rate == 16_000 and len(found) == 16_000
    wanted = 0.5 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)
    middle = slice(1000, 15_000)
    assert np.abs(found[middle] / FULL_SCALE - wanted[middle]).max() < 0.01
    (tmp_path / "d.wav").write_text("no sound")
    with pytest.raises(DataError, match=r"d\.wav cannot be read as sound"):
        read_sound(tmp_path / "d.wav")


def test_resampling_keeps_out_what_would_alias():
    high = np.sin(np.arange(16_000) * 2 * np.pi * 6000 / 16_000).astype(np.float32)
    assert np.abs(resample(high, 16_000, 8000)[100:-100]).max() < 0.05
    assert np.abs(high[::2]).max() > 0.9, "decimation as in the zero-shot test does alias"


def test_the_archive_s_checksum_is_the_one_that_torchaudio_knows():
    from data_prep.datasets._speech_commands import ARCHIVE

    known = audio.torchaudio().datasets.speechcommands._CHECKSUMS
    assert known[ARCHIVE.urls[0]] == ARCHIVE.sha256
