"""Optimiser groups: the rule that A, B and dt of a state space learn slowly and do not decay.

Which parameters these are, the modules say themselves: a module with `ssm_lr_parameters` (leaf
names of its own parameters) is a state space. Groups come in the order of the parameters, so that
a checkpoint fits the model that is built again from its config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import nn

from s4core.train.config import TrainConfig
from s4core.train.lamb import Lamb

Role = Literal["state", "dt", "input", "output", "bias", "norm", "other"]


def roles(model: nn.Module) -> dict[str, Role]:
    """Say what each trainable parameter of `model` is, by its full name.

    state: A and its low-rank part; dt; input: B; output: C and D of a state space; bias; norm: the
    weight of a normalisation; other: the rest.
    """
    found: dict[str, Role] = {}
    for prefix, module in model.named_modules():
        slow: tuple[str, ...] = getattr(module, "ssm_lr_parameters", ())
        around = bool(slow) or any(hasattr(m, "ssm_lr_parameters") for m in _inside(module))
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                name = f"{prefix}.{leaf}" if prefix else leaf
                found.setdefault(name, _role(module, leaf, slow, around))
    # Shared parameters appear once, under their first name, as in named_parameters().
    return {n: found[n] for n, p in model.named_parameters() if p.requires_grad}


def _inside(module: nn.Module) -> Iterator[nn.Module]:
    """The children of a module, those in lists too."""
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else (child,)


def _role(module: nn.Module, leaf: str, slow: tuple[str, ...], around: bool) -> Role:
    if leaf in slow:
        if "dt" in leaf:
            return "dt"
        return "input" if leaf.split("_")[0] == "B" else "state"
    if around and leaf in ("C", "C1", "C2", "D"):
        return "output"
    if leaf.endswith("bias"):
        return "bias"
    if "norm" in type(module).__name__.lower():
        return "norm"
    return "other"


def rate_and_decay(role: Role, train: TrainConfig) -> tuple[float, float]:
    """The full learning rate and the weight decay of a parameter that is `role`."""
    full, slow = (train.lr, train.weight_decay), (train.ssm_rate, train.ssm_weight_decay)
    match role:
        case "state":
            return slow
        case "dt":
            if train.dt_global:
                return full
            return slow if train.dt_lr is None else (train.dt_lr, train.ssm_weight_decay)
        case "input":
            rate = train.ssm_rate if train.B_lr is None else train.B_lr
            if train.ssm_decay == "BandCdecay":
                return rate, train.weight_decay
            return full if train.ssm_decay == "BfastandCdecay" else (rate, train.ssm_weight_decay)
        case "output":
            return slow if train.ssm_decay == "noBCdecay" else full
        case "bias":
            return train.lr, train.weight_decay if train.decay_bias else 0.0
        case "norm":
            return train.lr, train.weight_decay if train.decay_norm else 0.0
        case "other":
            return full


def parameter_groups(model: nn.Module, train: TrainConfig) -> list[dict[str, Any]]:
    """Group the parameters by role, in the order of their first appearance.

    A group has `params` (pairs of name and parameter), `role`, `lr`, `base_lr` (the full rate; lr
    follows the schedule) and `weight_decay`. By role, not by value: so the groups stay the same
    when a run goes on with other settings.
    """
    parameters = dict(model.named_parameters())
    groups: dict[Role, dict[str, Any]] = {}
    for name, role in roles(model).items():
        rate, decay = rate_and_decay(role, train)
        fresh: dict[str, Any] = {
            "params": [],
            "role": role,
            "lr": rate,
            "base_lr": rate,
            "weight_decay": decay,
        }
        groups.setdefault(role, fresh)["params"].append((name, parameters[name]))
    return list(groups.values())


def take_over(
    optimizer: torch.optim.Optimizer, said: Mapping[str, Any], *, with_state: bool
) -> None:
    """Go on from the `state_dict` that another run said, at the settings that this one has.

    with_state: with its moments, or with fresh ones. ValueError for groups of another model.
    """
    ours, theirs = optimizer.param_groups, said["param_groups"]
    if [g["param_names"] for g in theirs] != [g["param_names"] for g in ours]:
        raise ValueError("the optimiser's groups are those of another model")
    if with_state:
        groups = [{**g, "params": t["params"]} for g, t in zip(ours, theirs, strict=True)]
        optimizer.load_state_dict({**said, "param_groups": groups})


def state_kind(train: TrainConfig) -> str:
    """Name what the optimiser remembers of each parameter: of one kind, one can go on with it."""
    if train.optimizer in ("adamw", "adam", "lamb"):
        return "adam"
    return f"rmsprop, momentum {train.momentum > 0}" if train.optimizer == "rmsprop" else "sgd"


def build_optimizer(model: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser that `train` asks for, over `parameter_groups`."""
    groups = parameter_groups(model, train)
    # The fused step is one pass over memory; measured 3-6 times the speed of the loop on CPU.
    match train.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=train.lr, betas=train.betas, fused=True)
        case "sgd":
            # Of a step that the gradient scaler skips, the fused one keeps what lay in memory.
            fused = train.precision != "fp16"
            return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum, fused=fused)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=train.lr, momentum=train.momentum)
        case "lamb":
            return Lamb(groups, lr=train.lr, betas=train.betas)
