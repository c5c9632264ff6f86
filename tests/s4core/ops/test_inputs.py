"""What a caller may pass: mixed and half precisions, lengths of numpy; other shapes are refused.

That float64 comes out of float64 inputs is tested with each function.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s4core import ops

B, L, H, P, CHANNELS = 2, 9, 3, 4, 2


@pytest.fixture
def given():
    """Inputs of every function in double precision, by name."""
    torch.manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, dtype=torch.complex128)

    return {
        "u": torch.randn(B, L, H, dtype=torch.float64),
        "A": torch.complex(-torch.rand(P, dtype=torch.float64), 3 * normal(P).real),
        "B": normal(P, H),
        "C": normal(H, P),
        "D": torch.randn(H, dtype=torch.float64),
        "dt": torch.rand(P, dtype=torch.float64) / 3,
        "x0": normal(B, P),
    }


def narrow(x):
    return x.to(torch.complex64 if x.is_complex() else torch.float32)


@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("name", ["u", "A", "B", "C", "D", "dt", "x0"])
def test_a_scan_takes_one_input_of_lower_precision_as_its_value(given, name, irregular):
    if irregular:
        given["dt"] = torch.rand(B, L, P, dtype=torch.float64) / 3
    low = {**given, name: narrow(given[name])}
    y = ops.mimo_scan(**low)
    want = ops.mimo_scan(**{**low, name: low[name].to(given[name].dtype)})
    assert y.dtype == torch.float64
    torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["A", "B", "C", "x0"])
def test_a_scan_takes_a_real_tensor_for_a_complex_one(given, name):
    """The state of a real x0 still turns."""
    real = {**given, name: given[name].real}
    want = ops.mimo_scan(**{**real, name: real[name].to(torch.complex128)})
    torch.testing.assert_close(ops.mimo_scan(**real), want)


def test_a_scan_names_a_shape_that_does_not_fit(given):
    with pytest.raises(ValueError, match=r"want dt of shape .*, here \(4,\) or .* got \(4, 1\)"):
        ops.mimo_scan(**{**given, "dt": given["dt"][:, None]})
    with pytest.raises(ValueError, match=r"want C of shape .*, here \(3, 4\), got \(3, 8\)"):
        ops.mimo_scan(**{**given, "C": torch.cat([given["C"]] * 2, 1)})
    with pytest.raises(ValueError, match=r"want C of shape .*, here \(3, 8\), got \(3, 4\)"):
        ops.mimo_scan(**given, bidirectional=True)


@pytest.mark.parametrize("degree", [None, 2])
@pytest.mark.parametrize("name", ["u", "A", "B", "C", "D", "dt"])
def test_a_liquid_scan_takes_one_input_of_lower_precision_as_its_value(given, name, degree):
    parts = {name: given[name].flatten()[:H, None] for name in ("A", "B", "C")}
    given |= {**parts, "dt": given["dt"][:H], "u": given["u"].transpose(1, 2)}
    del given["x0"]
    low = {**given, name: narrow(given[name])}
    y = ops.liquid_scan(**low, degree=degree)
    want = ops.liquid_scan(**{**low, name: low[name].to(given[name].dtype)}, degree=degree)
    assert y.dtype == torch.float64
    torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_convolution_has_the_higher_precision_of_its_inputs(dtype):
    u, k = torch.rand(B, H, L).to(dtype), torch.rand(H, L)
    assert ops.fft_conv(u, k.double()).dtype == torch.float64
    assert ops.fft_conv(u.double(), k).dtype == torch.float64
    y = ops.fft_conv(u, k.to(dtype), k_reverse=k.to(dtype))
    want = ops.fft_conv(u.float(), k.to(dtype).float(), k_reverse=k.to(dtype).float())
    assert y.dtype == dtype
    assert torch.equal(y, want.to(dtype))


@pytest.mark.parametrize("shape", [(CHANNELS, H, 5), (H, L), (1, H, L), (CHANNELS, 1, L)])
def test_a_reverse_kernel_of_another_shape_is_refused(shape):
    u, k = torch.randn(B, H, L), torch.randn(CHANNELS, H, L)
    with pytest.raises(ValueError, match=r"k_reverse wants the shape of k, \(2, 3, 9\), got"):
        ops.fft_conv(u, k, k_reverse=torch.randn(shape))


def test_nothing_convolved_is_nothing():
    u = torch.randn(B, H, 0, requires_grad=True)
    for k in (torch.randn(CHANNELS, H, 0), torch.randn(CHANNELS, H, L)):
        assert ops.fft_conv(u, k).shape == (B, CHANNELS * H, 0)
    ops.fft_conv(u, torch.randn(H, L)).sum().backward()


def kernels(A, Bs, C, dt):
    P = torch.randn(1, *A.shape, dtype=A.dtype)
    dense = torch.diag_embed(A)
    return {
        "diagonal": lambda C, length: ops.diagonal_kernel(A, Bs, C, dt, length),
        "dss": lambda C, length: ops.dss_kernel(A, C, dt, length),
        "dplr": lambda C, length: ops.dplr_kernel(A, P, Bs, C, dt, length),
        "truncated": lambda C, length: ops.truncated_dplr_kernel(A, P, Bs, C, dt, length),
        "dense": lambda C, length: ops.dense_kernel(dense, Bs, C, dt, length),
    }


@pytest.mark.parametrize("name", ["diagonal", "dss", "dplr", "truncated", "dense"])
def test_a_kernel_takes_a_length_of_numpy_and_names_a_wrong_readout(name):
    torch.manual_seed(0)
    A = torch.complex(-torch.rand(H, 2), torch.randn(H, 2))
    C = torch.randn(CHANNELS, H, 2, dtype=torch.complex64)
    kernel = kernels(A, torch.ones_like(A), C, torch.rand(H))[name]
    assert torch.equal(kernel(C, np.int64(L)), kernel(C, L))
    for wrong in (C[0], C[..., :1], C[:0]):
        with pytest.raises(ValueError, match=r"want a readout of shape \(channels, H, 2\), got"):
            kernel(wrong, L)


def test_the_bilinear_rule_has_a_gradient_where_a_state_forgets_all_in_one_step():
    """A dt = -2 gives A_bar = 0: K = 2 C dt / 2 (1, 0, ..), and dK[1]/dA is 2 dt^2 / 8."""
    A = torch.full((1, 1), -2.0 + 0j, dtype=torch.complex128, requires_grad=True)
    one = torch.ones(1, 1, dtype=torch.complex128)
    K = ops.diagonal_kernel(A, one, one[None], one.real[0], 4, discretization="bilinear")
    torch.testing.assert_close(K, torch.tensor([[[1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64))
    (dA,) = torch.autograd.grad(K[0, 0, 1], A)
    torch.testing.assert_close(dA, torch.full_like(dA, 0.25), rtol=1e-12, atol=0.0)
