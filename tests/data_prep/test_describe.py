from __future__ import annotations

from pathlib import Path

import pytest

from data_prep import dataset_names
from data_prep.describe import all_cards, card_text, options_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "datasets.md"


def test_the_document_is_made_from_the_cards():
    """To bring it up to date: python -m data_prep.describe > docs/datasets.md"""
    assert DOCUMENT.read_text() == all_cards()


@pytest.mark.parametrize("name", dataset_names())
def test_a_card_fits_a_terminal_and_explains_its_options(name):
    text = card_text(name)
    assert max(len(line) for line in text.splitlines()) <= 140
    explained = text.split("options (*")[-1]
    for option in options_of(name):
        assert explained.count(option) >= 2, option
