"""The estimate extrapolates from small forward passes; here it is held against the real size."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import s4core
from s4core import TaskShape, model_names
from s4core.estimate import _saved_bytes, estimate

LONG = TaskShape(d_input=1, d_output=10, length=600)
TOKENS = TaskShape(d_input=12, d_output=4, length=300, tokens=True, ragged=True)


def block(name: str) -> dict[str, object]:
    known = {f.name for f in dataclasses.fields(s4core.model_config({"name": name}))}
    small = {"d_model": 16, "n_layers": 2, "d_state": 8, "blocks": 2}
    return {"name": name, **{k: v for k, v in small.items() if k in known}}


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("shape", [LONG, TOKENS], ids=["floats", "tokens"])
def test_saved_activations_are_within_a_tenth_of_the_truth(name: str, shape: TaskShape) -> None:
    """10 %: blocks of a scan or a kernel round their sizes up, which no straight line follows."""
    guess = estimate(block(name), shape, batch_size=3).activation_bytes
    assert guess == pytest.approx(_saved_bytes(block(name), shape, 3), rel=0.1)


@pytest.mark.parametrize("name", model_names())
def test_parameters_are_counted_and_nothing_random_is_left_behind(name: str) -> None:
    before = torch.get_rng_state()
    made = estimate(block(name), LONG, batch_size=1)
    assert torch.equal(before, torch.get_rng_state())
    model = s4core.build(block(name), LONG)
    assert made.parameters == sum(p.numel() for p in model.parameters())
    assert made.training_bytes > made.state_bytes == 16 * made.parameters


def test_a_larger_batch_needs_more() -> None:
    small, large = (estimate(block("s4d"), LONG, batch_size=b).activation_bytes for b in (8, 16))
    assert 1.8 < large / small < 2.0
