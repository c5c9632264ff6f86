"""For every data set a small sample of its raw files, in the published layout: none is left out.

`SAMPLES[name](folder)` writes the raw files and returns the options that read them.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data_prep.datasets._speech_commands import SC35_WORDS

Options = dict[str, Any]


def rng() -> np.random.RandomState:
    return np.random.RandomState(7)


def tone(samples: int, pitch: float = 300.0) -> np.ndarray:
    wave = np.sin(np.arange(samples) * pitch * 2 * np.pi / 16_000)
    noise = rng().standard_normal(samples) * 0.1
    return np.round((wave + noise) * 9000).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def mnist(folder: Path) -> Options:
    images = rng().randint(0, 256, (120, 28, 28)).astype(np.uint8)
    labels = (np.arange(120) % 10).astype(np.uint8)
    for name, part in (("train", slice(100)), ("t10k", slice(100, None))):
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", images[part])
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", labels[part])
    return {}


def cifar(folder: Path) -> Options:
    for number, name in enumerate(["test_batch", *(f"data_batch_{i}" for i in range(1, 6))]):
        data = np.random.RandomState(number).randint(0, 256, (20, 3072)).astype(np.uint8)
        table = {b"data": data, b"labels": [i % 10 for i in range(20)]}
        with (folder / name).open("wb") as file:
            pickle.dump(table, file, protocol=2)
    return {}


def speech_commands(folder: Path) -> Options:
    """Each word by twelve speakers: eight to train with, two for each other part; some short."""
    lists: dict[str, list[str]] = {"validation": [], "testing": []}
    for number, word in enumerate(SC35_WORDS):
        for speaker in range(12):
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            length = 12_000 if speaker in (7, 11) else 16_000
            write_wav(folder / name, tone(length, 200 + 20 * number))
            if speaker >= 8:
                lists["validation" if speaker % 2 else "testing"].append(name)
    (folder / "_background_noise_").mkdir()
    for part, names in lists.items():
        (folder / f"{part}_list.txt").write_text("".join(f"{n}\n" for n in names))
    return {}


def imdb(folder: Path) -> Options:
    for split in ("train", "test"):
        for label, text in (("neg", "a dull film, \u00e9 "), ("pos", "a bright film! ")):
            (folder / split / label).mkdir(parents=True)
            for number in range(15):
                review = text * (1 + number)
                (folder / split / label / f"{number}_1.txt").write_text(review, encoding="utf-8")
    return {"min_freq": 20, "l_max": 100}


def aan(folder: Path) -> Options:
    texts = {f"P{n}": repr(f"paper {n}\nin words".encode() * (n + 1)) for n in range(8)}
    for split, count in (("train", 20), ("eval", 10), ("test", 10)):
        with (folder / f"new_aan_pairs.{split}.tsv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            for i in range(count):
                one, two = f"P{i % 8}", f"P{i * 3 % 8}"
                writer.writerow([f"{float(i % 2)}", one, two, texts[one], texts[two]])
    return {"l_max": 50}


def nsynth(folder: Path) -> Options:
    for fold, count in (("train", 11), ("valid", 4), ("test", 4)):
        notes = {}
        for i in range(count):
            name = f"note_{fold}_{i:03d}"
            write_wav(folder / f"nsynth-{fold}" / "audio" / f"{name}.wav", tone(64_000, 100 + i))
            notes[name] = {"instrument_family": i}
        (folder / f"nsynth-{fold}" / "examples.json").write_text(json.dumps(notes))
    return {}


def music(folder: Path) -> Options:
    for number in range(20):
        write_wav(folder / f"out{number}.wav", tone(3500, 100 + number))
    return {"length": 1000}


def bidmc(target: str) -> Callable[[Path], Options]:
    def write(folder: Path) -> Options:
        """Eight recordings; neighbouring windows of one share most of their samples."""
        windows = []
        for _recording in range(8):
            signal = np.random.RandomState(_recording).standard_normal((2, 4000 + 5 * 375))
            for start in range(0, 5 * 375, 375):
                windows.append(signal[:, start : start + 4000].astype(np.float32))
        for part, chosen in (("TRAIN", windows[:28]), ("TEST", windows[28:])):
            text = io.StringIO()
            text.write("@problemName x\n@targetlabel true\n@data\n")
            for number, window in enumerate(chosen):
                text.write(":".join(",".join(f"{v:.9g}" for v in row) for row in window))
                text.write(f":{10.5 + number}\n")
            (folder / f"BIDMC32{target}_{part}.ts").write_text(text.getvalue())
        return {}

    return write


def wikitext(folder: Path) -> Options:
    for split, lines in (("train", 60), ("valid", 8), ("test", 8)):
        text = "".join(f" \n = Title {i} = \n the <unk> cat sat {i} \n" for i in range(lines))
        (folder / f"wiki.{split}.tokens").write_text(text)
    return {"l_max": 16, "order": "windows"}


def folder_audio(folder: Path) -> Options:
    for number, name in enumerate(("bell", "horn", "whistle")):
        for speaker in range(10):
            write_wav(folder / name / f"{speaker}_take.wav", tone(900 + 50 * number, 200 * number))
    return {"length": 1000, "speaker": "^([^_]+)_"}


def csv_series(folder: Path) -> Options:
    """Long: 30 series of 4 to 8 steps at uneven times, two channels, three classes."""
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "at", "label", "speed", "heat"])
        random = rng()
        for series in range(30):
            moment = 0.0
            for _ in range(4 + series % 5):
                moment += random.uniform(0.5, 2)
                numbers = random.standard_normal(2) * (3, 10)
                writer.writerow([f"s{series}", moment, "abc"[series % 3], *numbers])
    return {"layout": "long", "time": "at"}


def nothing(**options: Any) -> Callable[[Path], Options]:
    return lambda folder: options


FEW = {"train": 40, "val": 10, "test": 10}

SAMPLES: dict[str, Callable[[Path], Options]] = {
    "aan": aan,
    "adding": nothing(**FEW, length=50),
    "beethoven": music,
    "bidmc_hr": bidmc("HR"),
    "bidmc_rr": bidmc("RR"),
    "bidmc_spo2": bidmc("SpO2"),
    "copying": nothing(**FEW),
    "csv_series": csv_series,
    "delay": nothing(**FEW, length=400, lag=50),
    "folder_audio": folder_audio,
    "imdb": imdb,
    "listops": nothing(**FEW, min_length=5, max_length=40),
    "lra_image": cifar,
    "nsynth": nsynth,
    "nsynth_short": nsynth,
    "pathfinder": nothing(**FEW),
    "pendulum": nothing(**FEW),
    "psmnist": mnist,
    "reconstruct": nothing(**FEW, length=400, l_mem=200),
    "sc09": speech_commands,
    "sc10": speech_commands,
    "sc35": speech_commands,
    "scifar": cifar,
    "smnist": mnist,
    "wikitext103": wikitext,
    "youtubemix": music,
}
