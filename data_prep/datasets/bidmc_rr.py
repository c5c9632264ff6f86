"""BIDMC: respiration rate from 32 seconds of two signals."""

from __future__ import annotations

import functools

from data_prep.datasets import _tser as tser

RAW = "bidmc"
SPLITS = ("windows",)
CARD = tser.card(
    "RR", "BIDMC, respiration rate", 4001463, unit="breaths a minute", rows=(5_509, 1_180, 1_181)
)

Options, columns, view = tser.Options, tser.columns, tser.view
sources = functools.partial(tser.sources, files=CARD.files)
survey = functools.partial(tser.survey, files=CARD.files)
examples = functools.partial(tser.examples, files=CARD.files)
