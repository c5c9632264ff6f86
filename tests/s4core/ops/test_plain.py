"""Forward mode, alone and over reverse mode, of every operation and of every model."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import s4core
from s4core.nn.selective_scan import selective_scan
from s4core.nn.ssd import ssd
from s4core.nn.ssm_layer import SSMLayer
from s4core.ops import diagonal_kernel, dplr_kernel, fft_conv, mimo_scan, truncated_dplr_kernel
from s4core.ops.dplr import krylov_kernel
from s4core.ops.scan import linear_scan
from s4core.ssm.dense import DenseOptions, DenseSSM
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from tests.s4core.models.test_contract import inputs, make


def real(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def step(*shape):
    return 0.1 + 0.1 * torch.rand(*shape, dtype=torch.float64)


def modes(*shape):
    return torch.complex(-step(*shape), real(*shape))


def coupled():
    return [modes(2, 3), *(torch.complex(real(c, 2, 3), real(c, 2, 3)) for c in (2, 1, 1)), step(2)]


def kernel_of(function, length):
    return lambda A, P, B, C, dt: function(A, P, B[0], C, dt, length)


def mimo(dt):
    return [real(2, 6, 2), modes(3), modes(3, 2), modes(2, 6), real(2), dt]


def piece(system):
    layer = SSMLayer(system).double()
    return lambda x: layer.forward_with_state(x, layer.initial_state(2))[0]


CALLS = {
    "vandermonde": (
        lambda *modes: diagonal_kernel(*modes, 9),
        lambda: [modes(2, 3), modes(2, 3), modes(1, 2, 3), step(2)],
    ),
    "closed_loop": (kernel_of(truncated_dplr_kernel, 7), coupled),
    "krylov, truncated": (kernel_of(krylov_kernel, 21), coupled),
    "krylov": (kernel_of(dplr_kernel, 21), coupled),
    "circular_conv": (fft_conv, lambda: [real(2, 2, 5), real(3, 2, 5)]),
    "mimo_scan": (lambda *a: mimo_scan(*a, bidirectional=True), lambda: mimo(step(3))),
    "irregular_scan": (lambda *a: mimo_scan(*a, bidirectional=True), lambda: mimo(step(2, 6, 3))),
    "constant_scan": (
        lambda *a: linear_scan(*a, reverse=True),
        lambda: [step(3), real(2, 7, 3), real(2, 3)],
    ),
    "varying_scan": (linear_scan, lambda: [step(2, 7, 3), real(2, 7, 3), real(2, 3)]),
    "chunk_scan, diagonal": (
        piece(DiagonalSSM(2, DiagonalOptions(d_state=4))),
        lambda: [real(2, 70, 2)],
    ),
    "chunk_scan, dense": (piece(DenseSSM(2, DenseOptions(d_state=3))), lambda: [real(2, 70, 2)]),
    "selective_scan": (
        lambda *a: selective_scan(*a)[0],
        lambda: [real(2, 7, 2), step(2, 7, 2), -step(2, 3), real(2, 7, 3), real(2, 7, 3)],
    ),
    "ssd_carry": (
        lambda x, log_a, B, C: ssd(x, log_a, B, C, x.new_zeros(1, 1, 1, 2))[0],
        lambda: [real(1, 70, 1, 1), -step(1, 70, 1), real(1, 70, 1, 2), real(1, 70, 1, 2)],
    ),
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        # Of torch's own: its jvp compiles some rules by torch.jit.
        warnings.filterwarnings("ignore", message=".*torch.jit.script")
        yield


@pytest.mark.parametrize("name", CALLS)
def test_an_operation_in_forward_mode(name):
    torch.manual_seed(0)
    function, draw = CALLS[name]
    arguments = [x.requires_grad_() for x in draw()]
    assert gradcheck(function, arguments, fast_mode=True, check_forward_ad=True)
    over = {"check_fwd_over_rev": True, "check_rev_over_rev": False, "check_undefined_grad": False}
    assert gradgradcheck(function, arguments, fast_mode=True, **over)


@pytest.mark.parametrize("name", s4core.model_names())
def test_a_model_in_forward_mode_over_reverse(name):
    model, x = make(name), inputs()
    v, e = torch.randn_like(x), 1e-5

    def slope(x):
        return torch.func.grad(lambda x: model(x).square().sum())(x)

    _, found = torch.func.jvp(slope, (x,), (v,))
    expected = (slope(x + e * v) - slope(x - e * v)) / (2 * e)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
