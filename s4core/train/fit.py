"""`fit`: a training run as a generator of epoch reports, which may end at any moment.

Three promises. The state is on disk before a report is handed out. Starting again is how a run
goes on: the reports already made are told again, then training continues as if nothing had been.
On a CPU the stream of reports equals that of an undisturbed run bit by bit, times and memory apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from s4core.config import TaskShape, from_mapping
from s4core.models import build
from s4core.train import checkpoint
from s4core.train.config import TrainConfig
from s4core.train.data import TrainData
from s4core.train.errors import CheckpointError
from s4core.train.patience import Mode
from s4core.train.report import EpochReport
from s4core.train.run import Request, Run
from s4core.train.training import Training


def fit(
    model: Any,
    shape: TaskShape | Mapping[str, Any],
    train: TrainConfig | Mapping[str, Any],
    data: TrainData,
    folder: Path | str,
    *,
    metric: str = "val/accuracy",
    mode: Mode = "max",
    seed: int = 0,
    device: torch.device | str | None = None,
    guard: Callable[[], None] | None = None,
) -> Iterator[EpochReport]:
    """Train until all epochs are done or patience runs out; yield a report for each epoch.

    model: a Config or a block with `name`; shape and train may be blocks too. folder: where last.pt
    and best.pt are kept, made if need be. metric, mode: the objective, which moves best.pt,
    patience and the plateau schedule.
    seed: >= 0. device: None is the GPU if there is one. guard: called before anything is put in
    place on disk; it raises if this process should no longer write there.

    The settings may change between two starts (more epochs, another rate, no patience), the model,
    the task and the objective may not.

    Under torch.distributed every process calls this and gets the same reports; rank 0 writes.
    Raises ConfigError, ValueError (a metric that the task lacks), Diverged, CheckpointError.
    """
    if isinstance(shape, Mapping):
        shape = from_mapping(TaskShape, shape, path="shape")
    if isinstance(train, Mapping):
        train = from_mapping(TrainConfig, train, path="train")
    if seed < 0:
        raise ValueError(f"need seed >= 0, got {seed}.")
    request = Request(
        model=model,
        shape=shape,
        train=train,
        data=data,
        folder=Path(folder),
        metric=metric,
        mode=mode,
        seed=seed,
        device=choose_device(device),
        guard=guard,
    )
    run = Run(request)
    yield from run.replayed
    while run.curve.stopped_by is None:
        yield run.finish_epoch(run.run_epoch())


def evaluate(
    folder: Path,
    data: TrainData,
    split: str = "test",
    checkpoint: str = "best",
    *,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Score the model kept in `folder` ("best" or "last") on a split: `{"test/loss": ...}`.

    On any device and backend eager, whatever it was trained on: one pass pays for no compiler.
    Raises CheckpointError if it is missing or damaged.
    """
    made_by, weights = _kept(folder, checkpoint)
    training = Training(
        made_by["model"],
        from_mapping(TaskShape, made_by["shape"]),
        from_mapping(TrainConfig, {**made_by["train"], "ema": 0.0, "backend": "eager"}),
        data,
        seed=made_by["seed"],
        device=choose_device(device),
    )
    training.model.load_state_dict(weights)
    return {f"{split}/{name}": value for name, value in training.evaluate(split).items()}


def load_model(
    folder: Path, checkpoint: str = "best", *, device: torch.device | str = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model kept in `folder` with its weights, in eval mode.

    Returns it with what made it: `model`, `shape`, `train`, `objective`, `seed` as plain data.
    """
    made_by, weights = _kept(folder, checkpoint)
    model = build(made_by["model"], made_by["shape"])
    model.load_state_dict(weights)
    return model.to(device).eval(), made_by


def choose_device(device: torch.device | str | None) -> torch.device:
    """The device asked for; without a wish the current GPU if there is one, else the CPU.

    Raises ValueError for one that is not there.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"no device {str(device)!r} here: {reason}") from error
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


def _kept(folder: Path, which: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What made the model kept in `folder`, and its weights."""
    if which not in ("best", "last"):
        raise ValueError(f"no checkpoint {which!r}: choose from best, last.")
    if which == "best":
        state = checkpoint.read(folder / checkpoint.BEST)
        return state["made_by"], state["model"]
    state_or_none = checkpoint.read_last(folder)
    if state_or_none is None:
        raise CheckpointError(folder / checkpoint.LAST, "is not there.")
    state = state_or_none
    if state["ema"] is None:
        return state["made_by"], state["model"]
    prefix = "module."
    weights = {k.removeprefix(prefix): v for k, v in state["ema"].items() if k.startswith(prefix)}
    return state["made_by"], weights
