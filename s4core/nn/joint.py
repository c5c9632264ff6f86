"""The kernels of the blocks of a stack, made together before the first of them runs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from s4core.nn.block import Block
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.modes import AbstractModes

# Numbers in a kernel up to which a CPU starts operations for longer than it works in them.
SMALL = 1 << 17


def joint_kernels(
    blocks: Iterable[nn.Module], x: Tensor, rate: float, *, after: int = -1
) -> dict[int, Tensor]:
    """The kernels for x (B, L, H) by the index of the block, as far as layers are `alike`."""
    kernels: dict[int, Tensor] = {}
    for group in alike(blocks, x.shape[1], x.device, after=after):
        systems = list(group.values())
        kernels.update(zip(group, systems[0].kernels(systems, x.shape[1], rate), strict=True))
    return kernels


def alike(
    blocks: Iterable[nn.Module], length: int, device: torch.device, *, after: int, times: int = 1
) -> list[dict[int, AbstractModes]]:
    """Systems whose kernels are to be made together, by the index of their block.

    Looks at the blocks that see sequences of one length: those after the index `after`, up to the
    next pool.  Left out are layers that are large, for a CPU, or alone, or that want no kernel.
    times: copies that there are of each layer.
    """
    groups: list[dict[int, AbstractModes]] = []
    for i, block in enumerate(blocks):
        if i <= after:
            continue
        if not isinstance(block, Block):
            break
        mixer = block.mixer
        if not isinstance(mixer, SSMLayer) or not isinstance(mixer.ssm, AbstractModes):
            continue
        system = mixer.ssm
        large = times * system.channels * system.d_model * length > SMALL
        if mixer.is_for_blocks(length, device) or (large and device.type == "cpu"):
            continue
        for group in groups:
            if system.is_like(next(iter(group.values()))):
                group[i] = system
                break
        else:
            groups.append({i: system})
    return [group for group in groups if len(group) > 1]
