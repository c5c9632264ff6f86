"""The wavelet front against recorded values and a direct sum."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import s4core
from s4core import TaskShape
from s4core.nn.wavelet import Wavelet, wavelet_scales

GOLDEN = Path(__file__).parents[2] / "golden" / "s4torch_part.npz"


def test_scales_and_magnitudes_equal_the_recorded_ones():
    with np.load(GOLDEN) as golden:
        x, scales = torch.tensor(golden["cwt/x"]), torch.tensor(golden["cwt/scales"])
        expected = torch.tensor(golden["cwt/X"]).abs()
    assert torch.allclose(wavelet_scales(64), scales, rtol=1e-12)
    front = Wavelet(1, 50, crop=False)
    # The record was made in float32.
    assert (front(x[..., None]) - expected.transpose(1, 2)).abs().max() < 1e-5 * expected.max()
    assert Wavelet(1, 50)(x[..., None]).shape == (2, 50, 62)


@pytest.mark.parametrize(("n0", "count"), [(64, 62), (32768, 170), (65536, 182)])
def test_the_number_of_scales_is_the_published_one(n0, count):
    assert len(wavelet_scales(n0)) == count


def test_a_sine_is_brightest_at_its_own_period():
    t = torch.arange(256, dtype=torch.float64)
    front = Wavelet(1, 256).double()
    magnitude = front(torch.sin(2 * math.pi * t / 16.0)[None, :, None])[0, 128]
    period = 4 * math.pi / (6 + math.sqrt(38)) * front.scales[magnitude.argmax()]
    assert abs(math.log2(period / 16.0)) < 0.1


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_the_shortest_sequences_have_finite_magnitudes_and_gradients(length):
    for x in (torch.randn(2, length, 3), torch.zeros(2, length, 3)):
        x.requires_grad_()
        y = Wavelet(3, length)(x)
        y.sum().backward()
        assert y.isfinite().all() and x.grad.isfinite().all()


def test_a_model_with_a_wavelet_front_classifies_and_refuses_to_step():
    block = {"name": "s4d", "front": "wavelet", "d_model": 4, "n_layers": 1, "d_state": 4}
    model = s4core.build(block, TaskShape(d_input=2, d_output=3, length=20))
    assert model(torch.randn(2, 20, 2)).shape == (2, 3)
    with pytest.raises(ValueError, match="cannot step"):
        model.initial_state(1)
    with pytest.raises(ValueError, match="this task has tokens"):
        s4core.build(block, TaskShape(d_input=2, d_output=3, length=20, tokens=True))
