"""A trained model as files that need none of this package's folders: weights, config and card.

`model.safetensors` holds the parameters and buffers, `config.json` what builds the module again
(model, shape, and the versions that made it), `README.md` is a card for people. With `onnx`,
`step.onnx` is one step of the recurrence: inputs `x` and the state's tensors, outputs `y` and the
next state's, for a batch of one.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
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

    The discretised system is in the state that `initial_state` gives, so what the file computes is
    matrix products and the activations. Raises ValueError for a model without a step mode.
    """
    initial: Any = model.initial_state
    state = initial(1)
    x = torch.zeros(1, dtype=torch.int64) if shape.tokens else torch.zeros(1, shape.d_input)
    leaves, structure = pytree.tree_flatten(state)
    step = _Step(model, structure)
    names = [f"state_{i}" for i in range(len(leaves))]
    torch.onnx.export(
        step,
        (x, *leaves),
        str(path),
        input_names=["x", *names],
        output_names=["y", *(f"next_{n}" for n in names)],
        dynamo=True,
    )


class _Step(nn.Module):
    """`step` with its state as a flat list of tensors, which is all that ONNX knows."""

    def __init__(self, model: nn.Module, structure: Any) -> None:
        super().__init__()
        self.model = model
        self.structure = structure

    def forward(self, x: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        state = pytree.tree_unflatten(leaves, self.structure)
        y, state = self.model.step(x, state)  # type: ignore[operator]
        return (y, *pytree.tree_leaves(state))


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
        "",
    ]
    return "\n".join(lines)
