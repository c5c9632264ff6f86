"""NSynth, the first two seconds of each note: a view of nsynth."""

from __future__ import annotations

import dataclasses

from data_prep.datasets import nsynth
from data_prep.transforms import Stored, View

STORED_AS = "nsynth"

CARD = dataclasses.replace(
    nsynth.CARD,
    name="nsynth_short",
    title="NSynth, two seconds",
    shapes="x (32000, 1), one of 11 families",
    cached_bytes=0,
    differs=(*nsynth.CARD.differs, "the first two of the four seconds, as s4torch cuts them."),
)

Options = nsynth.Options


def view(stored: Stored) -> View:
    """Read the first half of each note."""
    return nsynth.view_of(stored, nsynth.SAMPLES // 2)
