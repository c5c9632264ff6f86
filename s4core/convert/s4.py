"""Weights of the official S4 repository (its versions 4; standalone or not) in our modules.

The names of the two sides: inv_dt is our dt (before its transform), output_linear.0 our
output.linear. C is the plain C until the first forward of the official code and C~ for l_kernel
afterwards; ours is C~ for l_max, so it is recovered and stored anew where they differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from s4core.convert.arrays import Arrays, ConversionError, assign, assign_linear, wanted
from s4core.nn.block import Block
from s4core.nn.feed_forward import Pointwise
from s4core.nn.interpolate import Interpolated
from s4core.nn.model import SequenceModel
from s4core.nn.norm import Norm
from s4core.nn.pool import BlockPool
from s4core.nn.s4nd import S4ND
from s4core.nn.ssm_layer import SSMLayer
from s4core.nn.stack import Stack
from s4core.nn.unet import Tier, UNet, UpPool
from s4core.ops.dplr import dplr_discretize, truncate, untruncate
from s4core.ssm.diagonal import DiagonalSSM
from s4core.ssm.dplr import DplrSSM

_IGNORED = ("num_batches_tracked",)


def load_s4_model(model: SequenceModel, state: Mapping[str, Any]) -> None:
    """Load a training checkpoint's state_dict: encoder, backbone and decoder.

    Keys may begin with "model." (Lightning's), encoder.0, decoder.0.output_transform.
    """
    arrays = Arrays(state, ignore=_IGNORED)
    with arrays.into(wanted(model, SequenceModel)):
        _model(model, arrays)


def load_s4_backbone(backbone: Stack | UNet | Interpolated, state: Mapping[str, Any]) -> None:
    """Load a SequenceModel into a Stack, or a SaShiMi (standalone or not) into a UNet."""
    arrays = Arrays(state, ignore=_IGNORED)
    with arrays.into(wanted(backbone, nn.Module)):
        _backbone(backbone, arrays)


def load_s4_block(block: Block, state: Mapping[str, Any]) -> None:
    """Load a standalone S4Block, or S4ND with its pointwise layers, into a Block that has neither
    norm nor residual, as they have none."""
    arrays = Arrays(state, ignore=_IGNORED)
    with arrays.into(wanted(block, Block)):
        _s4_block(block, arrays)


def load_s4_layer(layer: SSMLayer, state: Mapping[str, Any]) -> None:
    """Load an S4Block without output layer (final_act None), or its FFTConv: any channels.

    The layer then gives what the official one gives before its activation, (B, L, channels * H).
    """
    arrays = Arrays(state, ignore=_IGNORED)
    with arrays.into(wanted(layer, SSMLayer)):
        _layer(layer, arrays.below("layer." if "layer.D" in arrays else ""))


def load_s4nd_layer(layer: S4ND, state: Mapping[str, Any]) -> None:
    """Load an S4ND module without pointwise layers (linear=True): D and kernel.0, kernel.1, ..."""
    arrays = Arrays(state, ignore=_IGNORED)
    with arrays.into(wanted(layer, S4ND)):
        _s4nd(layer, arrays)


def load_s4d_layer(block: Block, state: Mapping[str, Any]) -> None:
    """Load the minimal S4D (of s4d.py, keys log_dt, log_A_real, ...) into a Block."""
    arrays = Arrays(state, ignore=_IGNORED)
    with arrays.into(wanted(block, Block)):
        _minimal(block, arrays)


def _model(model: SequenceModel, arrays: Arrays) -> None:
    encoder, decoder = model.encoder, model.decoder
    here = arrays.below(
        "encoder.0." if any(k.startswith("encoder.0.") for k in arrays) else "encoder."
    )
    if encoder.kind == "embedding":
        assign(encoder.embedding.weight, here.take("weight"), "encoder.weight")
    elif encoder.kind != "identity":
        assign_linear(encoder.linear, here)
    _backbone(cast(nn.Module, model.backbone), arrays.below("model."))
    head = arrays.below(
        "decoder.0." if any(k.startswith("decoder.0.") for k in arrays) else "decoder."
    )
    assign_linear(decoder.readout.linear, head, "output_transform.")


def _minimal(block: Block, arrays: Arrays) -> None:
    layer = wanted(block.mixer, SSMLayer)
    system = layer.ssm
    if not isinstance(system, DiagonalSSM):
        raise ConversionError("the minimal S4D is a diagonal system: build an s4d block.")
    assign(layer.D, arrays.take("D")[None], "D")
    assign(system.dt, arrays.take("kernel.log_dt", system.dt.shape[:1])[:, None], "kernel.log_dt")
    assign(system.A_real, arrays.take("kernel.log_A_real"), "kernel.log_A_real")
    assign(system.A_imag, arrays.take("kernel.A_imag"), "kernel.A_imag")
    assign(system.B, torch.tensor([1.0, 0.0]).expand(system.B.shape), "B")
    # It keeps the modes with Im A > 0, we their conjugates.
    C = arrays.take("kernel.C", system.C.shape[1:])
    C = C * torch.tensor([1.0, -1.0], dtype=C.dtype)
    assign(system.C, C[None], "kernel.C")
    assign_linear(block.output.linear, arrays, "output_linear.0.")


def _backbone(backbone: nn.Module, arrays: Arrays) -> None:
    if isinstance(backbone, Interpolated):
        for i, level in enumerate(cast("Iterable[Iterable[Block]]", backbone.levels)):
            for j, filler in enumerate(level):
                _residual_block(filler, arrays.below(f"interp_layers.{i}.{j}."))
        backbone = backbone.net
    if isinstance(backbone, UNet):
        _unet(backbone, arrays)
        return
    index, stack = 0, wanted(backbone, Stack)
    for block in stack.blocks:
        if isinstance(block, BlockPool):
            here = arrays.below(f"layers.{index - 1}.pool.")
            if block.linear is not None:
                assign_linear(block.linear, here, "linear.")
        else:
            assert isinstance(block, Block)
            _residual_block(block, arrays.below(f"layers.{index}."))
            index += 1
    _norm(stack.norm, arrays.below("norm."))


def _unet(unet: UNet, arrays: Arrays) -> None:
    pieces = list(_unet_pieces(unet.top))
    names = _module_names(arrays)
    if len(pieces) != len(names):
        raise ConversionError(
            f"the foreign weights have {len(names)} blocks and pools, this model {len(pieces)}: "
            "check n_layers, pool, ff and unet."
        )
    for piece, name in zip(pieces, names, strict=True):
        if isinstance(piece, Block):
            _residual_block(piece, arrays.below(name))
        else:
            assign_linear(piece.linear, arrays.below(name), "linear.")
    _norm(unet.norm, arrays.below("norm."))


def _unet_pieces(tier: Tier) -> Iterator[Block | BlockPool | UpPool]:
    """Blocks and pools in the order of the data's way through them, which is the official one."""
    yield from cast("Iterator[Block]", iter(tier.down))
    if not tier.is_centre:
        yield tier.pool
        yield from _unet_pieces(tier.inner)
        yield tier.unpool
    yield from cast("Iterator[Block]", iter(tier.up))


def _module_names(arrays: Arrays) -> list[str]:
    """Prefixes such as "d_layers.0.", "u_layers.1.2.", down before centre before up."""
    found = {m.group(0) for k in arrays if (m := re.match(r"[dcu]_layers\.(\d+\.)+", k))}
    return sorted(found, key=lambda n: ("dcu".index(n[0]), [int(i) for i in n.split(".")[1:-1]]))


def _residual_block(block: Block, arrays: Arrays) -> None:
    if isinstance(block.mixer, Pointwise):
        assign_linear(block.mixer.linear, arrays.below("layer."), "ff.0.0.")
        assign_linear(block.output.linear, arrays.below("layer."), "ff.2.")
    else:
        _s4_block(block, arrays.below("layer."))
    norm = block.prenorm if block.prenorm is not None else block.postnorm
    _norm(norm, arrays.below("norm."))
    joins = arrays.below("residual.")
    if block.residual.kind == "affine":
        assign(block.residual.scale, joins.take("affine"), "residual.affine")
    if block.residual.kind == "highway":
        assign_linear(block.residual.from_x, joins, "Wx.")
        assign_linear(block.residual.from_y, joins, "Wy.")


def _norm(norm: Norm | None, arrays: Arrays) -> None:
    if norm is None or norm.kind == "none":
        return
    here = arrays.below("norm.") if any(k.startswith("norm.") for k in arrays) else arrays
    if norm.kind == "scalar":
        assign(norm.weight, here.take("s"), "norm.s")
        assign(norm.bias, here.take("m"), "norm.m")
        return
    assign(norm.weight, here.take("weight"), "norm.weight")
    assign(norm.bias, here.take("bias"), "norm.bias")
    if norm.kind == "batch":
        assign(norm.running_mean, here.take("running_mean"), "norm.running_mean")
        assign(norm.running_var, here.take("running_var"), "norm.running_var")


def _s4_block(block: Block, arrays: Arrays) -> None:
    layer = block.mixer
    if isinstance(layer, S4ND):
        _s4nd(layer, arrays)
    else:
        _layer(wanted(layer, SSMLayer), arrays.below("layer."))
    linear = block.output.linear
    if linear is not None:
        if not any(name.startswith("output_linear.") for name in arrays):
            raise ConversionError(
                "the foreign block has no output layer: build ours with final_act none, or load "
                "its layer alone by load_s4_layer."
            )
        assign_linear(linear, arrays, "output_linear.0.")


def _layer(layer: SSMLayer, arrays: Arrays) -> None:
    assign(layer.D, arrays.take("D"), "layer.D")
    _kernel(layer.ssm, arrays.below("kernel."))


def _s4nd(layer: S4ND, arrays: Arrays) -> None:
    assign(layer.D, arrays.take("D"), "D")
    for i, system in enumerate(layer.systems):
        _kernel(system, arrays.below(f"kernel.{i}."))


def _kernel(system: nn.Module, arrays: Arrays) -> None:
    if not isinstance(system, DplrSSM | DiagonalSSM):
        raise ConversionError(f"no official weights for a {type(system).__name__}.")
    assign(system.dt, arrays.take("inv_dt"), "kernel.inv_dt")
    assign(system.A_real, arrays.take("A_real"), "kernel.A_real")
    assign(system.A_imag, arrays.take("A_imag"), "kernel.A_imag")
    B = arrays.take("B")
    assign(system.B, B[0] if B.ndim == 4 and len(B) == 1 else B, "kernel.B")
    if isinstance(system, DiagonalSSM):
        assign(system.C, arrays.take("C"), "kernel.C")
        if "l_kernel" in arrays:
            arrays.take("l_kernel")
        return
    assign(system.P, arrays.take("P"), "kernel.P")
    _readout(system, arrays.take("C", system.C.shape), int(arrays.take("l_kernel")))


def _readout(system: DplrSSM, C: Tensor, l_kernel: int) -> None:
    if l_kernel == system.l_max:
        assign(system.C, C, "kernel.C")
        return
    with torch.no_grad():
        first, _ = dplr_discretize(*system.system(), system.steps(1.0))
        plain = torch.view_as_complex(C.contiguous()).to(torch.complex128)
        plain = untruncate(plain, first, l_kernel) if l_kernel else plain
        assign(system.C, torch.view_as_real(truncate(plain, first, system.l_max)), "kernel.C")
