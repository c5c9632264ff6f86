"""Optimiser groups against the published ones, parameter by parameter."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from s4core import TaskShape, build
from s4core.train.config import OptimizerName, TrainConfig
from s4core.train.lamb import Lamb
from s4core.train.optim import build_optimizer, parameter_groups, rate_and_decay, roles

GOLDEN = Path(__file__).parents[2] / "golden"


class Leaves(nn.Module):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.ones(2)))


class System(Leaves):
    ssm_lr_parameters: ClassVar[tuple[str, ...]] = (
        *("A_real", "A_imag", "P", "B", "inv_dt"),
        *("Lambda_re", "Lambda_im", "log_step_dt"),
    )


class SomeNorm(Leaves):
    pass


def tree(names: list[str], *, system: str, norm: str) -> nn.Module:
    """Modules with the given dotted parameter names; those under `system` form a state space."""
    root = nn.Module()
    for name in names:
        *path, leaf = name.split(".")
        here = root
        for part in path:
            if not hasattr(here, part):
                kind = System if part == system else SomeNorm if part == norm else Leaves
                here.add_module(part, kind([]))
            here = getattr(here, part)
        here.register_parameter(leaf, nn.Parameter(torch.ones(2)))
    return root


def settings(model: nn.Module, train: TrainConfig) -> dict[str, tuple[float, float]]:
    return {
        name: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, train)
        for name, _ in group["params"]
    }


@pytest.mark.parametrize("case", ["raw__optim", "with_add_optimizer_hooks"])
def test_groups_are_those_of_the_official_s4(case):
    published = json.loads((GOLDEN / "optimizer_groups.json").read_text())[case]
    hooked = case == "with_add_optimizer_hooks"
    train = TrainConfig(
        lr=0.01, ssm_lr=0.001, weight_decay=0.05, decay_bias=not hooked, decay_norm=not hooked
    )
    model = tree(list(published), system="kernel", norm="norm")
    expected = {
        name: ((own or {}).get("lr", 0.01), (own or {}).get("weight_decay", 0.05))
        for name, own in published.items()
    }
    assert settings(model, train) == expected


S5_CASES = json.loads((GOLDEN / "s5_param_groups.json").read_text())


@pytest.mark.parametrize("case", S5_CASES)
def test_groups_are_those_of_the_published_s5(case):
    variant = case.split("|")[0]
    labels = {
        name.replace("/", ".").replace("log_step", "log_step_dt"): label
        for name, label in S5_CASES[case].items()
    }
    train = TrainConfig(
        lr=0.004, ssm_lr=0.001, weight_decay=0.05, decay_bias=True, decay_norm=True,
        ssm_decay=variant, dt_global="dt_global=True" in case,
    )  # fmt: skip
    model = tree(list(labels), system="seq", norm="norm")
    meaning = {"ssm": (0.001, 0.0), "regular": (0.004, 0.05), "none": (0.001, 0.05)}
    assert settings(model, train) == {name: meaning[label] for name, label in labels.items()}


def test_a_skip_beside_the_system_is_an_output_of_it():
    model = tree(["layer.D", "layer.system.C", "D"], system="system", norm="norm")
    assert roles(model) == {"D": "other", "layer.D": "output", "layer.system.C": "output"}


def test_dt_can_have_its_own_rate():
    train = TrainConfig(lr=0.01, dt_lr=0.01)
    assert rate_and_decay("dt", train) == (0.01, 0.0)
    assert rate_and_decay("state", train) == (0.001, 0.0)
    assert rate_and_decay("state", TrainConfig(lr=0.0002)) == (0.0002, 0.0)
    assert rate_and_decay("dt", TrainConfig(ssm_lr=0.002)) == (0.002, 0.0)


def test_B_and_what_decays_can_be_set_apart():
    train = TrainConfig(lr=0.01, B_lr=0.0, dt_lr=0.002, ssm_weight_decay=0.1)
    assert rate_and_decay("state", train) == (0.001, 0.1)
    assert rate_and_decay("input", train) == (0.0, 0.1)
    assert rate_and_decay("dt", train) == (0.002, 0.1)
    assert rate_and_decay("output", train) == (0.01, 0.01)


def test_a_system_in_a_list_has_its_skip_among_the_outputs():
    block = {"name": "s4nd", "d_model": 4, "n_layers": 1, "d_state": 4}
    model = build(block, TaskShape(d_input=1, d_output=2, length=6, axes=(2, 3)))
    assert {r for n, r in roles(model).items() if n.endswith((".D", ".C"))} == {"output"}


def test_the_order_of_groups_does_not_depend_on_the_settings():
    model = tree(["a.bias", "s.B", "s.A_real", "s.C", "w"], system="s", norm="norm")
    order = [[n for n, _ in g["params"]] for g in parameter_groups(model, TrainConfig())]
    for train in (TrainConfig(weight_decay=0.0, lr=0.001), TrainConfig(ssm_decay="noBCdecay")):
        assert [[n for n, _ in g["params"]] for g in parameter_groups(model, train)] == order


def test_lamb_takes_steps_as_long_as_the_tensors():
    """Algorithm 2 of arXiv:1904.00962, written out for two steps of one tensor."""
    torch.manual_seed(0)
    x = nn.Parameter(torch.randn(5, dtype=torch.float64))
    begin, gradients = x.detach().clone(), torch.randn(2, 5, dtype=torch.float64)
    optimizer = Lamb([x], lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)
    m = v = torch.zeros(5, dtype=torch.float64)
    expected = begin
    for t, g in enumerate(gradients, 1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        r = (m / (1 - 0.8**t)) / ((v / (1 - 0.9**t)).sqrt() + 1e-6) + 0.3 * expected
        expected = expected - 0.1 * expected.norm() / r.norm() * r
        x.grad = g.clone()
        optimizer.step()
    torch.testing.assert_close(x.detach(), expected, rtol=1e-12, atol=1e-12)


def test_lamb_moves_a_tensor_of_zeros_and_bounds_the_steps_of_a_large_one():
    zero, large = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.full((4,), 50.0))
    zero.grad, large.grad = torch.ones(3), torch.ones(4)
    Lamb([zero, large], lr=0.1).step()
    torch.testing.assert_close(zero.detach(), torch.full((3,), -0.1))
    torch.testing.assert_close(large.detach(), torch.full((4,), 49.5))


@pytest.mark.parametrize("name", typing.get_args(OptimizerName))
def test_every_optimizer_takes_a_step_downhill(name):
    model = nn.Linear(3, 1)
    optimizer = build_optimizer(model, TrainConfig(optimizer=name, lr=0.05))
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(30):
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
