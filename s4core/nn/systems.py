"""Systems by the structure of A, for models that work with any of them."""

from __future__ import annotations

from typing import Literal

from s4core.config import config
from s4core.nn.frequency import conv_layer
from s4core.nn.options import ConvOptions
from s4core.nn.ssm_layer import SSMLayer
from s4core.ssm.diagonal import DiagonalOptions, DiagonalSSM
from s4core.ssm.dplr import DplrOptions, DplrSSM, check_rank


@config
class SystemOptions(DplrOptions, DiagonalOptions, ConvOptions):
    """The fields of S4 and of S4D together; structure says which of them a model is made of.

    structure: dplr (S4; discretize does not matter) or diagonal (S4D; rank does not).
    """

    structure: Literal["dplr", "diagonal"] = "dplr"

    def __post_init__(self) -> None:
        ConvOptions.__post_init__(self)
        DplrOptions.__post_init__(self)
        DiagonalOptions.__post_init__(self)
        self.copies(self.d_mixer)
        if self.structure == "dplr":
            check_rank(self)


def make_system(
    options: SystemOptions, d_model: int, *, l_max: int, kernels: int
) -> DplrSSM | DiagonalSSM:
    """Make the system of `kernels` kernels for each of d_model features."""
    if options.structure == "diagonal":
        return DiagonalSSM(d_model, options, channels=kernels)
    return DplrSSM(d_model, options, l_max=l_max, channels=kernels)


def make_layer(options: SystemOptions, d_model: int, l_max: int) -> SSMLayer:
    """Make the layer around such a system."""
    system = make_system(options, d_model, l_max=l_max, kernels=options.kernels)
    return conv_layer(system, options)
