"""What is allowed in a sweep and yet hardly meant: searches that have too few trials to begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.plural import plural

from . import catalog
from .files import options_of
from .spec import Search


def remarks(search: Search) -> list[str]:
    """Say in one line each which part of a search comes to nothing with so few trials."""
    sampler, pruner = search.sampler["name"], search.pruner["name"]
    all_of_them = f"with {plural(search.trials, 'trial')}"
    found = []
    if search.is_population and search.trials == 1:
        found.append("search.trials: pbt wants two members at least, of which one takes over.")
    options = _options("samplers", search.sampler)
    name = "startup" if hasattr(options, "startup") else "population"
    first = getattr(options, name, 0)
    if first >= search.trials:
        found.append(
            f"search.sampler.{name}: {sampler} draws the first {first} at random, "
            f"{all_of_them} every one."
        )
    waits = getattr(_options("pruners", search.pruner), "startup", 0)
    if pruner != "wilcoxon" and waits >= search.trials:
        found.append(
            f"search.pruner.startup: {pruner} waits for {waits}, {all_of_them} it stops none."
        )
    return found


def _options(kind: catalog.Kind, block: Mapping[str, Any]) -> Any:
    return catalog.load(kind, block["name"]).Options(**options_of(block))
