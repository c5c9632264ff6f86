"""What a new model's parameters are drawn from: the published distributions."""

import math

import torch

from s4core import TaskShape, build
from s4core.nn.flax_form import in_flax_form
from s4core.nn.lru import LRU
from s4core.nn.s6 import S6
from s4core.nn.ssd import SSD

SHAPE = TaskShape(d_input=4, d_output=3, length=16)


def test_flax_linear_maps_are_lecun_normal_cut_at_two_sigma():
    torch.manual_seed(0)
    linear = torch.nn.Linear(256, 400)
    in_flax_form(linear)
    assert abs(linear.weight.std() * 16 - 1.0) < 0.01
    # The cut is at two underlying standard deviations, each 1 / 0.8796 of the resulting one.
    assert linear.weight.abs().max() * 16 < 2.0 / 0.8796 + 1e-3
    assert linear.bias.eq(0).all()


def test_s5_draws_its_maps_as_flax_does_and_s4_as_torch_does():
    torch.manual_seed(0)
    s5 = build({"name": "s5", "d_model": 128, "n_layers": 1, "d_state": 16}, SHAPE)
    s4d = build({"name": "s4d", "d_model": 128, "n_layers": 1, "d_state": 16}, SHAPE)
    assert abs(s5.backbone.blocks[0].output.linear.weight.std() * 128**0.5 - 1.0) < 0.02
    uniform = s4d.backbone.blocks[0].output.linear.weight
    assert abs(uniform.std() * (3 * 128) ** 0.5 - 1.0) < 0.02
    assert uniform.abs().max() <= 128**-0.5


def test_lru_eigenvalues_fill_the_ring_uniformly():
    torch.manual_seed(0)
    lru = LRU(64, d_state=20000, r_min=0.5, r_max=0.9, max_phase=math.pi / 10)
    radius, phase = torch.exp(-lru.nu.exp()), lru.theta.exp()
    assert radius.min() >= 0.5 and radius.max() <= 0.9
    area = (radius**2 - 0.25) / (0.81 - 0.25)
    assert abs(area.mean() - 0.5) < 0.01
    assert abs(area.var() - 1 / 12) < 0.005
    assert abs(phase.mean() / (math.pi / 10) - 0.5) < 0.01
    assert torch.allclose(lru.gamma.exp() ** 2, 1.0 - radius**2, atol=1e-5)
    assert abs(lru.B.std() * (2 * 64) ** 0.5 - 1.0) < 0.01
    assert abs(lru.C.std() * 20000**0.5 - 1.0) < 0.01


def test_selective_steps_are_log_uniform_and_decays_are_the_published_ones():
    torch.manual_seed(0)
    s6 = S6(2000, d_state=4, expand=2, d_conv=4, dt_rank=25, dt_min=0.001, dt_max=0.1)
    log_dt = torch.nn.functional.softplus(s6.dt_bias).log()
    low, high = math.log(0.001), math.log(0.1)
    assert abs(log_dt.mean() - (low + high) / 2) < 0.05
    assert abs(log_dt.std() - (high - low) / 12**0.5) < 0.05
    assert torch.allclose(s6.A_log.exp()[7], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert s6.to_dt.weight.abs().max() <= 25**-0.5
    ssd = SSD(4000, d_state=4, d_head=4, n_groups=1, expand=1, d_conv=4, dt_min=0.001, dt_max=0.1)
    A = ssd.A_log.exp()
    assert A.min() >= 1.0 and A.max() <= 16.0
    assert abs(A.mean() - 8.5) < 0.5
