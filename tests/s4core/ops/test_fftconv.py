"""The FFT convolution against the sum that defines it."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from s4core.ops import fft_conv
from s4core.ops.fftconv import fft_conv_ref, fft_length


def by_definition(u, k, k_reverse=None):
    B, H, L = u.shape
    y = u.new_zeros(B, k.shape[0], H, L)
    for t in range(L):
        for s in range(L):
            if s <= t:
                y[..., t] += k[..., t - s] * u[:, None, :, s]
            elif k_reverse is not None:
                y[..., t] += k_reverse[..., s - t - 1] * u[:, None, :, s]
    return y.flatten(1, 2)


def inputs(B=2, H=3, C=2, L=7, dtype=torch.float64):
    torch.manual_seed(L)
    return (
        torch.randn(B, H, L, dtype=dtype),
        torch.randn(C, H, L, dtype=dtype),
        torch.randn(C, H, L, dtype=dtype),
    )


@pytest.mark.parametrize("length", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("channels", [1, 2])
def test_convolution_is_its_definition(length, channels):
    u, k, r = inputs(C=channels, L=length)
    tight = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(fft_conv(u, k), by_definition(u, k), **tight)
    torch.testing.assert_close(fft_conv(u, k[0]), by_definition(u, k[:1]), **tight)
    torch.testing.assert_close(fft_conv(u, k, k_reverse=r), by_definition(u, k, r), **tight)
    torch.testing.assert_close(fft_conv_ref(u, k, k_reverse=r), by_definition(u, k, r), **tight)


@pytest.mark.parametrize("length", [1, 5, 8])
def test_gradients(length):
    u, k, r = (t.requires_grad_() for t in inputs(L=length))
    assert gradcheck(lambda u, k: fft_conv(u, k), (u, k))
    if length > 1:
        assert gradcheck(lambda u, k, r: fft_conv(u, k, k_reverse=r), (u, k, r))


def test_blocks_of_features_do_not_show():
    """Large enough for several blocks; any strides."""
    u, k, _ = inputs(B=3, H=40, C=1, L=3000, dtype=torch.float32)
    y = fft_conv(u, k)
    assert (y - fft_conv_ref(u, k)).abs().max() < 1e-5 * y.abs().max()
    time_major = u.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    torch.testing.assert_close(fft_conv(time_major, k), y, rtol=0, atol=1e-4)


def test_an_empty_batch_gives_an_empty_answer_and_zero_gradients():
    u, k, _ = inputs(B=0)
    k.requires_grad_()
    y = fft_conv(u, k)
    assert y.shape == (0, 6, 7)
    y.sum().backward()
    assert (k.grad == 0).all()


def test_half_precision_input_is_convolved_in_the_precision_of_the_kernel():
    u, k, _ = inputs(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = fft_conv(u.bfloat16(), k)
    torch.testing.assert_close(y, fft_conv(u.bfloat16().float(), k), rtol=0, atol=0)


def test_shapes_that_do_not_fit_are_refused():
    u, k, _ = inputs()
    with pytest.raises(ValueError, match="at least 7 steps"):
        fft_conv(u, k[..., :6])
    with pytest.raises(ValueError, match="3 features"):
        fft_conv(u, k[:, :2])


def test_lengths_are_smooth_and_close():
    for least in [1, 2, 31, 33, 1000, 8191, 31999, 65537, 2**20 + 1]:
        n = fft_length(least)
        assert least <= n <= max(32, 1.25 * least + 32)
        for p in (2, 3, 5):
            while n % p == 0:
                n //= p
        assert n == 1


@pytest.mark.parametrize("features_first", [True, False])
def test_the_result_may_be_changed_in_place(features_first):
    u, k = torch.randn(2, 3, 8, requires_grad=True), torch.randn(3, 8)
    if features_first:
        u = u.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    y = fft_conv(u, k)
    y[0] *= 2
    (gradient,) = torch.autograd.grad(y.sum(), u)
    torch.testing.assert_close(gradient[0], 2 * gradient[1])
