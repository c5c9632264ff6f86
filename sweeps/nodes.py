"""The nodes of a space: what a tree of values and ranges is made of."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from .expressions import Expression
from .yaml_tree import Path_

Scalar = bool | int | float | str | None

QUANTILES = FloatDistribution(0.0005, 0.9995)


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A value that is not searched."""

    at: Path_
    value: Any


@dataclasses.dataclass(frozen=True)
class Table:
    """A mapping of nodes."""

    at: Path_
    children: Mapping[str, Node]


@dataclasses.dataclass(frozen=True)
class Series:
    """A list of nodes."""

    at: Path_
    children: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Number:
    """uniform, log_uniform, int, log_int."""

    at: Path_
    name: str
    distribution: FloatDistribution | IntDistribution


@dataclasses.dataclass(frozen=True)
class Normal:
    """A normal distribution, cut at its quantiles 0.0005 and 0.9995.

    Optuna has none, so that what is sampled (and stored, as `sampled_as`) is the quantile.
    """

    at: Path_
    name: str
    mean: float
    std: float

    @property
    def sampled_as(self) -> str:
        """The name under which Optuna knows the quantile."""
        return f"{self.name} (quantile)"

    def value(self, quantile: float) -> float:
        """Give the value below which `quantile` of the mass lies."""
        return statistics.NormalDist(self.mean, self.std).inv_cdf(quantile)

    def quantile(self, value: float) -> float:
        """Give the mass below `value`; the inverse of `value`."""
        return statistics.NormalDist(self.mean, self.std).cdf(value)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of `options` by its label; `common` holds the keys beside `choice`."""

    at: Path_
    name: str
    labels: tuple[Scalar, ...]
    options: tuple[Node, ...]
    common: Table | None

    @property
    def distribution(self) -> CategoricalDistribution:
        """The labels, as Optuna knows them."""
        return CategoricalDistribution(self.labels)

    def option(self, label: Scalar) -> Node:
        """Give the option of a label."""
        for known, option in zip(self.labels, self.options, strict=True):
            if known == label and type(known) is type(label):
                return option
        raise KeyError(label)


@dataclasses.dataclass(frozen=True)
class Derived:
    """A value worked out from the others."""

    at: Path_
    expression: Expression


Node = Fixed | Table | Series | Number | Normal | Choice | Derived
