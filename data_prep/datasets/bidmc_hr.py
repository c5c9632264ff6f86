"""BIDMC: heart rate from 32 seconds of two signals."""

from __future__ import annotations

import functools

from data_prep.datasets import _tser as tser

RAW = "bidmc"
SPLITS = ("windows",)
CARD = tser.card(
    "HR", "BIDMC, heart rate", 4001456, unit="beats a minute", rows=(5_564, 1_192, 1_193)
)

Options, columns, view = tser.Options, tser.columns, tser.view
sources = functools.partial(tser.sources, files=CARD.files)
survey = functools.partial(tser.survey, files=CARD.files)
examples = functools.partial(tser.examples, files=CARD.files)
