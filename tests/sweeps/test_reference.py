"""docs/yaml.md says what the code does, today."""

from __future__ import annotations

from pathlib import Path

from sweeps.reference import reference


def test_the_reference_is_up_to_date() -> None:
    """If this fails: python -m sweeps.reference > docs/yaml.md."""
    assert (Path(__file__).parents[2] / "docs" / "yaml.md").read_text() == reference()
