"""Looking into a trained model: the kernels of its systems, their poles, where it errs.

Plain numpy comes out, so that whoever draws needs no torch.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from s4core.config import TaskShape, from_mapping
from s4core.train.data import TrainData, to_device
from s4core.train.fit import choose_device, load_model


@dataclasses.dataclass(frozen=True)
class Portrait:
    """One system of a model.

    name: its place in the model. kernel: impulse response (C * H, L), channel-major. poles:
    eigenvalues (F, 2 n) of the step from one state to the next, complex, for F of the features;
    empty for a system that keeps no state tensor `x`.
    """

    name: str
    kernel: np.ndarray[Any, Any]
    poles: np.ndarray[Any, Any]


def portraits(folder: Path, *, length: int | None = None, features: int = 16) -> list[Portrait]:
    """Portray the systems of the model kept in `folder` (best.pt), in the order of its layers.

    length: steps of the impulse response, None for the task's. features: how many of a system's
    features have their poles taken. [] for a model without systems of s4core.ssm that have kernels.
    Raises CheckpointError.
    """
    model, made_by = load_model(folder)
    length = length or from_mapping(TaskShape, made_by["shape"]).length
    with torch.no_grad():
        return [
            Portrait(
                name=name,
                kernel=system.kernel(length).float().flatten(0, 1).cpu().numpy(),
                poles=poles(system, features=features),
            )
            for name, system in model.named_modules()
            if _is_system(system)
        ]


def poles(system: Any, *, features: int = 16) -> np.ndarray[Any, Any]:
    """Eigenvalues (F, 2 n) of a system's step, for F features spread evenly over all.

    The step is taken as it is, so that this holds for any structure: it is applied to a basis of
    the states (real and imaginary parts apart, since it may conjugate), which gives its matrix.
    """
    state = system.initial_state(1)
    x = getattr(state, "x", None)
    if x is None or x.ndim != 3:
        return np.empty((0, 0), dtype=np.complex128)
    n = x.shape[-1]
    basis = torch.eye(n, dtype=x.dtype, device=x.device)
    if x.is_complex():
        basis = torch.cat([basis, 1j * basis])
    states = basis.unsqueeze(1).expand(-1, *x.shape[1:]).contiguous()
    silence = torch.zeros(len(basis), x.shape[1], dtype=states.real.dtype, device=x.device)
    _, after = system.step(silence, state._replace(x=states))
    rows = after.x
    if rows.is_complex():
        rows = torch.cat([rows.real, rows.imag], -1)
    matrices = rows.permute(1, 2, 0).double().cpu().numpy()  # (H, states after, states before)
    chosen = np.unique(np.linspace(0, len(matrices) - 1, features).round().astype(int))
    return np.asarray(np.linalg.eigvals(matrices[chosen]))


def confusion(
    folder: Path,
    data: TrainData,
    split: str = "test",
    *,
    batch_size: int = 100,
    seconds: float = math.inf,
) -> np.ndarray[Any, Any]:
    """Counts (classes, classes) of the model kept in `folder`: true class by row, said by column.

    seconds: after so long no further batch is taken, so the counts may be of a part of the split.
    Raises CheckpointError, and ValueError for a task that has not one label a sequence.
    """
    device = choose_device(None)
    model, made_by = load_model(folder, device=device)
    shape = from_mapping(TaskShape, made_by["shape"])
    if shape.target != "class":
        raise ValueError(f"a confusion matrix needs the target 'class', got {shape.target!r}.")
    until = time.monotonic() + seconds
    counts = np.zeros((shape.d_output, shape.d_output), dtype=np.int64)
    with torch.no_grad():
        for batch in data.batches(split, batch_size=batch_size, epoch=0, seed=0, shuffle=False):
            if time.monotonic() > until:
                break
            t = to_device(batch, device, tokens=shape.tokens)
            said = model(t.x, lengths=t.lengths, rate=t.rate, dt=t.dt).argmax(-1)
            np.add.at(counts, (t.y.cpu().numpy(), said.cpu().numpy()), 1)
    return counts


def _is_system(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("kernel", "step", "ssm_lr_parameters"))
