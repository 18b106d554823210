"""Comparing what was played with what was replayed, bit by bit."""

import numpy as np


def assert_same(played, replayed):
    """Every step shows, chooses and pays the same, and everything ran at the same time."""
    assert len(replayed.steps) == len(played.steps) > 0
    for a, b in zip(played.steps, replayed.steps, strict=True):
        for name in ("globals", "candidates", "mask", "keys"):
            np.testing.assert_array_equal(getattr(a.decision, name), getattr(b.decision, name))
        for name in ("agent", "time", "subject"):
            assert getattr(a.decision, name) == getattr(b.decision, name)
        for name in ("epoch", "action", "propensity", "elapsed", "reward"):
            assert getattr(a, name) == getattr(b, name), name
        np.testing.assert_array_equal(a.components, b.components)
    assert replayed.terminated == played.terminated
    for name in ("started", "finished", "arrived", "completed"):
        # Where an episode was cut, its record need not name what never came.
        known, true = (getattr(o, name) for o in (replayed.outcome, played.outcome))
        np.testing.assert_array_equal(known[~np.isnan(known)], true[~np.isnan(true)], name)
