"""Norms over (H, B, L) against torch's over (B, L, H), and of a step against the sequence."""

import pytest
import torch
import torch.nn.functional as F

from s4core.nn.norm import Norm

H, B, L = 6, 3, 5


def make(kind, **options):
    torch.manual_seed(0)
    norm = Norm(kind, H, **options).double()
    for p in norm.parameters():
        torch.nn.init.normal_(p, 1.0, 0.3)
    return norm, torch.randn(H, B, L, dtype=torch.float64, requires_grad=True)


def test_layer_equals_torchs():
    norm, x = make("layer")
    expected = F.layer_norm(x.permute(1, 2, 0), (H,), norm.weight, norm.bias)
    assert (norm(x) - expected.permute(2, 0, 1)).abs().max() < 1e-14


def test_rms_equals_torchs():
    norm, x = make("rms")
    expected = F.rms_norm(x.permute(1, 2, 0), (H,), norm.weight, 1e-5)
    assert (norm(x) - expected.permute(2, 0, 1)).abs().max() < 1e-14


@pytest.mark.parametrize(("kind", "groups"), [("instance", H), ("group", 1)])
def test_instance_and_group_equal_torchs(kind, groups):
    norm, x = make(kind)
    expected = F.group_norm(x.transpose(0, 1), groups, norm.weight, norm.bias)
    assert (norm(x).transpose(0, 1) - expected).abs().max() < 1e-14


def test_scalar_has_the_published_form():
    norm, x = make("scalar")
    std, mean = torch.std_mean(x, 0, correction=0, keepdim=True)
    expected = norm.weight / std * (x - mean + norm.bias)
    assert (norm(x) - expected).abs().max() < 1e-12


def test_batch_equals_torchs_with_its_running_statistics():
    norm, x = make("batch")
    torchs = torch.nn.BatchNorm1d(H).double()
    torchs.load_state_dict({**norm.state_dict(), "num_batches_tracked": torch.tensor(0)})
    for _ in range(2):
        expected = torchs(x.permute(1, 0, 2)).permute(1, 0, 2)
        assert (norm(x) - expected).abs().max() < 1e-14
    assert torch.allclose(norm.running_mean, torchs.running_mean, atol=1e-14)
    assert torch.allclose(norm.running_var, torchs.running_var, atol=1e-14)
    norm.eval(), torchs.eval()
    assert (norm(x) - torchs(x.permute(1, 0, 2)).permute(1, 0, 2)).abs().max() < 1e-14


def test_the_flax_form_keeps_the_biased_variance():
    norm, x = make("batch", momentum=0.05)
    norm.biased_running_var = True
    norm(x)
    biased = x.var((1, 2), correction=0)
    assert (norm.running_var - (0.95 + 0.05 * biased)).abs().max() < 1e-14


@pytest.mark.parametrize("kind", ["layer", "batch", "rms", "scalar", "none"])
def test_a_step_is_normalised_like_the_sequence_in_eval_mode(kind):
    norm, x = make(kind)
    norm(x)
    norm.eval()
    assert (norm.step(x[:, :, 2].t()) - norm(x)[:, :, 2].t()).abs().max() < 1e-14


@pytest.mark.parametrize("kind", ["instance", "group"])
def test_norms_over_time_refuse_to_step(kind):
    norm, x = make(kind)
    with pytest.raises(ValueError, match="cannot step"):
        norm.step(x[:, :, 0].t())


@pytest.mark.parametrize("kind", ["layer", "batch", "rms", "scalar", "instance", "group", "none"])
@pytest.mark.parametrize("shape", [(H, B, L), (H, 1, 1), (H, 0, L)])
def test_constant_input_and_tiny_batches_give_finite_values_and_gradients(kind, shape):
    norm, _ = make(kind)
    x = torch.full(shape, 0.3, dtype=torch.float64, requires_grad=True)
    y = norm(x)
    assert y.isfinite().all()
    y.sum().backward()
    assert x.grad is None or x.grad.isfinite().all()
