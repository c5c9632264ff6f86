"""Run every model on a device that is not there, and print as JSON what went wrong with each.

torch's fake tensors have a shape, a dtype and a device but no values; an operation on tensors of
two devices raises as it would on a GPU, and so does a look at a value, which a GPU has to wait for.
The device is one of torch's for backends in Python: a build without CUDA has no autograd for cuda.
It changes the process, so the test starts it in one of its own: python -m tests.s4core.other_device
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import s4core
from tests.s4core.models.test_contract import CANNOT_STEP, SHAPE, make


class LeftBehind(nn.Module):
    """What must be found: it makes a tensor where the input is not."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x + torch.arange(3.0)


def moved(model: nn.Module, mode: FakeTensorMode, device: torch.device) -> nn.Module:
    """The model with fake parameters and buffers on the device."""

    def fake(x: Tensor) -> Tensor:
        return FakeTensor(mode, x.detach().to("meta"), device)

    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(fake(parameter))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fake(buffer)
    return model


def complaints(name: str, model: nn.Module, device: torch.device) -> list[str]:
    """What raises when the model answers for whole sequences, for padded ones and by steps."""
    mode = FakeTensorMode()
    model = moved(model, mode, device)

    def whole() -> Tensor:
        return model(torch.randn(2, SHAPE.length, 3, device=device))

    def padded() -> Tensor:
        x = torch.randn(2, SHAPE.length // 2, 3, device=device)
        return model(x, lengths=torch.ones(2, dtype=torch.long, device=device))

    def steps() -> Tensor:
        with torch.no_grad():
            _, state = model.step(torch.randn(2, 3, device=device), model.initial_state(2))
            return model.forward_with_state(torch.randn(2, 7, 3, device=device), state)[0]

    ways: list[Callable[[], Tensor]] = [whole, padded]
    if name not in CANNOT_STEP:
        ways.append(steps)
    found = []
    for way in ways:
        try:
            with mode:
                assert way().device == device
        except Exception as error:
            found.append(f"{way.__name__}: {type(error).__name__}: {error}")
    return found


def main() -> None:
    _setup_privateuseone_for_python_backend("fake_gpu")
    device = torch.device("fake_gpu:0")
    found = {"left behind": complaints("s4nd", LeftBehind(), device)}
    for name in s4core.model_names():
        model = make(name, n_layers=1).float().train()
        found[name] = complaints(name, model, device)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
