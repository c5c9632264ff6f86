"""Real sweep folders, laid out exactly as `sweeps` and `cluster` write them."""

from __future__ import annotations

import json
import math
import os
import random
import socket
from pathlib import Path

import psutil

from sweeps.types import Objective, TrialResult, TrialSpec, TrialState

START = 1_790_000_000.0  # some moment in unix seconds, so that times are the same on every run


def make_sweep(home: Path, name: str = "demo", *, trials: int = 3, epochs: int = 4) -> Path:
    """A sweep that is over: trial n reaches an accuracy of 0.5 + n / 100 in its last epoch."""
    folder = home / "sweeps" / name
    (folder / "trials").mkdir(parents=True)
    (folder / "sweep.yaml").write_text(f"name: {name}\n")
    goals = [{"metric": "val/accuracy", "mode": "max"}]
    (folder / "spec.json").write_text(json.dumps({"name": name, "objectives": goals}))
    for number in range(trials):
        start_trial(folder, number)
        for epoch in range(1, epochs + 1):
            add_epoch(folder, number, epoch)
        end_trial(folder, number, epochs=epochs)
    return folder


def start_trial(folder: Path, number: int) -> Path:
    """spec.json and the first line of attempts.jsonl."""
    trial = folder / "trials" / f"{number:04d}"
    trial.mkdir(parents=True)
    lr = round(0.001 * (number + 1), 6)
    name = ("s4d", "s4")[number % 2]
    spec = TrialSpec(
        sweep=folder.name,
        number=number,
        data={"name": "smnist", "variant": "mlxtend5k"},
        model={"name": name, "d_model": 64, "init": "lin", "dropout": 0.1},
        train={"lr": lr, "epochs": 4, "betas": [0.9, 0.999]},
        objective=Objective(),
        seed=number,
        params={f"model.{name}.init": "lin", "train.lr": lr},
    )
    (trial / "spec.json").write_text(json.dumps(spec.to_json()))
    rows = {"train": 4000, "val": 500, "test": 500}
    data = {"name": "smnist", "fingerprint": "89abcdef01234567", "rows": rows}
    (trial / "data.json").write_text(json.dumps(data))
    _attempt(trial, number)
    return trial


def start_trial_again(folder: Path, number: int) -> None:
    """One more line in attempts.jsonl."""
    _attempt(folder / "trials" / f"{number:04d}", number)


def _attempt(trial: Path, number: int) -> None:
    attempt = {"time": START + 100 * number, "host": f"node{number % 2}", "device": "cpu"}
    attempt |= {"git_commit": "0123abc", "version": "0.1.0", "attempt": "1"}
    with (trial / "attempts.jsonl").open("a") as file:
        file.write(json.dumps(attempt) + "\n")


