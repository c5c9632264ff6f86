"""Liquid-S4: state space layers whose matrix depends on the input.  Source: arXiv:2209.12951."""

from __future__ import annotations

from typing import Literal

from s4core.config import TaskShape, config
from s4core.nn.block import Mixer
from s4core.nn.liquid import CausalPBLayer, LiquidLayer, PublishedLiquidLayer
from s4core.nn.model import SequenceModel, stack_model
from s4core.nn.ssm_layer import SSMLayer
from s4core.nn.systems import SystemOptions, make_system
from s4core.ops.discretize import Discretization
from s4core.ops.liquid_published import Squash


@config
class Config(SystemOptions):
    """liquid: truncated (products of up to liquid_degree inputs), exact, or causal_pb (the products
    do not decay), all causal; or the published correlation terms pb and kb, which see the future
    and exist to reproduce numbers.

    structure: diagonal or dplr, whose exact form goes one step after the other.
    liquid_all_combinations: pb and kb take all subsets of the latest inputs, else neighbours.
    liquid_squash: what bounds their products.
    """

    structure: Literal["dplr", "diagonal"] = "diagonal"
    discretize: Discretization = "bilinear"
    liquid: Literal["truncated", "exact", "causal_pb", "pb", "kb"] = "truncated"
    liquid_degree: int = 2
    liquid_all_combinations: bool = True
    liquid_squash: Squash = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.liquid_degree < 2:
            raise ValueError(f"need liquid_degree >= 2, got {self.liquid_degree}.")
        if self.discretize != "bilinear":
            raise ValueError(f"liquid_s4 is bilinear: got discretize={self.discretize!r}.")
        if self.channels != 1 or self.sobolev != 0.0 or self.kernel_dropout != 0.0:
            raise ValueError(
                "liquid_s4 has one channel and leaves its kernel as it is: got "
                f"channels={self.channels}, sobolev={self.sobolev}, "
                f"kernel_dropout={self.kernel_dropout}."
            )
        if self.bidirectional and self.liquid not in ("pb", "kb"):
            raise ValueError(f"liquid {self.liquid!r} is causal: it needs bidirectional false.")


def build(config: Config, shape: TaskShape) -> SequenceModel:
    """Build Liquid-S4 for a task; ValueError says what cannot be."""
    published = config.liquid in ("pb", "kb")

    def make_mixer(d_model: int, l_max: int) -> Mixer:
        if published and l_max < config.liquid_degree + 3:
            raise ValueError(
                f"liquid {config.liquid!r} of degree {config.liquid_degree} needs sequences of "
                f"at least {config.liquid_degree + 3} steps, got {l_max}."
            )
        system = make_system(config, d_model, l_max=l_max, kernels=config.kernels)
        if published:
            return PublishedLiquidLayer(
                SSMLayer(system, bidirectional=config.bidirectional),
                kernel=config.liquid,
                degree=config.liquid_degree,
                all_combinations=config.liquid_all_combinations,
                squash=config.liquid_squash,
            )
        if config.liquid == "causal_pb":
            return CausalPBLayer(SSMLayer(system), degree=config.liquid_degree)
        return LiquidLayer(
            system, degree=None if config.liquid == "exact" else config.liquid_degree
        )

    return stack_model(config, shape, make_mixer)
