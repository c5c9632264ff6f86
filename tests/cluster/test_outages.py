"""A storage that is away is waited for; a mistake is not."""

from __future__ import annotations

import errno

import pytest

from cluster.outages import Patience, patiently

FULL = OSError(errno.ENOSPC, "No space left on device", "/home/x")


def test_waits_double_up_to_half_a_minute_and_end_with_the_limit() -> None:
    waits: list[float] = []
    patience = Patience(100.0, sleep=waits.append)
    while patience.wait(FULL):
        pass
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_success_renews_the_whole_time() -> None:
    waits: list[float] = []
    patience = Patience(3.0, sleep=waits.append)
    assert [patience.wait(FULL) for _ in range(3)] == [True, True, False]
    patience.renew()
    assert patience.wait(FULL)
    assert waits == [1, 2, 1]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EEXIST])
def test_what_waiting_cannot_mend_is_raised_at_once(number: int) -> None:
    assert not Patience(100.0, sleep=pytest.fail).wait(OSError(number, "no"))


def test_patiently_does_it_again_until_it_works() -> None:
    tries = iter([FULL, FULL, None])

    def action() -> str:
        error = next(tries)
        if error:
            raise error
        return "done"

    assert patiently(action, sleep=lambda s: None) == "done"
    with pytest.raises(StopIteration):
        next(tries)
