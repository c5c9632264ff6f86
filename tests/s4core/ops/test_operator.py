"""Operations under torch.compile, torch.func, vmap and torch's own checks of registered ones."""

from __future__ import annotations

import warnings

import pytest
import torch

from s4core.nn.ssm_layer import SSMLayer
from s4core.ops import diagonal_kernel, fft_conv
from s4core.ops.operator import Operator
from s4core.ops.precision import are_denormals_zero
from s4core.ssm.dense import DenseOptions, DenseSSM
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from s4core.ssm.dplr import DplrOptions, DplrSSM
from s4core.ssm.dss import DssOptions, DssSSM
from s4core.ssm.mimo import MimoOptions, MimoSSM

LAYERS = {
    "s4d": lambda: SSMLayer(DiagonalSSM(3, DiagonalOptions(d_state=4))),
    "s4d bidirectional": lambda: SSMLayer(
        DiagonalSSM(3, DiagonalOptions(d_state=4, discretize="bilinear"), channels=4),
        bidirectional=True,
    ),
    "s4 cauchy": lambda: SSMLayer(DplrSSM(3, DplrOptions(d_state=4), l_max=16)),
    "s4 krylov": lambda: SSMLayer(DplrSSM(3, DplrOptions(d_state=4, init="fout"), l_max=16)),
    "dss": lambda: SSMLayer(DssSSM(3, DssOptions(d_state=4), l_max=16)),
    "lssl": lambda: SSMLayer(DenseSSM(3, DenseOptions(d_state=4))),
    "s5": lambda: MimoSSM(3, MimoOptions(d_state=4, blocks=1)),
}


def answers(layer, x):
    parameters = list(layer.parameters())
    y = layer(x)
    return y.detach(), *torch.autograd.grad(y.square().sum(), [x, *parameters])


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_without_a_break_is_the_same(name):
    """The very first call too: torch runs it in an unusual state of its dispatcher."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    layer = LAYERS[name]()
    x = torch.randn(2, 16, 3, requires_grad=True)
    want = answers(layer, x)
    layer.compile(fullgraph=True, backend="aot_eager")
    for _ in range(2):
        for a, b in zip(answers(layer, x), want, strict=True):
            assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.slow
def test_inductor_compiles_a_layer():
    layer = LAYERS["s4 cauchy"]()
    x = torch.randn(2, 16, 3, requires_grad=True)
    want = answers(layer, x)
    with warnings.catch_warnings():
        # Of inductor's own: deprecations, and that it has no complex code generation.
        warnings.simplefilter("ignore")
        layer.compile(fullgraph=True)
        for a, b in zip(answers(layer, x), want, strict=True):
            assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.parametrize("name", LAYERS)
def test_torch_func_takes_gradients_and_maps_over_models(name):
    torch.manual_seed(0)
    models = [LAYERS[name]().double() for _ in range(2)]
    x = torch.randn(2, 16, 3, dtype=torch.float64)
    parameters, buffers = torch.func.stack_module_state(models)

    def loss(p, b, x):
        return torch.func.functional_call(models[0], (p, b), (x,)).square().sum()

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(0, 0, None))(parameters, buffers, x)
    for i, model in enumerate(models):
        model.zero_grad()
        model(x).square().sum().backward()
        for key, value in model.named_parameters():
            torch.testing.assert_close(together[key][i], value.grad, rtol=1e-6, atol=1e-6)


def test_registered_operations_pass_torchs_checks():
    u = torch.randn(2, 3, 8, requires_grad=True)
    k = torch.randn(2, 3, 8, requires_grad=True)
    torch.library.opcheck(torch.ops.s4core.circular_conv.default, (u, k, 16, 8))
    a = torch.rand(3, dtype=torch.float64).requires_grad_()
    b, x0 = torch.randn(2, 9, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    torch.library.opcheck(torch.ops.s4core.constant_scan.default, (a, b, x0, False))


@pytest.mark.parametrize("name", LAYERS)
def test_a_second_derivative_is_refused_and_not_wrong(name):
    """Where the loss is a plain sum too: nothing then flows into our backward but a constant."""
    torch.manual_seed(0)
    layer, x = LAYERS[name](), torch.randn(2, 16, 3, requires_grad=True)
    found = torch.autograd.grad(layer(x).sum(), [x, *layer.parameters()], create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        sum(g.square().sum() for g in found).backward()

    def steepness(x):
        return torch.func.grad(lambda x: layer(x).square().sum())(x).square().sum()

    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.func.grad(steepness)(x)


def test_a_second_derivative_that_is_zero_is_no_error():
    """A convolution is linear in its kernel, so the gradient is the same for each kernel."""
    u, k = torch.randn(1, 2, 4), torch.randn(1, 2, 4, requires_grad=True)
    (g,) = torch.autograd.grad(fft_conv(u, k).sum(), k, create_graph=True)
    assert not g.requires_grad


def test_an_operation_of_ones_own():
    op = Operator(
        "double_for_a_test", "Tensor x, int n", "y", keep="x",
        forward=lambda x, n: (n * x,), backward=lambda g, x, n: (n * g,),
    )  # fmt: skip
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: op(x, 2), x)
    assert torch.equal(torch.vmap(lambda x: op(x, 2))(x), 2 * x)


def test_no_denormal_number_is_computed_with_and_the_caller_keeps_its_own():
    """A mode that decays to e^-120 passes through them, which is slow on Intel's cores."""
    tiny = torch.finfo(torch.float32).tiny
    A, C = torch.full((1, 1), -0.5 + 0j), torch.ones(1, 1, 1, dtype=torch.cfloat)
    A.requires_grad_()
    for before in (False, True):
        torch.set_flush_denormal(before)
        try:
            k = diagonal_kernel(A, torch.ones_like(A), C, torch.full((1,), 0.1), 2400)
            (of_A,) = torch.autograd.grad(k[..., -1200:].sum(), A)
            assert are_denormals_zero() is before
        finally:
            torch.set_flush_denormal(False)
        assert not k[(k > 0) & (k < tiny)].numel() and k[..., 1700].item() > 0
        assert torch.isfinite(of_A.abs()).all()
