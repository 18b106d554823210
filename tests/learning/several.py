"""Small trainings of several agents that tests share; imported by path."""

from functools import cache

import numpy as np

from tests.learning.lessons import algorithm
from toolkit.envs.registration import scenario_of
from toolkit.envs.stepping import GOING
from toolkit.envs.together import TogetherBatch
from toolkit.learning.learner import Given, run

PPO = {
    "n_steps": 9216, "copies": 16, "alike": 8, "rollout": 192, "batch_size": 128, "hidden": 16,
    "gate_every": 2, "gate_workloads": 16, "learning_rate": 3e-3, "report_every": 4608,
}  # fmt: skip
SMALL = {
    "marl_ppo": PPO,
    "hierarchical_ppo": PPO,
    "independent_q": {
        "n_steps": 320, "hidden": 16, "batch_size": 64, "n_critics": 1, "target_interval": 25,
        "learning_rate": 3e-3, "gate_every": 80, "gate_workloads": 16, "report_every": 160,
        "play": {
            "_target_": "toolkit.learning.exploration.Play", "copies": 8, "rounds": 1,
            "capacity": 4096, "before": 256, "epsilon": 1.0, "epsilon_end": 0.05, "exploring": 0.5,
        },
    },
}  # fmt: skip


@cache
def tiny():
    """Return a few small pipelines."""
    return scenario_of("genomics_tiny")


def small(name, **changes):
    """Return an algorithm that learns in seconds."""
    return algorithm(name, **{**SMALL[name], **changes})


def given(seed=0, **more):
    """Return what it is given."""
    return Given(**{"discount_seconds": 1.0, "seed": seed, "scenario": tiny(), **more})


def learnt(name, seed=0, **changes):
    """Return a training to its end."""
    return run(small(name, **changes), given(seed))


def drawn(scenario, seeds):
    """Return what draws among the allowed slots get on workloads."""
    env, rng = TogetherBatch(scenario, seeds), np.random.default_rng(0)
    for i in range(len(seeds)):
        env.start(i)
    while (env.over == GOING).any():
        env.step(np.where(env.mask, rng.random(env.mask.shape), -1.0).argmax(axis=2))
    return env.batch.returns
