"""DSS: diagonal state spaces with B = 1, softmax or exp.  Source: arXiv:2203.14343."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.frequency import conv_layer
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.options import ConvOptions
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.dss import DssOptions, DssSSM


@config
class Config(DssOptions, ConvOptions):
    """The fields of a DSS system and of the stack around it."""

    def __post_init__(self) -> None:
        ConvOptions.__post_init__(self)
        DssOptions.__post_init__(self)
        self.copies(self.d_mixer)


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build DSS for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> SSMLayer:
        system = DssSSM(d_model, config, l_max=l_max, channels=config.kernels)
        return conv_layer(system, config)

    return stack_model(config, shape, make_mixer)
