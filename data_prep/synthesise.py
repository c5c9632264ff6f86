"""A folder in Speech Commands' layout, spoken by espeak-ng and flite: real code on honest sound.

    python -m data_prep.synthesise FOLDER [--words 10|35] [--voices N]

Synthetic voices, not people: good for trying a pipeline end to end, no benchmark. As in the true
corpus a voice is in one split only (by the published rule, a hash of the speaker), the files are
mono PCM16 at 16 kHz of at most a second, and about a tenth of them are shorter.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from data_prep.audio import resample
from data_prep.datasets._speech_commands import SAMPLES, SC10_WORDS, SC35_WORDS
from data_prep.errors import DataError

_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
_VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7")
_FLITE = ("kal", "awb", "rms", "slt", "kal16")


def voices() -> list[tuple[str, ...]]:
    """Return the commands, without the word, of every voice that this machine has."""
    found: list[tuple[str, ...]] = []
    if shutil.which("flite"):
        found += [("flite", "-voice", voice, "-o", "/dev/stdout", "-t") for voice in _FLITE]
    if shutil.which("espeak-ng"):
        speakers = [a + v for v in _VARIANTS for a in _ACCENTS]
        found += [("espeak-ng", "-s", "150", "--stdout", "-v", s) for s in speakers]
    if not found:
        raise DataError("no voice here: install espeak-ng or flite.")
    return found


def speak(voice: Sequence[str], word: str) -> np.ndarray:
    """Return a word as int16 (samples <= 16000,) at 16 kHz, without the silence around it."""
    wav = subprocess.run([*voice, word], check=True, capture_output=True).stdout
    data, rate = soundfile.read(io.BytesIO(_with_true_size(wav)), dtype="float32")
    signal = resample(data, int(rate), SAMPLES)
    loud = np.flatnonzero(np.abs(signal) > 0.01)
    if len(loud) == 0:
        raise DataError(f"{' '.join(voice)} says nothing for {word!r}.")
    signal = signal[loud[0] : loud[-1] + 1][:SAMPLES]
    scaled: np.ndarray = np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)
    return scaled


def _with_true_size(wav: bytes) -> bytes:
    """A WAV file that was written to a pipe does not know its size."""
    data = wav.index(b"data") + 8
    sizes = ((4, len(wav) - 8), (data - 4, len(wav) - data))
    fixed = bytearray(wav)
    for place, size in sizes:
        fixed[place : place + 4] = size.to_bytes(4, "little")
    return bytes(fixed)


def split_of(speaker: str) -> str:
    """Return the split of a speaker by the published rule: a hash, 80/10/10 percent."""
    percent = (
        int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (1 << 27) * 100 / ((1 << 27) - 1)
    )
    return "validation" if percent < 10 else "testing" if percent < 20 else "training"


def make(folder: Path, *, words: Sequence[str] = SC35_WORDS, limit: int | None = None) -> int:
    """Write the folder, with the first `limit` voices (None: all); returns the number of clips."""
    lists: dict[str, list[str]] = {"validation": [], "testing": [], "training": []}
    for voice in voices()[:limit]:
        speaker = hashlib.sha1(" ".join(voice).encode()).hexdigest()[:8]
        for word in words:
            clip = speak(voice, word)
            lot = int(hashlib.sha1(f"{speaker}{word}".encode()).hexdigest(), 16)
            if lot % 10:
                room = SAMPLES - len(clip)
                before = lot // 10 % (room + 1)
                clip = np.pad(clip, (before, room - before))
            name = f"{word}/{speaker}_nohash_0.wav"
            (folder / word).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name, clip, SAMPLES, subtype="PCM_16")
            lists[split_of(speaker)].append(name)
    (folder / "_background_noise_").mkdir(exist_ok=True)
    for split in ("validation", "testing"):
        (folder / f"{split}_list.txt").write_text("".join(f"{n}\n" for n in lists[split]))
    return sum(len(names) for names in lists.values())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--words", type=int, choices=(10, 35), default=35)
    parser.add_argument("--voices", type=int, default=None)
    args = parser.parse_args()
    make(args.folder, words=SC10_WORDS if args.words == 10 else SC35_WORDS, limit=args.voices)


if __name__ == "__main__":
    main()
