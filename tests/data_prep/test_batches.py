from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.batches import batch_indices, epoch_order

sizes = st.integers(1, 200)


@given(rows=sizes, batch=st.integers(1, 50), seed=st.integers(0, 2**63), epoch=st.integers(0, 99))
def test_an_epoch_is_every_row_once_and_depends_only_on_its_arguments(rows, batch, seed, epoch):
    def once() -> list[list[int]]:
        found = batch_indices(rows, batch_size=batch, seed=seed, epoch=epoch)
        return [b.tolist() for b in found]

    assert sorted(itertools.chain(*once())) == list(range(rows))
    assert once() == once()
    assert all(len(b) == batch for b in once()[:-1])


def test_epochs_and_seeds_have_their_own_orders():
    orders = {
        tuple(epoch_order(50, seed=s, epoch=e)) for s in (0, 1, 2**32, 2**32 + 1) for e in (0, 1)
    }
    assert len(orders) == 8


def test_the_order_is_frozen():
    """A resumed run must see the same batches after an upgrade of numpy."""
    assert epoch_order(8, seed=1, epoch=2).tolist() == [6, 0, 2, 3, 1, 5, 7, 4]


@given(rows=sizes, batch=st.integers(1, 20), world=st.integers(1, 5))
def test_ranks_cover_the_rows_and_make_equal_steps_in_training(rows, batch, world):
    def ranks(shuffle: bool) -> list[list[np.ndarray]]:
        return [
            list(batch_indices(rows, batch_size=batch, rank=r, world=world, shuffle=shuffle))
            for r in range(world)
        ]

    trained = ranks(True)
    assert len({tuple(len(b) for b in r) for r in trained}) == 1
    seen = np.concatenate([b for r in trained for b in r])
    assert set(seen.tolist()) == set(range(rows))
    assert len(seen) == -(-rows // world) * world
    evaluated = np.concatenate([b for r in ranks(False) for b in r])
    assert sorted(evaluated.tolist()) == list(range(rows))


def test_drop_last_drops_only_the_short_batch():
    assert [len(b) for b in batch_indices(10, batch_size=4, drop_last=True)] == [4, 4]
    assert [len(b) for b in batch_indices(10, batch_size=4)] == [4, 4, 2]


def test_buckets_save_padding_and_lose_no_row():
    lengths = np.random.RandomState(0).randint(500, 2000, 1000)

    def waste(bucket: int) -> float:
        found = list(batch_indices(1000, batch_size=50, lengths=lengths, bucket=bucket))
        assert sorted(np.concatenate(found).tolist()) == list(range(1000))
        return sum(int((lengths[b].max() - lengths[b]).sum()) for b in found) / lengths.sum()

    assert waste(0) > 0.4
    assert waste(20) < 0.05


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1, "rank": 2, "world": 2}])
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="need"):
        list(batch_indices(5, **wrong))
