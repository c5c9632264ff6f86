"""Weights of the JAX implementation of S5 (flax arrays, say from an npz) in our s5 model.

Names are paths joined by "/": params/encoder/layers_0/seq/B,
batch_stats/encoder/layers_0/norm/mean, ...; flax keeps linear maps as (in, out), ours are
(out, in).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from s4core.convert.arrays import Arrays, ConversionError, assign, assign_weight, wanted
from s4core.nn.block import Block
from s4core.nn.model import SequenceModel
from s4core.nn.norm import Norm
from s4core.nn.stack import Stack
from s4core.ssm.mimo import MimoSSM


def load_s5_model(model: SequenceModel, arrays: Mapping[str, Any]) -> None:
    """Load a classification or a retrieval model: encoder, layers and decoder."""
    bag = Arrays(arrays)
    with bag.into(wanted(model, SequenceModel)):
        _model(model, bag)


def load_s5_layer(system: MimoSSM, arrays: Mapping[str, Any]) -> None:
    """Load one system: Lambda_re, Lambda_im, B, C (or C1 and C2), D, log_step."""
    bag = Arrays(arrays)
    with bag.into(wanted(system, MimoSSM)):
        _system(system, bag)


def _model(model: SequenceModel, bag: Arrays) -> None:
    stack = wanted(model.backbone, Stack)
    params, stats = bag.below("params/"), bag.below("batch_stats/")
    # The retrieval model keeps its encoder one level deeper, beside its decoder.
    _dense(model.encoder.linear, params.below("encoder/encoder/"))
    blocks = [b for b in stack.modules() if isinstance(b, Block)]
    for i, block in enumerate(blocks):
        name = f"encoder/layers_{i}/"
        _layer(block, params.below(name), stats.below(name))
    readout = model.decoder.readout
    if model.shape.pairs:
        _dense(readout.join, params.below("decoder/layers_0/"))
        _dense(readout.linear, params.below("decoder/layers_2/"))
    else:
        _dense(readout.linear, params.below("decoder/"))


def _layer(block: Block, params: Arrays, stats: Arrays) -> None:
    if not isinstance(block.mixer, MimoSSM):
        raise ConversionError(f"no S5 weights for a {type(block.mixer).__name__}.")
    _system(block.mixer, params.below("seq/"))
    norm = block.prenorm if block.prenorm is not None else block.postnorm
    assert isinstance(norm, Norm)
    assign(norm.weight, params.take("norm/scale"), "norm/scale")
    assign(norm.bias, params.take("norm/bias"), "norm/bias")
    if norm.kind == "batch":
        assign(norm.running_mean, stats.take("norm/mean"), "norm/mean")
        assign(norm.running_var, stats.take("norm/var"), "norm/var")
    linear = block.output.linear
    if linear is None:
        return
    if block.output.final_act == "glu":
        halves, H = [params.below("out1/"), params.below("out2/")], linear.out_features // 2
        shape = (linear.in_features, H)
        weight = torch.cat([half.take("kernel", shape).t() for half in halves])
        assign_weight(linear, weight, "out1/kernel")
        assign(linear.bias, torch.cat([half.take("bias", (H,)) for half in halves]), "out1/bias")
    else:
        _dense(linear, params.below("out2/"))


def _system(system: MimoSSM, arrays: Arrays) -> None:
    assign(system.A_real, arrays.take("Lambda_re"), "Lambda_re")
    assign(system.A_imag, arrays.take("Lambda_im"), "Lambda_im")
    assign(system.B, arrays.take("B"), "B")
    if "C1" in arrays:
        H, states, _ = system.C.shape
        C = torch.cat([arrays.take(name, (H, states // 2, 2)) for name in ("C1", "C2")], dim=1)
    else:
        C = arrays.take("C")
    assign(system.C, C, "C")
    assign(system.D, arrays.take("D"), "D")
    assign(system.dt, arrays.take("log_step", (len(system.dt), 1))[:, 0], "log_step")


def _dense(linear: nn.Linear, arrays: Arrays) -> None:
    shape = linear.in_features, linear.out_features
    assign_weight(linear, arrays.take("kernel", shape).t(), "kernel")
    assign(linear.bias, arrays.take("bias"), "bias")
