"""The layer's three modes over every system: conv, from a state, step."""

from __future__ import annotations

import copy

import pytest
import torch

from s4core.nn import ssm_layer
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from s4core.ssm.dplr import DplrOptions, DplrSSM

SYSTEMS = {
    "s4d": lambda c: DiagonalSSM(4, DiagonalOptions(d_state=6), channels=c),
    "s4d-real": lambda c: DiagonalSSM(4, DiagonalOptions(init="real", is_real=True), channels=c),
    "s4": lambda c: DplrSSM(4, DplrOptions(d_state=6, dt_min=0.01), l_max=30, channels=c),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("cuts", [(30,), (1, 29), (7, 8, 15), (0, 30)])
def test_pieces_with_a_carried_state_are_the_whole(name, cuts):
    layer = SSMLayer(SYSTEMS[name](2))
    u = torch.randn(3, 30, 4)
    state, parts = layer.initial_state(3), []
    for piece in u.split(cuts, 1):
        y, state = layer.forward_with_state(piece, state)
        parts.append(y)
    whole = layer(u)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-8, atol=1e-8)
    # The state of a piece is the state that step wants.
    y, _ = layer.step(u[:, 0], state)
    stepping = layer.initial_state(3)
    for t in range(30):
        _, stepping = layer.step(u[:, t], stepping)
    torch.testing.assert_close(y, layer.step(u[:, 0], stepping)[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["s4d", "s4d-real"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_blocks_and_fft_agree_in_values_and_gradients(name, dtype, tolerance, monkeypatch):
    """At a length that the rule gives to blocks, with a short block at its end."""
    if name == "s4d-real":
        options = DiagonalOptions(d_state=4, init="real", is_real=True)
    else:
        options = DiagonalOptions(d_state=6)
    layer = SSMLayer(DiagonalSSM(4, options)).to(dtype)
    u = torch.randn(4, 2, 1101, dtype=dtype).transpose(0, 1).requires_grad_()
    leaves, weight = [u, *layer.parameters()], torch.randn(2, 4, 1101, dtype=dtype)

    def run():
        y = layer.convolve(u, 0.5)
        return [y, *torch.autograd.grad((y * weight).sum(), leaves)]

    calls = []
    scan = ssm_layer.chunk_scan
    monkeypatch.setattr(ssm_layer, "chunk_scan", lambda *a: calls.append(a) or scan(*a))
    by_blocks = run()
    monkeypatch.setattr(ssm_layer, "BLOCKS", ())
    by_fft = run()
    assert len(calls) == 1
    for one, other in zip(by_blocks, by_fft, strict=True):
        assert (one - other).abs().max() < tolerance * other.abs().max()


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", [1, 30, 77, 130])
def test_a_layer_asked_to_scan_gives_what_it_gives_as_a_convolution(name, channels, length):
    system, u = SYSTEMS[name](channels), torch.randn(2, length, 4, requires_grad=True)
    scan, conv = (SSMLayer(system, mode=mode) for mode in ("scan", "conv"))
    conv.D = scan.D
    leaves, weight = [u, *scan.parameters()], torch.randn(2, length, 4 * channels)
    results = []
    for layer in (scan, conv):
        y = layer(u)
        results.append([y, *torch.autograd.grad((y * weight).sum(), leaves)])
    for one, other in zip(*results, strict=True):
        assert (one - other).abs().max() < 1e-9 * (1 + other.abs().max())


def test_a_bidirectional_layer_does_not_scan():
    with pytest.raises(ValueError, match="needs mode auto or conv"):
        SSMLayer(SYSTEMS["s4d"](2), bidirectional=True, mode="scan")


def test_kernel_dropout_leaves_values_out_in_training_alone():
    layer = SSMLayer(SYSTEMS["s4d"](1), kernel_dropout=0.25)
    impulse = torch.zeros(1, ssm_layer.BLOCKS[0][1], 4)
    impulse[:, 0] = 1
    k = layer.ssm.kernel(impulse.shape[1])[0].t()
    dropped = layer.train()(impulse)[0]
    dropped[0] -= layer.D[0]
    share = (dropped / k)[k.abs() > 1e-6] * 0.75
    assert ((share.round() - share).abs() < 1e-6).all()
    assert 0.7 < share.mean() < 0.8
    whole = layer.eval()(impulse)[0]
    whole[0] -= layer.D[0]
    torch.testing.assert_close(whole, k, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="a scan has no kernel"):
        SSMLayer(layer.ssm, mode="scan", kernel_dropout=0.25)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_bidirectional_layer_sees_the_future_and_the_past(name):
    layer = SSMLayer(SYSTEMS[name](2), bidirectional=True)
    assert layer.d_output == 4
    u = torch.zeros(1, 30, 4)
    u[:, 15] = 1
    y = layer(u)[0, :, 0]
    k = layer.ssm.kernel(30)[:, 0]
    torch.testing.assert_close(y[16:], k[0, 1:15], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(y[:15].flip(0), k[1, :15], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(y[15], k[0, 0] + layer.D[0, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SYSTEMS)
def test_autocast_leaves_the_layer_in_float32(name):
    layer = SSMLayer(SYSTEMS[name](1)).float()
    u = torch.randn(2, 30, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(u.bfloat16())
        stepped, _ = layer.step(u[:, 0].bfloat16(), layer.initial_state(2))
    assert y.dtype == stepped.dtype == torch.float32
    torch.testing.assert_close(y, layer(u.bfloat16().float()), rtol=0, atol=0)


def test_memory_with_channels_outermost_stays_so():
    layer = SSMLayer(SYSTEMS["s4d"](2))
    u = torch.randn(4, 3, 30).permute(1, 2, 0)
    y = layer(u)
    assert y.permute(2, 0, 1).is_contiguous()
    torch.testing.assert_close(y, layer(u.contiguous()), rtol=1e-12, atol=1e-12)


LONG = {
    "s4d": lambda init: DiagonalSSM(4, DiagonalOptions(d_state=64, init=init)),
    "s4": lambda init: DplrSSM(4, DplrOptions(d_state=64, init=init, rank=2), l_max=16384),
}


@pytest.mark.parametrize("mode", ["conv", "scan"])
@pytest.mark.parametrize("init", ["legs", "legt", "fourier", "foud", "lin", "quad"])
@pytest.mark.parametrize("name", LONG)
def test_single_precision_is_within_2e5_of_double_at_16384_steps(name, init, mode):
    """With the same parameters: what is made of them once per mode is made in float64."""
    layer = SSMLayer(LONG[name](init).float(), mode=mode).float()
    twin = copy.deepcopy(layer).double()
    twin.mode = "conv"
    u = torch.randn(1, 16384, 4, dtype=torch.float32)
    with torch.no_grad():
        y, exact = layer(u), twin(u.double())
    assert y.dtype == torch.float32
    assert (y - exact).abs().max() < 2e-5 * exact.abs().max()
