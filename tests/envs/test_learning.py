"""A learner of another library, with masks."""

import numpy as np
import pytest

from tests.envs.standins import SCENARIOS
from toolkit.envs.environment import SchedulingEnv


@pytest.mark.parametrize("name", ["allocation", "placement"])
def test_maskable_ppo_learns_without_ever_taking_a_masked_slot(name):
    import torch
    from sb3_contrib import MaskablePPO

    torch.set_num_threads(1)
    env = SchedulingEnv(SCENARIOS[name])
    model = MaskablePPO("MultiInputPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=0)
    before = [p.detach().clone() for p in model.policy.parameters()]
    invalid = []
    step = env.step

    def watched(action):
        outcome = step(action)
        invalid.append(outcome[4]["invalid"])
        return outcome

    env.step = watched
    model.learn(256)
    assert len(invalid) == 256
    assert not any(invalid)
    after = [p.detach() for p in model.policy.parameters()]
    assert any(not np.allclose(a, b) for a, b in zip(before, after, strict=True))
