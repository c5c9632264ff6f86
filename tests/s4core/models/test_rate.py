"""Every second sample at rate 2: what was trained at 16 kHz answers at 8 kHz without training."""

import dataclasses
import math

import pytest
import torch

import s4core
from s4core import TaskShape

# Their whole memory is a continuous system; s6 and ssd also have taps of a fixed number of samples,
# sashimi pools of one, and conv has no time scale at all.
CONTINUOUS = [n for n in s4core.model_names() if n not in {"conv", "s6", "ssd", "sashimi"}]
BOTH_WAYS = [n for n in CONTINUOUS if n != "liquid_s4"]


def make(name, length, **fields):
    torch.manual_seed(0)
    known = {f.name for f in dataclasses.fields(s4core.model_config({"name": name}))}
    wanted = {"d_model": 8, "n_layers": 2, "d_state": 8, "blocks": 2}
    wanted |= {"dt_min": 4 / length, "dt_max": 40 / length, **fields}
    block = {"name": name, **{k: v for k, v in wanted.items() if k in known}}
    shape = TaskShape(d_input=3, d_output=5, length=length, irregular="irregular" in fields)
    return s4core.build(block, shape).double().eval()


def smooth(length):
    t = torch.arange(length, dtype=torch.float64) / length
    return torch.stack([torch.sin(2 * math.pi * (k + 1) * t + k) for k in range(3)], -1)[None]


@pytest.mark.parametrize(
    ("name", "fields"),
    [(n, {}) for n in CONTINUOUS] + [(n, {"bidirectional": True}) for n in BOTH_WAYS],
)
def test_half_of_the_samples_of_a_smooth_signal_get_nearly_the_same_answer(name, fields):
    """The holds of both grids differ in first order: four times the samples, a quarter of it."""
    errors = {}
    for length in (128, 512):
        model, x = make(name, length, **fields), smooth(length)
        exact = model(x)
        errors[length] = (model(x[:, ::2], None, 2.0) - exact).abs().max()
        unaware = (model(x[:, ::2]) - exact).abs().max()
        assert errors[length] < 0.5 * unaware
    assert errors[512] < errors[128] / 2.5
    assert errors[512] < 0.02 * exact.abs().max()


@pytest.mark.parametrize("discretize", ["zoh", "bilinear"])
def test_s5_reads_a_rate_as_the_published_step_rescale(discretize):
    """step = step_rescale * exp(log_step); steps of length 2 in an irregular task are the same."""
    model, x = make("s5", 64, discretize=discretize), smooth(32)
    answer = model(x, None, 2.0)
    irregular = make("s5", 64, discretize=discretize, irregular="step")
    irregular.load_state_dict(model.state_dict())
    twice = torch.full((1, 32), 2.0, dtype=torch.float64)
    assert (irregular(x, dt=twice) - answer).abs().max() < 1e-12
    for block in model.backbone.blocks:
        block.mixer.dt.data += math.log(2.0)
    assert (model(x) - answer).abs().max() < 1e-12


@pytest.mark.parametrize("position", ["sinusoid", "learned"])
def test_a_sample_keeps_its_position_at_another_rate(position):
    model, x = make("s4d", 64, position=position, init="lin"), smooth(64)
    encoded = model.encoder(x)
    assert (model.encoder(x[:, ::2], rate=2.0) - encoded[:, ::2]).abs().max() < 1e-12
    finer = model.encoder(x.repeat_interleave(2, 1), rate=0.5)
    assert (finer[:, ::2] - encoded).abs().max() < 1e-12
    table = model.encoder.table.double()
    between = finer[:, 1:-1:2] - finer[:, :-2:2]
    assert (between - (table[1:] - table[:-1]) / 2).abs().max() < 1e-12
    assert model(smooth(128), None, 0.5).isfinite().all()


def test_a_position_beyond_the_last_one_is_refused():
    model, x = make("s4d", 8, position="learned"), smooth(8)
    _, state = model.forward_with_state(x, model.initial_state(1))
    with pytest.raises(ValueError, match="knows the positions of 8 steps"):
        model.forward_with_state(x[:, :1], state)


def test_a_wavelet_front_belongs_to_one_rate():
    model = make("s4d", 16, front="wavelet")
    with pytest.raises(ValueError, match="one step size: need rate 1, got 0.5"):
        model(smooth(32), None, 0.5)
