"""What a training is seen to be worth on the way."""

import math

import numpy as np
import pytest

from toolkit.envs.batch import Batch
from toolkit.envs.registration import scenario_of
from toolkit.envs.stepping import ELAPSED, GOING, OVER, REWARD
from toolkit.learning.watch import probes_of
from toolkit.seeding import generator


def test_probes_are_worth_what_followed():
    tau, scenario = 3.0, scenario_of("genomics_tiny")
    probes = probes_of(scenario, [5000, 5001], tau)
    G, K, F = 16 + 11 * 6, 5, 12
    assert probes.shown.shape == (len(probes.returns), G + K * F + K)
    # The first state of an episode is worth the discounted rewards of all of it.
    batch = Batch(scenario, [5000])
    batch.start(0)
    rng = generator(5000, "probes")
    paid = at = 0.0
    while batch.flags[0, OVER] == GOING:
        batch.step(np.where(batch.mask, rng.random(batch.mask.shape), -1.0).argmax(axis=1))
        paid += float(batch.numbers[0, REWARD]) * math.exp(-at / tau)
        at += float(batch.numbers[0, ELAPSED])
    assert probes.returns[0] == pytest.approx(paid)


def test_long_workloads_are_thinned():
    probes = probes_of(scenario_of("genomics_open"), range(20), 3.0)
    assert 256 < len(probes.returns) <= 512
