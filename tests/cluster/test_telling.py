"""A driver hears what its tasks are doing while it waits for them, through a real Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import ray
from ray.experimental import internal_kv

from cluster.runtime import ray_running
from cluster.telling import Teller, listen
from data_prep.fetch import Progress

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def engine() -> Iterator[None]:
    with ray_running(None, cpus=1):
        yield


@ray.remote(num_cpus=0)
def count(to: int, tell: Progress) -> int:
    for done in range(1, to + 1):
        tell("counting", done, to)
        time.sleep(0.01)
    return to


@ray.remote(num_cpus=0)
def fail(tell: Progress) -> int:
    tell("failing", 0, 0)
    raise ValueError("as it should")


def test_results_come_in_order_and_words_on_the_way(engine: None) -> None:
    heard: list[tuple[str, int, int]] = []
    tellers = Teller(), Teller()
    tasks = [(count.remote(n, teller), teller) for n, teller in zip((150, 3), tellers, strict=True)]
    assert listen(tasks, lambda *word: heard.append(word)) == [150, 3]
    long = [done for what, done, total in heard if total == 150]
    assert long == sorted(long) and long[0] >= 1 and long[-1] == 150
    assert len(long) < 50, "most words are left out"
    assert ("counting", 3, 3) in heard
    for teller in tellers:
        assert internal_kv._internal_kv_get(teller.key, namespace=b"s4sweep") is None


def test_an_error_of_a_task_is_raised_and_its_words_are_taken_away(engine: None) -> None:
    teller = Teller()
    with pytest.raises(ValueError, match="as it should"):
        listen([(fail.remote(teller), teller)], lambda *word: None)
    assert internal_kv._internal_kv_get(teller.key, namespace=b"s4sweep") is None
