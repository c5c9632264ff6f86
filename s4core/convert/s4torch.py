"""Weights of s4torch as a model of ours, with its system in dense real form.

Its A = diag(lambda) - p q^H has N complex modes that are no conjugate pairs once trained, p and
q are free of each other, and C~ enters as C~^H: none of our structures. As real and imaginary
parts it is a dense real system of 2 N states, for every length; C follows from C~ by a solve.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from s4core.config import TaskShape
from s4core.convert.arrays import Arrays, ConversionError, assign, assign_linear
from s4core.nn.block import Block
from s4core.nn.free_dense import FreeDenseSSM
from s4core.nn.model import SequenceModel
from s4core.nn.norm import Norm
from s4core.nn.options import StackOptions
from s4core.nn.ssm_layer import SSMLayer
from s4core.nn.stack import Stack


def s4torch_model(
    options: StackOptions, shape: TaskShape, state: Mapping[str, Any]
) -> SequenceModel:
    """Build a model of the options around the weights of an S4Model and load the rest of it.

    options: d_model, n_layers, norm, prenorm (norm_strategy "pre") or double_norm ("both"),
    block_pool and pool_stride, front; final_act and final_norm follow s4torch's.
    """
    options = dataclasses.replace(options, final_act="linear", final_norm=False)
    bag = Arrays(state, ignore=("num_batches_tracked",))
    layers = iter(range(options.n_layers))

    def make_mixer(d_model: int, l_max: int) -> SSMLayer:
        return s4torch_layer(_block(bag, next(layers)).below("1."), l_max)

    backbone = Stack(options, l_max=shape.length, make_mixer=make_mixer)
    model = SequenceModel(options, shape, backbone)
    blocks = [b for b in backbone.blocks if isinstance(b, Block)]
    for i, block in enumerate(blocks):
        _around(block, _block(bag, i))
    nested = "encoder.linear.weight" in bag
    assign_linear(model.encoder.linear, bag, "encoder.linear." if nested else "encoder.")
    assign_linear(model.decoder.readout.linear, bag, "decoder.")
    bag.done()
    return model


def s4torch_block(options: StackOptions, l_max: int, state: Mapping[str, Any]) -> Block:
    """The same for one S4Block (without its pooling): keys pipeline.0 to pipeline.6."""
    options = dataclasses.replace(options, final_act="linear")
    bag = Arrays(state)
    here = bag.below("pipeline.")
    layer = s4torch_layer(here.below("1."), l_max)
    block = Block(layer, options, d_model=layer.d_model, index=1)
    _around(block, here)
    bag.done()
    return block


def s4torch_layer(state: Mapping[str, Any] | Arrays, l_max: int) -> SSMLayer:
    """One S4Layer made for l_max steps: keys _p, _q, _lambda_, _B, _Ct, D, log_step."""
    bag = state if isinstance(state, Arrays) else Arrays(state)
    B = bag.take("_B")
    if B.ndim != 3 or B.shape[-1] != 2:
        raise ConversionError(f"want _B of (d_model, N, 2), got {tuple(B.shape)}.")
    H, N, _ = B.shape
    shapes = {"_p": (N, 2), "_q": (N, 2), "_lambda_": (1, 1, N, 2), "_B": B.shape, "_Ct": B.shape}
    p, q, lam, B, C = (
        torch.view_as_complex(bag.take(name, shape).double().contiguous())
        for name, shape in shapes.items()
    )
    A = torch.diag(lam.reshape(-1)) - torch.outer(p.reshape(-1), q.reshape(-1).conj())
    log_dt = bag.take("log_step", (H,)).double()
    readout = _plain_readout(A, C, log_dt.exp(), l_max)
    values = (
        torch.cat([torch.cat([A.real, -A.imag], 1), torch.cat([A.imag, A.real], 1)]),
        torch.cat([B.real, B.imag], 1),
        torch.cat([readout.real, -readout.imag], 1)[None],
        log_dt[:, None],
    )
    dtype = torch.get_default_dtype()
    layer = SSMLayer(FreeDenseSSM(*(v.to(dtype) for v in values)))
    assign(layer.D, bag.take("D").reshape(1, -1), "D")
    if bag is not state:
        bag.done()
    return layer


def _plain_readout(A: Tensor, C: Tensor, dt: Tensor, l_max: int) -> Tensor:
    """C with C (1 - A_bar^l_max) = C~^H, each feature by its own step."""
    eye = torch.eye(len(A), dtype=A.dtype)
    half = A * (dt[:, None, None] / 2.0)
    A_bar = torch.linalg.solve(eye - half, eye + half)
    rest = eye - torch.linalg.matrix_power(A_bar, l_max)
    rows: Tensor = torch.linalg.solve(rest, C.conj()[:, None], left=False)
    return rows[:, 0]


def _block(bag: Arrays, index: int) -> Arrays:
    """Block `index`, which later versions of s4torch keep one level deeper."""
    deeper = any(k.startswith(f"blocks.{index}.0.pipeline.") for k in bag)
    return bag.below(f"blocks.{index}.0.pipeline." if deeper else f"blocks.{index}.pipeline.")


def _around(block: Block, arrays: Arrays) -> None:
    assign_linear(block.output.linear, arrays, "4.")
    for norm, name in ((block.prenorm, "0."), (block.postnorm, "6.")):
        if isinstance(norm, Norm) and norm.kind != "none":
            here = arrays.below(name)
            if norm.kind == "batch":
                here = here.below(next(k.rpartition("weight")[0] for k in here if "weight" in k))
                assign(norm.running_mean, here.take("running_mean"), "running_mean")
                assign(norm.running_var, here.take("running_var"), "running_var")
            assign(norm.weight, here.take("weight"), "norm weight")
            assign(norm.bias, here.take("bias"), "norm bias")
