"""The kernels of the blocks of a stack, made together before the first of them runs."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from s4core.nn.block import Block
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.modes import AbstractModes

# Numbers in a kernel up to which a CPU starts operations for longer than it works in them.
SMALL = 1 << 17


def joint_kernels(
    blocks: Iterable[nn.Module], x: Tensor, rate: float, *, after: int = -1
) -> dict[int, Tensor]:
    """The kernels for x (B, L, H) by the index of the block, as far as systems are alike.

    Looks at the blocks that see sequences of this length: those after the index `after`, up to the
    next pool.  Left out are layers that are large, for a CPU, or alone, or that want no kernel.
    """
    groups: list[dict[int, AbstractModes]] = []
    for i, block in enumerate(blocks):
        if i <= after:
            continue
        if not isinstance(block, Block):
            break
        system = _system(block.mixer, x)
        if system is None:
            continue
        for group in groups:
            if system.is_like(next(iter(group.values()))):
                group[i] = system
                break
        else:
            groups.append({i: system})
    kernels: dict[int, Tensor] = {}
    for group in groups:
        if len(group) > 1:
            systems = list(group.values())
            made = systems[0].kernels(systems, x.shape[1], rate)
            kernels.update(zip(group, made, strict=True))
    return kernels


def _system(mixer: object, x: Tensor) -> AbstractModes | None:
    """The system of a layer whose kernel is to be made with others."""
    if not isinstance(mixer, SSMLayer) or not isinstance(mixer.ssm, AbstractModes):
        return None
    length = x.shape[1]
    large = mixer.ssm.channels * mixer.ssm.d_model * length > SMALL and x.device.type == "cpu"
    return None if large or mixer.is_for_blocks(length, x.device) else mixer.ssm
