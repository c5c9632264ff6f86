"""K models of one shape as one: K times the channels, and one batched matrix product for K.

A small model on a CPU or a GPU spends its time starting operations, not in them. Channels are kept
outermost (see nn/layout.py), so stacking is widening: a layer over K d_model channels convolves,
norms and pools the K models at once, and only mixing between channels must know of K. Measured
against K separate steps in benchmarks/fused_trials.py.

What is stacked: `SequenceModel` over a `Stack` of `Block`s around `SSMLayer`s, as `unfusable` says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from s4core.nn.activation import ACTIVATIONS, Output
from s4core.nn.block import Block
from s4core.nn.joint import alike
from s4core.nn.model import SequenceModel
from s4core.nn.norm import Norm
from s4core.nn.pool import BlockPool
from s4core.nn.ssm_layer import SSMLayer, block_of, with_skip
from s4core.nn.stack import Stack
from s4core.ops.chunk import chunk_scan
from s4core.ops.fftconv import fft_conv
from s4core.ssm.diagonal import DiagonalSSM
from s4core.ssm.dplr import DplrSSM
from s4core.train.fused_system import WideSystem, wide_kernels, wide_tables

_NORMS = ("layer", "batch", "rms", "none")


def unfusable(model: nn.Module) -> str | None:
    """Why `model` cannot be one of K; None if it can."""
    if not isinstance(model, SequenceModel) or not isinstance(model.backbone, Stack):
        return "only stacks of blocks can be fused"
    shape = model.shape
    if shape.ragged or shape.pairs or shape.irregular or model.front is not None:
        return "ragged, paired, irregular and wavelet inputs are not fused"
    if model.encoder.position != "none" or model.encoder.p > 0:
        return "positions and input dropout are not fused"
    for module in model.backbone.blocks:
        reason = _unfusable_pool(module) if isinstance(module, BlockPool) else _unfusable(module)
        if reason:
            return reason
    return None


def _unfusable_pool(pool: BlockPool) -> str | None:
    return None if pool.linear is None else "pools with a linear map are not fused"


def _unfusable(block: Any) -> str | None:
    mixer: Any = block.mixer
    if type(block) is not Block or type(mixer) is not SSMLayer:
        return "only blocks around a plain SSM layer are fused"
    if mixer.kernel_dropout > 0:
        return "kernel_dropout is not fused"
    if type(mixer.ssm) not in (DiagonalSSM, DplrSSM) or mixer.channels != 1:
        return "only S4 and S4D of one channel are fused"
    if block.residual.kind != "add" or block.p_before > 0:
        return "only residual 'add' and tied dropout are fused"
    if block.output.drop_path > 0 or block.output.bias is not None:
        return "drop_path and modrelu are not fused"
    if block.output.linear is not None and is_parametrized(block.output.linear):
        return "weight_norm is not fused"
    if not block.output.tied and block.output.branch_dropout + block.output.dropout > 0:
        return "only tied dropout is fused"
    norms = [n for n in (block.prenorm, block.postnorm) if n is not None]
    return None if all(n.kind in _NORMS for n in norms) else f"only norms {_NORMS} are fused"


class FusedModel:
    """The K `models` as one function of stacked parameters.

    parameters: by name, each (K, ...) with gradient; buffers: the same without. Dropout is that of
    each model, drawn from `generators` in the order in which the model alone would draw.
    Raises ValueError if the models cannot be fused or do not have one shape.
    """

    def __init__(self, models: Sequence[nn.Module], generators: Sequence[torch.Generator]) -> None:
        for model in models:
            if reason := unfusable(model):
                raise ValueError(f"cannot fuse these models: {reason}.")
        self.models: list[Any] = list(models)
        self.generators = generators
        self.count = len(models)
        self.parameters = _stacked([dict(m.named_parameters()) for m in models])
        for stacked in self.parameters.values():
            stacked.requires_grad_()
        self.buffers = _stacked([dict(m.named_buffers()) for m in models])
        self._wide = {
            name: WideSystem([m.get_submodule(name) for m in models])
            for name, module in self.models[0].named_modules()
            if isinstance(module, DiagonalSSM | DplrSSM)
        }

    @torch.no_grad()
    def scatter(self) -> None:
        """Write the stacked parameters and buffers back into the models."""
        for k, model in enumerate(self.models):
            for mine, stacked in (
                (dict(model.named_parameters()), self.parameters),
                (dict(model.named_buffers()), self.buffers),
            ):
                for name, tensor in mine.items():
                    tensor.copy_(stacked[name][k])
            model.train()  # its systems look at what training made of them

    def __call__(self, x: Tensor) -> Tensor:
        """Train-mode outputs (K, B, ...) for inputs (K, B, L, d_input) or tokens (K, B, L)."""
        first = self.models[0]
        h = self._encode(x)
        kernels = self._kernels(h, after=-1)
        for i, module in enumerate(first.backbone.blocks):
            if isinstance(module, BlockPool):
                flat = module(h.flatten(0, 1).permute(1, 2, 0)).permute(2, 0, 1)
                h = flat.view(*h.shape[:2], *flat.shape[1:])
                kernels = self._kernels(h, after=i)
            else:
                h = self._block(i, h, kernels)
        if first.backbone.norm is not None:
            h = self._norm("backbone.norm", first.backbone.norm, h)
        return self._decode(h)

    def _encode(self, x: Tensor) -> Tensor:
        """(K, H, B, L)."""
        encoder = self.models[0].encoder
        if encoder.kind == "identity":
            return x.permute(0, 3, 1, 2).contiguous()
        if encoder.kind == "embedding":
            tables = self.parameters["encoder.embedding.weight"]
            rows = torch.stack([F.embedding(x[k], tables[k]) for k in range(self.count)])
            return rows.permute(0, 3, 1, 2).contiguous()
        weight, bias = self._linear("encoder.linear")
        if encoder.kind == "onehot":
            tables = weight.mT
            rows = torch.stack([F.embedding(x[k], tables[k]) for k in range(self.count)])
            return (rows.permute(0, 3, 1, 2) + bias[:, :, None, None]).contiguous()
        flat = x.flatten(1, 2).mT
        return torch.baddbmm(bias.unsqueeze(-1), weight, flat).view(self.count, -1, *x.shape[1:3])

    def _decode(self, h: Tensor) -> Tensor:
        decoder = self.models[0].decoder
        if decoder.each_step:
            pooled = h.flatten(2).mT
        elif decoder.pooling == "mean":
            pooled = h.mean(-1).mT
        elif decoder.pooling == "sum":
            pooled = h.sum(-1).mT
        else:
            pooled = h[..., -1 if decoder.pooling == "last" else 0].mT
        weight, bias = self._linear("decoder.readout.linear")
        out = torch.baddbmm(bias.unsqueeze(1), pooled, weight.mT)
        return out.view(self.count, *h.shape[2:], -1) if decoder.each_step else out

    def _kernels(self, h: Tensor, *, after: int) -> dict[int, Tensor]:
        """Kernels (C, K, H, L) by the index of the block, made together: see nn/joint.py."""
        kernels: dict[int, Tensor] = {}
        blocks = self.models[0].backbone.blocks
        for group in alike(blocks, h.shape[-1], h.device, after=after, times=self.count):
            kernels.update(zip(group, self._made(list(group), h.shape[-1]), strict=True))
        return kernels

    def _made(self, blocks: Sequence[int], length: int) -> list[Tensor]:
        names = [f"backbone.blocks.{i}.mixer.ssm" for i in blocks]
        return wide_kernels(
            [self._wide[name] for name in names], [self._of(name) for name in names], length
        )

    def _of(self, name: str) -> dict[str, Tensor]:
        """The stacked parameters of a module."""
        prefix = f"{name}."
        mine = (item for item in self.parameters.items() if item[0].startswith(prefix))
        return {key.removeprefix(prefix): parameter for key, parameter in mine}

    def _block(self, index: int, x: Tensor, kernels: Mapping[int, Tensor]) -> Tensor:
        name = f"backbone.blocks.{index}"
        block = self.models[0].backbone.blocks[index]
        blocks = [m.backbone.blocks[index] for m in self.models]
        u = x if block.prenorm is None else self._norm(f"{name}.prenorm", block.prenorm, x)
        if block.mixer.is_for_blocks(x.shape[-1], x.device):
            y = self._scan(f"{name}.mixer", u)
        else:
            k = kernels[index] if index in kernels else self._made([index], x.shape[-1])[0]
            y = self._convolve(f"{name}.mixer", block.mixer, u, k)
        g = ACTIVATIONS[block.output.activation](y)
        g = self._dropout(g, [b.output.dropout for b in blocks])
        g = self._output(f"{name}.output", block.output, y, g)
        z = x + self._dropout(g, [b.output.branch_dropout for b in blocks])
        return z if block.postnorm is None else self._norm(f"{name}.postnorm", block.postnorm, z)

    def _scan(self, name: str, u: Tensor) -> Tensor:
        tables = wide_tables(self._wide[f"{name}.ssm"], self._of(f"{name}.ssm"), block_of(u))
        kernel = with_skip(tables.kernel, self._skip(name))
        tables = dataclasses.replace(tables, kernel=kernel)
        y, _ = chunk_scan(u.flatten(0, 1).transpose(0, 1), tables)
        return y.transpose(0, 1).reshape(u.shape)

    def _convolve(self, name: str, layer: Any, u: Tensor, k: Tensor) -> Tensor:
        k = k.flatten(1, 2)
        forward = with_skip(k[: layer.channels], self._skip(name))
        reverse = k[layer.channels :] if layer.bidirectional else None
        y = fft_conv(u.flatten(0, 1).transpose(0, 1), forward, k_reverse=reverse)
        return y.transpose(0, 1).reshape(u.shape)

    def _skip(self, name: str) -> Tensor:
        """D of all models, (C, K * H)."""
        return self.parameters[f"{name}.D"].transpose(0, 1).flatten(1)

    def _output(self, name: str, output: Output, y: Tensor, g: Tensor) -> Tensor:
        if output.linear is None:
            return g
        weight, bias = self._linear(f"{name}.linear")
        K, _, B, L = g.shape
        mixed = torch.baddbmm(bias.unsqueeze(-1), weight, g.flatten(2)).view(K, -1, B, L)
        return output.gate(y, g, mixed, 1)

    def _norm(self, name: str, norm: Norm, x: Tensor) -> Tensor:
        """Norm x (K, H, B, L) of each model over what the model alone would."""
        if norm.kind == "none":
            return x
        weight = self.parameters[f"{name}.weight"]
        if norm.kind == "rms":
            scale = torch.rsqrt(x.square().mean(1, keepdim=True) + norm.eps)
            return x * scale * weight[:, :, None, None]
        bias = self.parameters[f"{name}.bias"]
        if norm.kind == "layer":
            centred = x - x.mean(1, keepdim=True)
            scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + norm.eps)
            return centred * scale * weight[:, :, None, None] + bias[:, :, None, None]
        flat = x.reshape(1, -1, x.shape[2] * x.shape[3])
        mean, var = (self.buffers[f"{name}.running_{what}"].view(-1) for what in ("mean", "var"))
        affine = weight.reshape(-1), bias.reshape(-1)
        return F.batch_norm(flat, mean, var, *affine, True, norm.momentum, norm.eps).view(x.shape)

    def _dropout(self, x: Tensor, rates: list[float]) -> Tensor:
        if not any(rates):
            return x
        masks = []
        for p, generator in zip(rates, self.generators, strict=True):
            size = (*x.shape[1:3], 1)
            if p == 0:
                masks.append(torch.ones(size, device=x.device))
                continue
            keep = torch.rand(size, generator=generator, device=x.device) >= p
            masks.append(keep.to(x.dtype) / (1.0 - p))
        return x * torch.stack(masks)

    def _linear(self, name: str) -> tuple[Tensor, Tensor]:
        return self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]


def _stacked(each: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    shapes = [{name: t.shape for name, t in one.items()} for one in each]
    if any(s != shapes[0] for s in shapes):
        raise ValueError("cannot fuse these models: they do not have one shape.")
    return {name: torch.stack([one[name].detach() for one in each]) for name in each[0]}
