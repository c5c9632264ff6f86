"""Every model of the registry is a module as torch's own tools expect one."""

import copy

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parameters_to_vector

import s4core
from tests.s4core.models.test_contract import SHAPE, inputs, make


@pytest.fixture(params=s4core.model_names())
def name(request):
    return request.param


def test_a_gradient_of_each_example_leaves_the_model_as_it_was(name):
    model, x = make(name), inputs()
    parameters, before = dict(model.named_parameters()), model(x)

    def loss(parameters, row):
        return functional_call(model, parameters, (row[None],)).square().sum()

    gradients = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    assert all(g.shape == (2, *parameters[k].shape) for k, g in gradients.items())
    assert torch.equal(copy.deepcopy(model)(x), before)


def test_a_state_dict_names_each_tensor_once(name):
    tensors = make(name).state_dict().values()
    assert len({t.data_ptr() for t in tensors}) == len(tensors)


def test_parameters_join_to_one_vector(name):
    model = make(name, bidirectional=True, liquid="pb")
    assert parameters_to_vector(model.parameters()).isfinite().all()


def test_a_model_is_built_on_the_default_device(name):
    block = {"name": name, "d_model": 16}
    with torch.device("meta"):
        model = s4core.build(block, SHAPE).eval()
    tensors = [*model.parameters(), *model.buffers()]
    assert {t.device.type for t in tensors} == {"meta"}
    there = s4core.build(block, SHAPE).eval()
    model.load_state_dict(there.state_dict(), assign=True)
    x = inputs().float()
    assert torch.equal(model(x), there(x))


def test_a_model_is_built_in_the_default_dtype(name):
    torch.set_default_dtype(torch.float64)
    try:
        model = s4core.build({"name": name, "d_model": 16}, SHAPE)
    finally:
        torch.set_default_dtype(torch.float32)
    tensors = [*model.parameters(), *model.buffers()]
    assert {t.dtype for t in tensors} == {torch.float64}
