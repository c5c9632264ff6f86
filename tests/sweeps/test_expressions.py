"""Expressions compute what Python would, and nothing else."""

from __future__ import annotations

import pytest

from sweeps.expressions import Expression, ExpressionError

CONFIG = {"model": {"d_model": 64, "name": "s4d"}, "train": {"lr": 0.01, "batch_size": 50}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("model.d_model // 4", 16),
        ("model.d_model % 3 == 1 and train.lr < 0.1", True),
        ("model.name in ['s4d', 's4']", True),
        ("model.name == 'lssl' and model.nothing > 3", False),  # the right side is never looked up
        ("0 < train.lr <= 0.01", True),
        ("min(model.d_model, 10) if train.lr > 1 else -2.5", -2.5),
        ("not log2(model.d_model) == 6", False),
        ("train.batch_size * 2 / 5 - 1", 19.0),
    ],
)
def test_values(text: str, value: object) -> None:
    assert Expression(text)(CONFIG) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__",
        "[x for x in range(9)]",
        "lambda: 1",
        "model['d_model']",
        "open('x')",
        "2 ** 9999999",
        "f'{model}'",
        "model.d_model +",
        "x := 3",
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        Expression(text)


def test_a_missing_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ExpressionError, match=r"no value 'model.d_modl': .*Did you mean 'd_model'"):
        Expression("model.d_modl > 1")(CONFIG)


def test_of_many_names_the_few_that_are_like_the_missing_one_are_told() -> None:
    train = {name: 1 for name in ("lr", "ssm_lr", "lr_min", "epochs", "patience", "betas", "ema")}
    with pytest.raises(ExpressionError) as caught:
        Expression("train.lrr > 1")({"train": train})
    told = "no value 'train.lrr': choose from lr, lr_min, ssm_lr. Did you mean 'lr'?"
    assert str(caught.value) == told
    with pytest.raises(ExpressionError, match=r"no value 'train.lr.x': train.lr is 1\.$"):
        Expression("train.lr.x > 1")({"train": train})


def test_arithmetic_that_fails_names_the_expression() -> None:
    with pytest.raises(ExpressionError, match=r"'1 / \(model.d_model - 64\)' cannot be worked out"):
        Expression("1 / (model.d_model - 64)")(CONFIG)
