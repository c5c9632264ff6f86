"""The JSON schema takes what `load_spec` takes, and refuses what a reader would underline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sweeps.schema import sweep_schema

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = sweep_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_every_example_is_valid(validator: Any, path: Path) -> None:
    validator.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 3},
        {"train": {"epoch": 3}},
        {"train": {"epochs": "three"}},
        {"train": {"lr": {"log_uniform": [1]}}},
        {"model": {"name": "s4d", "d_modl": 3}},
        {"model": {"name": "s4x"}},
        {"data": {"name": "listops", "trian": 8}},
        {"search": {"sampler": {"name": "tpe", "start": 1}}},
        {"search": {"pruner": "ash"}},
        {"resources": {"cpu": 1}},
        {"objective": {"mode": "maximum"}},
    ],
)
def test_a_misspelt_key_or_a_wrong_type_is_refused(validator: Any, change: dict[str, Any]) -> None:
    good = {"data": {"name": "listops"}, "model": {"name": "s4d"}, "train": {"epochs": 3}}
    validator.validate(good)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**good, **change})
