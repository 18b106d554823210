"""A ring of transitions: what it holds, what it draws, and how it goes on."""

import numpy as np
import pytest

from toolkit.learning.priorities import Priorities
from toolkit.learning.replay import Replay, WeightedBatch


def put(replay, *names):
    """Remember transitions that all bear their name."""
    n = np.array(names, dtype=np.float32)
    shown = np.repeat(n[:, None], 2, axis=1)
    replay.put(shown, n.astype(np.int64), n * 10, shown + 0.5, n % 2 == 0, n / 100)


@pytest.mark.parametrize("priorities", [None, Priorities()])
def test_the_oldest_are_forgotten_and_what_belongs_together_stays(priorities):
    replay = Replay(5, 2, priorities)
    put(replay, 1, 2, 3)
    put(replay, 4, 5, 6, 7)
    assert (replay.count, replay.held) == (7, 5)
    _, batch = replay.draw(400, np.random.default_rng(0), scale=10.0, progress=0.0)
    name = batch.observations[:, 0]
    assert set(name) == {3, 4, 5, 6, 7}
    np.testing.assert_array_equal(batch.next_observations, batch.observations + 0.5)
    for told, expected in (
        (batch.actions, name),
        (batch.rewards, name),
        (batch.terminals, name % 2 == 0),
        (batch.intervals, name / 100),
    ):
        np.testing.assert_allclose(told[:, 0], expected, rtol=1e-6)


def test_nothing_is_drawn_that_was_never_put():
    replay = Replay(64, 2, Priorities())
    put(replay, 1, 2)
    places, _ = replay.draw(100, np.random.default_rng(0), scale=1.0, progress=0.0)
    assert set(places) == {0, 1}


def test_what_surprised_is_drawn_more_and_counts_less():
    replay = Replay(8, 2, Priorities(alpha=1.0))
    put(replay, *range(8))
    errors = np.array([8.0, 1, 1, 1, 1, 1, 1, 2], dtype=np.float32)
    replay.learnt(np.arange(8), errors)
    places, batch = replay.draw(16, np.random.default_rng(0), scale=1.0, progress=1.0)
    assert isinstance(batch, WeightedBatch)
    assert np.bincount(places)[0] == 8
    np.testing.assert_allclose(batch.weights[:, 0], 1 / errors[places], rtol=1e-4)


@pytest.mark.parametrize("priorities", [None, Priorities()])
def test_it_goes_on_from_a_state(priorities):
    first, again = Replay(6, 2, priorities), Replay(6, 2, priorities)
    put(first, 1, 2, 3, 4)
    first.learnt(np.array([1, 2]), np.array([3.0, 0.1], dtype=np.float32))
    tensors, numbers = first.state()
    again.restore({k: v.clone() for k, v in tensors.items()}, numbers)
    for replay in (first, again):
        put(replay, 5, 6, 7)
    one, other = (
        r.draw(30, np.random.default_rng(3), scale=2.0, progress=0.5) for r in (first, again)
    )
    np.testing.assert_array_equal(one[0], other[0])
    for name in ("observations", "rewards", "intervals"):
        np.testing.assert_array_equal(getattr(one[1], name), getattr(other[1], name))
