"""The ways torch can run a model: autocast, compiled, torch.func, data-parallel."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

import s4core
from s4core import TaskShape

SHAPE = TaskShape(d_input=3, d_output=5, length=32)
NAMES = s4core.model_names()
# float16 has no matrix products on some CPUs, and bfloat16 is what they train in.
HALVES = [torch.bfloat16, torch.float16]


def make(name, **fields):
    torch.manual_seed(0)
    block = {"name": name, "d_model": 8, "n_layers": 2, **fields}
    known = s4core.model_config({"name": name})
    if hasattr(known, "d_state"):
        block["d_state"] = 8
    if hasattr(known, "blocks"):
        block["blocks"] = 2
    return s4core.build(block, SHAPE)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", NAMES)
def test_autocast_stays_near_full_precision_and_trains(name, dtype):
    model, x = make(name), torch.randn(4, 32, 3)
    exact = model(x)
    with torch.autocast("cpu", dtype=dtype):
        y = model(x)
    assert y.dtype == dtype
    # Half precision has 3 digits (bfloat16: 8 bits) in every linear map.
    assert (y.float() - exact).abs().max() < 0.05 * (1 + exact.abs().max())
    y.float().square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_a_model_compiles_without_a_graph_break(name):
    model, x = make(name).train(), torch.randn(4, 32, 3)
    torch._dynamo.reset()
    # Inductor takes five minutes over sashimi's 631 operations; as such it has passed too.
    backend = "aot_eager" if name == "sashimi" else "inductor"
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for parameter in model.parameters():
        parameter.grad = None
    y = compiled(x)
    y.square().sum().backward()
    gradients = {k: p.grad.clone() for k, p in model.named_parameters()}
    torch.manual_seed(0)
    twin = make(name).train()
    expected = twin(x)
    expected.square().sum().backward()
    assert (y - expected).abs().max() < 1e-4 * (1 + expected.abs().max())
    for k, p in twin.named_parameters():
        assert (gradients[k] - p.grad).abs().max() < 1e-3 * (1 + p.grad.abs().max()), k


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["s4", "s4d"])
@torch.no_grad()
def test_a_compiled_model_takes_other_lengths(name):
    model = make(name).eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for length in (32, 21, 12):
        x = torch.randn(2, length, 3)
        assert (compiled(x) - model(x)).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["s4", "s4d", "dss", "liquid_s4", "s5", "lru", "s6", "ssd"])
@torch.no_grad()
def test_a_step_compiles_without_a_graph_break(name):
    model = make(name).eval()
    torch._dynamo.reset()
    compiled = torch.compile(model.step, fullgraph=True)
    state = expected_state = model.initial_state(4)
    for x in torch.randn(4, 4, 3).unbind(1):
        y, state = compiled(x, state)
        expected, expected_state = model.step(x, expected_state)
        assert (y - expected).abs().max() < 1e-5 * (1 + expected.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_torch_func_gives_the_gradients_of_each_sample(name):
    model, x = make(name).double().eval(), torch.randn(3, 32, 3, dtype=torch.float64)
    parameters = dict(model.named_parameters())
    buffers = dict(model.named_buffers())

    def loss(parameters, sample):
        y = torch.func.functional_call(model, (parameters, buffers), (sample[None],))
        return y.square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    model(x).square().sum().backward()
    for key, parameter in parameters.items():
        expected = parameter.grad
        assert (each[key].sum(0) - expected).abs().max() < 1e-9 * (1 + expected.abs().max()), key


def _train_on_half(rank, port, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(5)
    x = torch.randn(4, 32, 3)
    for name in NAMES:
        model = DistributedDataParallel(make(name, norm="layer"))
        model(x[2 * rank : 2 * rank + 2]).square().mean().backward()
        if rank == 0:
            results.put((name, {k: p.grad.numpy() for k, p in model.module.named_parameters()}))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_make_the_gradient_of_the_whole_batch():
    """Complex parameters would lose their imaginary gradients here; ours are real."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = mp.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_train_on_half, args=(r, port, results)) for r in (0, 1)]
    for worker in workers:
        worker.start()
    gradients = dict(results.get(timeout=120) for _ in NAMES)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    torch.manual_seed(5)
    x = torch.randn(4, 32, 3)
    for name in NAMES:
        model = make(name, norm="layer")  # batch norm's statistics are of each half
        model(x).square().mean().backward()
        for key, parameter in model.named_parameters():
            error = (torch.from_numpy(gradients[name][key]) - parameter.grad).abs().max()
            assert error < 1e-5 * (1 + parameter.grad.abs().max()), f"{name}: {key}"
