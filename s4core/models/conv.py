"""Free long convolutions, the baseline of all structured kernels.  Source: arXiv:2302.06646."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.block import Mixer
from s4core.nn.frequency import conv_layer
from s4core.nn.long_conv import LongConv, LongConvLayer
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.options import ConvOptions


@config
class Config(ConvOptions):
    """kernel_decay: kernels start decaying. kernel_squash: soft threshold of kernel values."""

    kernel_decay: bool = True
    kernel_squash: float = 0.003

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_squash < 0.0:
            raise ValueError(f"need kernel_squash >= 0, got {self.kernel_squash}.")


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build a stack of free convolutions for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> Mixer:
        system = LongConv(
            d_model,
            l_max=l_max,
            channels=config.kernels,
            decay=config.kernel_decay,
            squash=config.kernel_squash,
        )
        layer = conv_layer(system, config)
        return layer if config.sobolev != 0.0 else LongConvLayer(layer)

    return stack_model(config, shape, make_mixer)
