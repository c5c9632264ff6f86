"""BIDMC: oxygen saturation from 32 seconds of two signals."""

from __future__ import annotations

import functools

from data_prep.datasets import _tser as tser

RAW = "bidmc"
SPLITS = ("windows",)
CARD = tser.card(
    "SpO2", "BIDMC, oxygen saturation", 4001464, unit="percent", rows=(5_564, 1_192, 1_193)
)

Options, columns, view = tser.Options, tser.columns, tser.view
sources = functools.partial(tser.sources, files=CARD.files)
survey = functools.partial(tser.survey, files=CARD.files)
examples = functools.partial(tser.examples, files=CARD.files)
