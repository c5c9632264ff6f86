"""The way back: which point of a space a configuration is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from .nodes import QUANTILES, Choice, Derived, Fixed, Node, Normal, Number, Scalar, Series, Table
from .yaml_tree import dotted


class Misfit(ValueError):
    """A configuration that is not a point of the space, and why."""


def fit_node(node: Node, config: Any, found: dict[str, Scalar]) -> None:
    """Add to `found` what `node` would have to sample to become `config`; raises Misfit."""
    match node:
        case Table(children=children):
            if not isinstance(config, Mapping):
                raise Misfit(f"{dotted(node.at)}: {config!r} is not a block.")
            for key, child in children.items():
                if key in config:
                    fit_node(child, config[key], found)
                elif not isinstance(child, Fixed | Derived):
                    raise Misfit(f"{dotted(child.at)}: no value.")
        case Series(children=items):
            if not isinstance(config, list | tuple) or len(config) != len(items):
                raise Misfit(f"{dotted(node.at)}: {config!r} is not a list of {len(items)}.")
            for child, value in zip(items, config, strict=True):
                fit_node(child, value, found)
        case Number(name=name, distribution=distribution):
            found[name] = _held(node, distribution, config)
        case Normal():
            if isinstance(config, bool) or not isinstance(config, int | float):
                raise Misfit(f"{dotted(node.at)}: {config!r} is not a number.")
            found[node.sampled_as] = _held(node, QUANTILES, node.quantile(config))
        case Choice():
            _fit_choice(node, config, found)
        case Fixed() | Derived():
            pass


def _held(
    node: Node, distribution: FloatDistribution | IntDistribution, value: Any
) -> bool | int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit(f"{dotted(node.at)}: {value!r} is not a number.")
    if isinstance(distribution, IntDistribution) and value != int(value):
        raise Misfit(f"{dotted(node.at)}: {value!r} is not a whole number.")
    if not distribution._contains(float(value)):
        low, high = distribution.low, distribution.high
        raise Misfit(f"{dotted(node.at)}: {value!r} is outside [{low}, {high}].")
    return value


def _fit_choice(node: Choice, config: Any, found: dict[str, Scalar]) -> None:
    reasons = []
    for label, option in zip(node.labels, node.options, strict=True):
        if isinstance(option, Fixed):
            if option.value == config and isinstance(option.value, bool) == isinstance(
                config, bool
            ):
                found[node.name] = label
                return
            continue
        name = option.children.get("name") if isinstance(option, Table) else None
        given = config.get("name") if isinstance(config, Mapping) else None
        if isinstance(name, Fixed) and name.value != given:
            continue
        trial: dict[str, Scalar] = {node.name: label}
        try:
            fit_node(option, config, trial)
            if node.common:
                fit_node(node.common, config, trial)
        except Misfit as misfit:
            reasons.append(str(misfit))
            continue
        found.update(trial)
        return
    choices = ", ".join(str(label) for label in node.labels)
    raise Misfit(reasons[0] if reasons else f"{dotted(node.at)}: {config!r} is none of {choices}.")