def add_epoch(folder: Path, number: int, epoch: int, **more: float) -> None:
    """One line of metrics.jsonl."""
    accuracy = 0.5 + number / 100 - 0.1 / epoch + 0.025
    metrics = {"val/accuracy": accuracy, "train/loss": math.exp(-epoch), "epoch_s": 9.0, **more}
    line = {"epoch": epoch, "metrics": metrics, "best": True, "stopped_by": None}
    line["time"] = START + 100 * number + 10 * epoch
    line["host"] = {"system/cpu_utilization_percentage": 90.0}
    with (folder / "trials" / f"{number:04d}" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def end_trial(
    folder: Path,
    number: int,
    *,
    epochs: int = 4,
    state: TrialState = TrialState.COMPLETED,
    error: str | None = None,
    **more: object,
) -> None:
    """result.json (`more`: what else it says), and best.pt."""
    trial = folder / "trials" / f"{number:04d}"
    spec = TrialSpec.from_json(json.loads((trial / "spec.json").read_text()))
    result = TrialResult(
        number=number,
        state=state,
        value=None if error else 0.5 + number / 100 - 0.1 / epochs + 0.025,
        best_epoch=None if error else epochs,
        epochs=epochs,
        error=error,
        params=spec.params,
        seconds=9.0 * epochs,
        ended=START + 100 * number + 10 * epochs + 1,
    )
    (trial / "best.pt").write_bytes(b"weights")
    (trial / "result.json").write_text(json.dumps({**result.to_json(), **more}))


def make_repeated_sweep(home: Path, name: str = "demo") -> Path:
    """Two configurations of two seeds: the best mean is 0.8, a lucky seed (trial 2) has 0.95."""
    folder = make_sweep(home, name, trials=0)
    known: list[dict[str, object]] = [
        {"value": 0.8, "repeats": [0.65, 0.95]},
        {"value": 0.7, "repeats": [0.7, 0.7]},
        {"value": 0.95, "replicate_of": 0},
        {"value": 0.7, "replicate_of": 1},
    ]
    for number, result in enumerate(known):
        start_trial(folder, number)
        add_epoch(folder, number, 1)
        end_trial(folder, number, epochs=1, **result)  # type: ignore[arg-type]
    return folder


def drive(folder: Path) -> None:
    """Let this process be the sweep's driver."""
    born = psutil.Process().create_time()
    lock = {"host": socket.gethostname(), "pid": os.getpid(), "born": born, "heartbeat": 0}
    (folder / "lock.json").write_text(json.dumps(lock))


def make_searched_sweep(home: Path, name: str = "searched", *, trials: int = 40) -> Path:
    """A sweep of two models as a search leaves it: stopped, pruned and failed trials, two hosts."""
    rng = random.Random(0)
    folder = home / "sweeps" / name
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(f"name: {name}\nobjective: {{metric: val/accuracy}}\n")
    goals = [{"metric": "val/accuracy", "mode": "max"}]
    train = {"lr": {"log_uniform": [0.0005, 0.05]}, "epochs": 12}
    spec = {"name": name, "objectives": goals, "model": {}, "data": {}, "train": train}
    (folder / "spec.json").write_text(json.dumps(spec))
    free = [START, START + 3]
    for number in range(trials):
        slot = free.index(min(free))
        free[slot] = _searched_trial(folder, number, rng, free[slot], f"node{slot}")
    return folder


def _searched_trial(
    folder: Path, number: int, rng: random.Random, began: float, host: str
) -> float:
    """Write one trial of `make_searched_sweep`; returns when it ended."""
    family = rng.choice(["s4d", "s4"])
    inits = {"s4d": ["lin", "inv", "legs"], "s4": ["legs", "fout"]}
    lr = 10 ** rng.uniform(-3.3, -1.3)
    chosen: dict[str, object] = {
        "model": family,
        f"model.{family}.init": rng.choice(inits[family]),
        "model.n_layers": rng.choice([2, 3, 4]),
        "model.dropout": rng.uniform(0.0, 0.2),
        "train.lr": lr,
    }
    if family == "s4":
        chosen["model.s4.d_state"] = rng.choice([16, 32, 64])
    model = {k.split(".")[-1]: v for k, v in chosen.items() if k.startswith("model.")}
    model["name"] = family
    spec = TrialSpec(
        sweep=folder.name,
        number=number,
        data={"name": "smnist", "variant": "mlxtend5k"},
        model=model,
        train={"lr": lr, "epochs": 12},
        objective=Objective(),
        seed=number,
        params=chosen,
    )
    trial = folder / "trials" / f"{number:04d}"
    trial.mkdir(parents=True)
    (trial / "spec.json").write_text(json.dumps(spec.to_json()))
    attempt = {"time": began, "host": host, "device": "cpu", "git_commit": "0123abc"}
    (trial / "attempts.jsonl").write_text(json.dumps(attempt) + "\n")
    top = 0.985 - 0.08 * (math.log10(lr) + 2.1) ** 2 - (0.015 if family == "s4d" else 0.0)
    fails = number % 13 == 7
    values = [top - 0.4 * math.exp(-e / 2.5) + rng.gauss(0, 0.004) for e in range(1, 13)]
    epochs = 2 if fails else 3 if values[2] < 0.8 else rng.choice([8, 12, 12])
    states = {3: TrialState.PRUNED, 8: TrialState.STOPPED, 12: TrialState.COMPLETED}
    lines, best, at = [], None, began
    for epoch, accuracy in enumerate(values[:epochs], 1):
        seconds = rng.uniform(8, 11)
        at += seconds
        best = accuracy if best is None else max(best, accuracy)
        metrics = {"val/accuracy": accuracy, "train/loss": 2 * math.exp(-epoch / 3)}
        metrics |= {"val/loss": 2.1 * math.exp(-epoch / 3), "epoch_s": seconds, "lr": lr}
        line = {"epoch": epoch, "metrics": metrics, "best": accuracy == best, "time": at}
        lines.append(json.dumps(line) + "\n")
    (trial / "metrics.jsonl").write_text("".join(lines))
    result = TrialResult(
        number=number,
        state=TrialState.FAILED if fails else states[epochs],
        value=None if fails else best,
        values=() if fails else (best or 0.0,),
        best_epoch=None if fails else 1 + values[:epochs].index(best or 0.0),
        epochs=epochs,
        error="Diverged: train/loss is <nan> at epoch 3" if fails else None,
        params=chosen,
        seconds=at - began,
        ended=at,
    )
    (trial / "result.json").write_text(json.dumps(result.to_json()))
    return at


def make_large_sweep(home: Path, name: str = "large", *, trials: int, epochs: int) -> Path:
    """A sweep that is over, with ten metrics an epoch."""
    folder = make_sweep(home, name, trials=0)
    for number in range(trials):
        trial = start_trial(folder, number)
        lines = []
        for epoch in range(1, epochs + 1):
            accuracy = 1 - math.exp(-epoch / 20) - number / 10_000
            metrics = {f"extra/{i}": 1.0 / (epoch + i) for i in range(7)}
            metrics |= {"val/accuracy": accuracy, "train/loss": 1 / epoch, "epoch_s": 1.0}
            at = START + 100 * number + epoch
            lines.append(json.dumps({"epoch": epoch, "metrics": metrics, "time": at}) + "\n")
        (trial / "metrics.jsonl").write_text("".join(lines))
        end_trial(folder, number, epochs=epochs)
    return folder
