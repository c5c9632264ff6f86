"""Nothing of a model stays on the CPU when its parameters and inputs are elsewhere.

The device "meta" has shapes and no numbers: to mix it with a CPU tensor, or to read a number of it,
raises.  Tests marked gpu run the same on a CUDA device.
"""

import pytest
import torch

import s4core
from s4core import TaskShape

SHAPE = TaskShape(d_input=3, d_output=5, length=70)
NAMES = s4core.model_names()
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make(name):
    torch.manual_seed(0)
    fields = {"d_model": 8, "n_layers": 2, "d_state": 8, "blocks": 2, "dropout": 0.1}
    known = s4core.model_config({"name": name})
    block = {k: v for k, v in fields.items() if hasattr(known, k)}
    return s4core.build({"name": name, **block}, SHAPE)


def test_the_meta_device_finds_what_stays_behind():
    x = torch.empty(2, device="meta")
    with pytest.raises(RuntimeError):
        x + torch.ones(2)
    with pytest.raises(RuntimeError):
        x.sum().item()


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward_stay_on_the_device_and_read_no_number(name):
    model = make(name).to("meta")
    model(torch.empty(2, 70, 3, device="meta")).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.device.type == "meta", key


@pytest.mark.parametrize("name", [n for n in NAMES if n != "s4nd"])
def test_steps_and_pieces_stay_on_the_device(name):
    model = make(name).eval().to("meta")
    y, state = model.step(torch.empty(2, 3, device="meta"), model.initial_state(2))
    y, state = model.forward_with_state(torch.empty(2, 9, 3, device="meta"), state)
    assert y.device.type == "meta"


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_computes_what_the_cpu_does(name):
    model, x = make(name).eval(), torch.randn(2, 70, 3)
    expected = model(x)
    expected.square().sum().backward()
    wanted = {k: p.grad for k, p in model.named_parameters()}
    twin = make(name).eval().to("cuda")
    y = twin(x.cuda())
    y.square().sum().backward()
    assert (y.cpu() - expected).abs().max() < 1e-4 * (1 + expected.abs().max())
    for key, parameter in twin.named_parameters():
        error = (parameter.grad.cpu() - wanted[key]).abs().max()
        assert error < 1e-3 * (1 + wanted[key].abs().max()), key


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_captured_graph_trains_like_eager_code(name):
    model, twin = make(name).eval().cuda(), make(name).eval().cuda()
    graphed = torch.compile(twin, mode="reduce-overhead", dynamic=False)
    for _ in range(4):  # compiled, warmed up, captured, replayed
        x = torch.randn(2, 70, 3, device="cuda")
        results = []
        for run, owner in ((model, model), (graphed, twin)):
            owner.zero_grad()
            torch.compiler.cudagraph_mark_step_begin()
            y = run(x)
            y.square().sum().backward()
            results.append([y.detach().clone(), *(p.grad.clone() for p in owner.parameters())])
        torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)
