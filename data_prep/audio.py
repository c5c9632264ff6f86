"""Sound: files to int16 by soundfile, features and archive layout by torchaudio.

The one module of this package that imports torch, and only inside functions. torchaudio's wheel
brings a compiled extension for one CUDA version that cannot be loaded beside another torch;
nothing here needs it, so torchaudio is then imported without it.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from data_prep.errors import DataError

FULL_SCALE = 32768  # int16 / FULL_SCALE is exact in float32


@functools.cache
def torchaudio() -> Any:
    """Import torchaudio, without its compiled extension where that cannot be loaded."""
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        raise DataError("this data set needs torchaudio: pip install 's4sweep[audio]'.") from error
    except OSError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        # `from . import _extension` finds this in sys.modules and looks no further.
        stand_in: Any = types.ModuleType("torchaudio._extension")
        stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False
        stand_in.fail_if_no_align = _needs_the_extension
        sys.modules[stand_in.__name__] = stand_in
        return importlib.import_module("torchaudio")


def _needs_the_extension(function: Any) -> Any:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension.")

    return fail


def read_sound(path: Path, *, sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Read a sound file (WAV, FLAC, OGG, ...) as mono int16 (samples,) and its samples a second.

    Channels are averaged. sample_rate: what is wanted; a file with another rate is resampled by a
    windowed sinc (torchaudio). Raises DataError for a file that is no sound.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            found = int(file.samplerate)
            exact = file.subtype == "PCM_16" and file.channels == 1
            data = file.read(dtype="int16" if exact else "float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} cannot be read as sound: {error}") from error
    if exact and sample_rate in (None, found):
        return data[:, 0], found
    signal = data.mean(axis=1, dtype=np.float32) / (FULL_SCALE if exact else 1)
    if sample_rate not in (None, found):
        signal, found = resample(signal, found, int(sample_rate or found)), int(sample_rate or 0)
    scaled = np.round(signal * FULL_SCALE)
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), found


def write_sound(path: Path, signal: np.ndarray, sample_rate: int) -> Path:
    """Write float32 (samples,) in [-1, 1] as a mono WAV file of 16 bits; gives its path."""
    soundfile.write(str(path), np.clip(signal, -1.0, 1.0), sample_rate, subtype="PCM_16")
    return path


def resample(signal: np.ndarray, old: int, new: int) -> np.ndarray:
    """Resample float32 (..., samples) from `old` to `new` samples a second (band-limited)."""
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(signal))
    out: np.ndarray = torchaudio().functional.resample(waveform, old, new).numpy()
    return out


MfccKind = Literal["s4", "correct"]


@functools.cache
def _mfcc_transform() -> Any:
    with warnings.catch_warnings():
        # Two of the 64 mel filters lie between the 101 frequencies: published as it is.
        warnings.filterwarnings("ignore", message="At least one mel filterbank")
        return torchaudio().transforms.MFCC(
            sample_rate=16_000, log_mels=True, n_mfcc=20, melkwargs={"n_fft": 200, "n_mels": 64}
        )


def mfcc(clips: np.ndarray, *, kind: MfccKind) -> np.ndarray:
    """Return the 20 mel cepstra (N, frames, 20) float32 of int16 clips (N, samples) at 16 kHz.

    Frames: 1 + samples // 100. "correct" takes the signal in [-1, 1); "s4" divides it by 2^15 once
    more, as the published pipeline does, so that the logarithm saturates at its floor of 1e-6 and
    what remains is a cosine transform of the linear mel power.
    """
    import torch

    signal = torch.from_numpy(np.ascontiguousarray(clips)).to(torch.float32) / FULL_SCALE
    if kind == "s4":
        signal = signal / FULL_SCALE
    with torch.no_grad():
        cepstra: np.ndarray = _mfcc_transform()(signal).transpose(1, 2).contiguous().numpy()
    return cepstra


def speech_commands(folder: Path, subset: str) -> list[tuple[Path, str, str]]:
    """List the clips of a folder in Speech Commands' layout, as torchaudio reads it.

    folder: holds a folder a word and the two list files; subset: "training", "validation" or
    "testing". Returns (file, word, speaker), by file name. Raises DataError for a foreign layout.
    """
    archive = torchaudio().datasets.SPEECHCOMMANDS
    try:
        listing = archive(
            root=folder.parent.parent,
            folder_in_archive=folder.parent.name,
            url=f"{folder.name}.tar.gz",
            subset=subset,
        )
        found = [listing.get_metadata(i) for i in range(len(listing))]
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{folder} is not laid out as Speech Commands: {error}") from error
    return sorted((folder.parent / m[0], m[2], m[3]) for m in found)
