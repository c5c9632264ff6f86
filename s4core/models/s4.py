"""S4: state space layers with a diagonal plus low-rank matrix.  Source: arXiv:2111.00396."""

from __future__ import annotations

from s4core.config import TaskShape, config
from s4core.nn.frequency import conv_layer
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.options import ConvOptions
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.dplr import DplrOptions, DplrSSM, check_rank


@config
class Config(DplrOptions, ConvOptions):
    """The fields of a diagonal plus low-rank system and of the stack around it."""

    def __post_init__(self) -> None:
        ConvOptions.__post_init__(self)
        DplrOptions.__post_init__(self)
        self.copies(self.d_mixer)
        check_rank(self)


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build S4 for a task; ValueError says what cannot be."""

    def make_mixer(d_model: int, l_max: int) -> SSMLayer:
        system = DplrSSM(d_model, config, l_max=l_max, channels=config.kernels)
        return conv_layer(system, config)

    return stack_model(config, shape, make_mixer)
