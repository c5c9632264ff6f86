"""Population based training (Jaderberg et al., arXiv:1711.09846): `trials` members train at once,
and every `interval` epochs the worst take over the weights of the best, with their settings varied.

Every member is a trial. A generation begins when all members have ended the one before it, so that
a sweep is the same whatever the cluster does. What is varied are ranges of `train`; checkpoints
fit one model and one task.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import BaseSampler, RandomSampler

from s4core.config import config

from ..pruners import most_epochs
from ..space import Space
from ..types import Objective


@config
class Options:
    """interval: epochs of a generation. quantile: share of the members that take over, and of those
    that are taken from. resample: probability that a setting is drawn anew; otherwise a number is
    multiplied by 1 / factor or factor, and a choice moves to a neighbour. Members are not pruned,
    and train.patience does not stop them.
    """

    interval: int = 1
    quantile: float = 0.25
    resample: float = 0.25
    factor: float = 1.25

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"need interval >= 1, got {self.interval}.")
        if not 0 < self.quantile <= 0.5:
            raise ValueError(f"need 0 < quantile <= 0.5, got {self.quantile}.")
        if not 0 <= self.resample <= 1 or self.factor <= 1:
            raise ValueError("need 0 <= resample <= 1 and factor > 1.")


def check(options: Options, space: Space, objectives: Sequence[Objective]) -> None:
    """Refuse ranges of data and model, and several objectives."""
    if len(objectives) > 1:
        raise ValueError("pbt has one objective.")
    names = {name for point in space.corners() for name in point.distributions}
    outside = sorted(name for name in names if not name.startswith("train."))
    if outside:
        raise ValueError(f"pbt varies settings of train only, and {outside[0]} is a range.")
    if any(set(point.distributions) != names for point in space.corners()):
        raise ValueError("pbt wants ranges that every member has: no blocks as choices.")
    if not names:
        raise ValueError("pbt wants a range in train.")
    if "train.epochs" in names or "train.batch_size" in names:
        raise ValueError("pbt wants the same epochs and batch_size for all members.")
    if options.interval >= (epochs := most_epochs(space)):
        raise ValueError(f"pbt wants interval < epochs, got {options.interval} and {epochs}.")


def build(options: Options, space: Space, seed: int) -> BaseSampler:
    """Make the sampler of the first generation."""
    return RandomSampler(seed=seed)
