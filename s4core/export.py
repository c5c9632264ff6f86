"""A trained model as files that need none of this package's folders: weights, config and card.

`model.safetensors` holds the parameters and buffers, `config.json` what builds the module again
(model, shape, and the versions that made it), `README.md` is a card for people. With `onnx`,
`step.onnx` is one step of the recurrence: inputs `x` and the state's tensors, outputs `y` and the
next state's, for a batch of one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from s4core.config import TaskShape, from_mapping
from s4core.models import build
from s4core.train.fit import load_model

WEIGHTS, CONFIG, CARD, STEP = "model.safetensors", "config.json", "README.md", "step.onnx"


def export(
    source: Path,
    folder: Path,
    *,
    checkpoint: str = "best",
    facts: Mapping[str, Any] | None = None,
    onnx: bool = False,
) -> None:
    """Write the model kept in a training folder `source` to `folder` (made if need be).

    facts: JSON-ready lines for the card. Raises CheckpointError for a folder without a model and
    ValueError for a model that has no step mode, if `onnx` asks for it.
    """
    from safetensors.torch import save_file

    model, made_by = load_model(source, checkpoint=checkpoint)
    if onnx:
        _first_state(model)  # raises before a file is written
    folder.mkdir(parents=True, exist_ok=True)
    # Tied parameters are one tensor; the format wants each name to own its memory.
    weights = {name: t.detach().clone().contiguous() for name, t in model.state_dict().items()}
    save_file(weights, str(folder / WEIGHTS))
    config = {
        "model": made_by["model"],
        "shape": made_by["shape"],
        "made_with": {"torch": torch.__version__, "python": platform.python_version()},
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(_card(model, made_by, facts or {}), encoding="utf-8")
    if onnx:
        export_step(model, from_mapping(TaskShape, made_by["shape"]), folder / STEP)


def load_exported(folder: Path) -> nn.Module:
    """Build the module that `export` wrote, with its weights, in eval mode."""
    from safetensors.torch import load_file

    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model = build(config["model"], config["shape"])
    model.load_state_dict(load_file(str(folder / WEIGHTS)))
    return model.eval()


def export_step(model: nn.Module, shape: TaskShape, path: Path) -> None:
    """Write one step of the recurrence as ONNX, for a batch of one.

    The state's tensors are `state_0`, `state_1`, ...; a complex one has a last axis of two (real
    and imaginary part). Those that a step does not change, such as the discretised system, are
    constants of the file. `state_N.npy`-ready zeros to begin with are what `initial_state` gives.
    Raises ValueError for a model without a step mode, or with an operation that ONNX lacks.
    """
    state = _first_state(model)
    x = torch.zeros(1, dtype=torch.int64) if shape.tokens else torch.zeros(1, shape.d_input)
    step = _Step(model, state, x)
    arguments = (x, *step.inputs())
    names = [f"state_{i}" for i in range(len(arguments) - 1)]
    # Of the exporter's own, such as that torchvision is not installed.
    with warnings.catch_warnings(), _silent(logging.getLogger("torch.onnx")):
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(step.eval(), arguments, strict=False)
            program = program.run_decompositions(_DECOMPOSED)
            torch.onnx.export(
                program,
                f=str(path),
                input_names=["x", *names],
                output_names=["y", *(f"next_{name}" for name in names)],
                dynamo=True,
                verbose=False,
            )
        except Exception as error:
            cause = str(error.__cause__ or error).strip().splitlines()[-1]
            raise ValueError(
                f"torch's exporter does not take this model's step: {cause}"
            ) from error


def _first_state(model: Any) -> Any:
    """Make the state before the first step; ValueError if x and it alone do not give the step."""
    if getattr(model, "needs_dt", False):
        raise ValueError("its steps are irregular, and step.onnx has no input for their times.")
    return model.initial_state(1)


@contextlib.contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Drop what is no error; its children have no level of their own."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _addcmul(out: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    return out + (a * b if value == 1 else value * a * b)


# ONNX's functions for complex numbers lack this one.
_DECOMPOSED: dict[Any, Any] = {
    **torch.export.default_decompositions(),
    torch.ops.aten.addcmul.default: _addcmul,
}


class _Step(nn.Module):
    """`step` with what changes of its state as real tensors, which is all that ONNX knows."""

    model: Any

    def __init__(self, model: nn.Module, state: Any, x: Tensor) -> None:
        super().__init__()
        self.model = model
        leaves, self._structure = pytree.tree_flatten(state)
        with torch.no_grad():
            after = pytree.tree_leaves(self.model.step(torch.ones_like(x), state)[1])
        # A count of steps is a whole number; as a constant it would stand still.
        is_count = [isinstance(a, int) and a != b for a, b in zip(leaves, after, strict=True)]
        leaves = [torch.tensor(a) if c else a for a, c in zip(leaves, is_count, strict=True)]
        moves = [isinstance(a, Tensor) and a is not b for a, b in zip(leaves, after, strict=True)]
        self._places = [i for i, is_moved in enumerate(moves) if is_moved]
        self._leaves = leaves

    def inputs(self) -> list[Tensor]:
        """The state to begin with."""
        return [_real(self._leaves[i]).clone() for i in self._places]

    def forward(self, x: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, moving, strict=True):
            is_complex = self._leaves[place].is_complex()
            leaves[place] = torch.view_as_complex(tensor) if is_complex else tensor
        y, state = self.model.step(x, pytree.tree_unflatten(leaves, self._structure))
        after = pytree.tree_leaves(state)
        return (y, *(_real(after[place]) for place in self._places))


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _card(model: nn.Module, made_by: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    name = made_by["model"]["name"]
    parameters = sum(p.numel() for p in model.parameters())
    lines = [
        f"# {name}",
        "",
        f"{parameters:,} parameters. Built again by `s4core.export.load_exported(folder)`.",
        "",
        *(f"- {key}: {json.dumps(value)}" for key, value in facts.items()),
        "",
        "Settings of the training:",
        "",
        "```json",
        json.dumps({k: made_by[k] for k in ("model", "shape", "train")}, indent=2),
        "```",
    ]
    return "\n".join(lines) + "\n"
