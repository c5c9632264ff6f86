"""A driver waits for nodes that come, and gives up on nodes that do not."""

from __future__ import annotations

import pytest

from cluster import room
from cluster.errors import UserError
from cluster.placement import Placement


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Placement]:
    """What the autoscaler was asked for."""
    found: list[Placement] = []
    monkeypatch.setattr(room, "_ask_autoscaler", found.append)
    monkeypatch.setattr(room, "_POLL_S", 0.001)
    return found


def test_a_node_that_joins_late_is_waited_for(asked: list[Placement]) -> None:
    answers = iter([UserError("none"), UserError("none"), None])
    notes: list[str] = []

    def check(placement: Placement) -> None:
        error = next(answers)
        if error is not None:
            raise error

    room.wait_for_room(Placement(), notes.append, wait_s=60, check=check)
    assert asked == [Placement()], "asked once"
    assert notes == ["waiting up to 60 s for nodes: none", "there is room now"]


def test_with_room_nothing_is_said(asked: list[Placement]) -> None:
    notes: list[str] = []
    room.wait_for_room(Placement(), notes.append, check=lambda placement: None)
    assert (notes, asked) == ([], [])


def test_a_node_that_never_comes_is_the_users_mistake(asked: list[Placement]) -> None:
    def check(placement: Placement) -> None:
        raise UserError("no node can hold a trial")

    with pytest.raises(UserError, match="no node can hold a trial"):
        room.wait_for_room(Placement(), lambda text: None, wait_s=0.05, check=check)
