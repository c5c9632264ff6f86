"""S4ND: state space layers over the axes of images and videos.  Source: arXiv:2210.06583."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.options import need_positive
from s4core.nn.s4nd import S4ND
from s4core.nn.systems import SystemOptions, make_system


@config
class Config(SystemOptions):
    """trank: terms of the kernel's sum of outer products. bidirectional: every axis both ways.

    out_channels: so many features, each with a kernel for every feature of the input, in place of
        a kernel a feature; 0 for the latter.
    l_max: how far the kernels reach along each axis, [] as far as the axes: a model of 32 x 32
        with l_max [16, 16] takes the weights of one of 16 x 16.
    """

    bidirectional: bool = True
    trank: int = 1
    out_channels: int = 0
    l_max: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "trank")
        if self.out_channels < 0 or (self.out_channels and self.channels > 1):
            raise ValueError(
                f"need out_channels >= 0, and channels 1 beside it; got {self.out_channels} and "
                f"{self.channels}."
            )
        if any(extent < 1 for extent in self.l_max):
            raise ValueError(f"need l_max >= 1 along every axis, got {list(self.l_max)}.")
        if self.sobolev != 0.0 or self.kernel_dropout != 0.0:
            raise ValueError(
                "s4nd leaves the kernels along its axes as they are: got "
                f"sobolev={self.sobolev}, kernel_dropout={self.kernel_dropout}."
            )
        if self.block_pool != "none":
            raise ValueError(f"s4nd keeps its axes: got block_pool={self.block_pool!r}.")


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build S4ND over the axes of a task (one if it names none); ValueError says what cannot be."""
    axes = shape.axes or (shape.length,)
    if shape.ragged and len(axes) > 1:
        raise ValueError("images of several axes have no lengths: s4nd cannot take a ragged task.")

    if config.l_max and len(config.l_max) != len(axes):
        raise ValueError(f"need an l_max for each of the axes {axes}, got {list(config.l_max)}.")
    reach = tuple(map(min, axes, config.l_max or axes))

    def make_mixer(d_model: int, length: int) -> S4ND:
        channels = config.out_channels or config.channels
        kernels = channels * config.trank * (2 if config.bidirectional else 1)
        return S4ND(
            [make_system(config, d_model, l_max=extent, kernels=kernels) for extent in reach],
            axes,
            channels=channels,
            trank=config.trank,
            bidirectional=config.bidirectional,
            mix=config.out_channels > 0,
            l_max=reach,
        )

    return stack_model(config, shape, make_mixer)
