"""Configs refuse what they do not know, and say where and what instead."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from s4core.config import ConfigError, TaskShape, config, from_mapping, to_mapping


@config
class Example:
    name: Literal["legs", "fout"] = "legs"
    size: int = 4
    rate: float = 0.5
    limit: int | None = None
    widths: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"need size >= 1, got {self.size}.")


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"siez": 3}, "model.siez", "unknown key 'siez': choose from limit, name, rate, size, widths. Did you mean 'size'?"),  # noqa: E501
        ({"name": "legz"}, "model.name", "no choice 'legz': choose from fout, legs. Did you mean 'legs'?"),  # noqa: E501
        ({"size": 1.5}, "model.size", "wants a whole number, got 1.5."),
        ({"size": True}, "model.size", "wants a whole number, got True."),
        ({"size": "3"}, "model.size", "wants a whole number, got '3', which YAML reads as text; write 3."),  # noqa: E501
        ({"rate": "1e-4"}, "model.rate", "wants a number, got '1e-4', which YAML reads as text; write 0.0001."),  # noqa: E501
        ({"rate": "1e-7"}, "model.rate", "wants a number, got '1e-7', which YAML reads as text; write 1.0e-07."),  # noqa: E501
        ({"rate": "fast"}, "model.rate", "wants a number, got 'fast'."),
        ({"limit": "x"}, "model.limit", "wants a whole number, got 'x'."),
        ({"widths": 3}, "model.widths", "wants a list, got 3."),
        ({"widths": [1, "a"]}, "model.widths.1", "wants a whole number, got 'a'."),
        ({"size": 0}, "model", "need size >= 1, got 0."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_blamed_by_its_path(data: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_mapping(Example, data, path="model")
    assert (error.value.path, error.value.message) == (path, message)


def test_a_config_survives_the_way_through_plain_data() -> None:
    example = Example(name="fout", size=2, rate=1, limit=None, widths=(1, 2))
    assert from_mapping(Example, to_mapping(example)) == example


def test_whole_numbers_become_floats_where_a_float_is_wanted() -> None:
    rate = from_mapping(Example, {"rate": 2}).rate
    assert isinstance(rate, float)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="task: needs the key 'length'."):
        from_mapping(TaskShape, {"d_input": 1, "d_output": 2}, path="task")


def test_a_task_without_an_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="need length >= 1, got 0."):
        TaskShape(d_input=1, d_output=2, length=0)
