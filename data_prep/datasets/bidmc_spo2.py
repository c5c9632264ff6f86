"""BIDMC: oxygen saturation from 32 seconds of two signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.datasets import _tser as tser
from data_prep.registry import Raw

RAW = "bidmc"
SPLITS = ("windows",)
CARD = tser.card(
    "SpO2", "BIDMC, oxygen saturation", 4001464, unit="percent", rows=(5_564, 1_192, 1_193)
)

Options, columns, view = tser.Options, tser.columns, tser.view


def sources(raw: Raw) -> tuple[Path, ...]:
    """Return the archive's two parts."""
    return tser.sources(raw, CARD.files)


def survey(raw: Raw) -> Mapping[str, Any]:
    """Tell recordings apart."""
    return tser.survey(raw, CARD.files)


def examples(raw: Raw, split: str) -> Iterator[Mapping[str, Any]]:
    """Read every window."""
    return tser.examples(raw, CARD.files)
