"""The kernels of the systems that are no S4: by their definitions."""

import pytest
import torch

from s4core import TaskShape, build
from s4core.nn.ema import EmaSystem
from s4core.nn.frequency import SobolevSystem
from s4core.nn.long_conv import LongConv
from s4core.nn.ssm_layer import SSMLayer


def test_the_moving_average_has_the_published_kernel():
    torch.manual_seed(0)
    ema = EmaSystem(3, d_state=4, channels=2).double()
    p, a = torch.sigmoid(ema.delta), torch.sigmoid(ema.alpha)
    powers = (1 - p * a)[..., None] ** torch.arange(9)
    expected = torch.einsum("chn,hn,hnl->chl", ema.gamma / 2.0, p * ema.beta, powers)
    assert (ema.kernel(9) - expected).abs().max() < 1e-14


def test_the_moving_average_at_half_the_samples_sees_the_same_held_input():
    torch.manual_seed(0)
    ema = EmaSystem(3, d_state=4).double()
    fine, coarse = ema.kernel(10), ema.kernel(5, 2.0)
    # A held input reaches the coarse grid's points through pairs of fine kernel values.
    assert ((fine[..., 0::2] + fine[..., 1::2]) - coarse).abs().max() < 1e-14


def test_the_moving_average_starts_as_published():
    torch.manual_seed(0)
    ema = EmaSystem(400, d_state=16)
    assert abs(ema.delta.std() - 0.2) < 0.01
    assert abs(ema.alpha.std() - 0.2) < 0.01
    assert (ema.beta.mean(0)[::2] - 1.0).abs().max() < 0.01
    assert (ema.beta.mean(0)[1::2] + 1.0).abs().max() < 0.01
    assert abs(ema.gamma.std() - 1.0) < 0.05


def test_a_free_kernel_is_squashed_and_belongs_to_one_rate():
    torch.manual_seed(0)
    conv = LongConv(4, l_max=16, squash=0.1)
    k = conv.kernel(8)
    assert ((conv.K[..., :8].abs() <= 0.1) == (k == 0)).all()
    with pytest.raises(ValueError, match="need rate 1"):
        conv.kernel(8, 2.0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_sobolev_filter_scales_the_gain_at_each_frequency(bidirectional):
    """A wave that fills the middle of a long input comes out scaled by (1 + s)^beta."""
    torch.manual_seed(0)
    length, s = 512, 2 * torch.pi * 40 / 512
    system = EmaSystem(2, d_state=4, channels=2 if bidirectional else 1).double()
    layers = [
        SSMLayer(system, bidirectional=bidirectional),
        SSMLayer(SobolevSystem(system, 0.7, bidirectional=bidirectional), bidirectional=True),
    ]
    wave = torch.cos(s * torch.arange(length, dtype=torch.float64))[None, :, None].repeat(1, 1, 2)
    plain, filtered = ((layer.double()(wave) - layer.D * wave)[0, 240:272] for layer in layers)
    assert (filtered - (1 + s) ** 0.7 * plain).abs().max() < 2e-3 * plain.abs().max()


def test_a_filtered_model_looks_ahead_and_cannot_step():
    block = {"name": "s4d", "d_model": 4, "n_layers": 1, "d_state": 4, "sobolev": -0.5}
    model = build(block, TaskShape(d_input=2, d_output=3, length=20))
    assert model(torch.randn(2, 20, 2)).isfinite().all()
    with pytest.raises(ValueError, match="needs the future"):
        model.initial_state(1)
