"""Several agents as one policy: what they do in turn is what they do at once."""

import numpy as np
import pytest
import torch

from tests.envs.standins import Placement
from tests.learning.several import tiny
from tests.networks.test_agents import NAMES, agents
from toolkit.data.transitions import Description
from toolkit.envs.parallel import SchedulingParallelEnv
from toolkit.errors import SchemaError
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at_together
from toolkit.networks.agents import NO_TARGET
from toolkit.policies.agents import Together
from toolkit.policies.learned import policy_of
from toolkit.scenarios.pipelines import Pipelines
from toolkit.simulator.simulator import simulated


def taught(every=0, **more):
    """Return a policy that chooses now this, now that."""
    net = agents(every, **more)
    x = looked_at_together(tiny(), copies=3, steps=4, seed=0)
    if not every:
        normalise([net], x.reshape(-1, x.shape[2]))
    about = Description.of(tiny().plan(0), tiny().weights).to_dict()
    return policy_of(net, "mine", about)


def episode(policy, seed):
    of = tiny()
    return simulated(
        of, policy, of.plan(seed), seed, horizon=of.horizon, weights=of.weights
    ).steps  # fmt: skip


@pytest.mark.parametrize("network", ["candidates", "mlp"])
@pytest.mark.parametrize("every", [0, 2])
def test_in_turn_it_acts_as_its_networks_do_at_once(every, network):
    policy, env = taught(every, network=network), SchedulingParallelEnv(tiny())
    assert isinstance(policy, Together)
    net, met = policy.network, set()
    for seed in range(4):
        steps = episode(policy, seed)
        shown, _ = env.reset(seed=seed)
        targets, instants, returned = torch.full((1, 6), NO_TARGET), 0, 0.0
        while env.agents:
            x = np.stack([
                np.concatenate([
                    shown[a]["globals"], shown[a]["candidates"].reshape(-1), shown[a]["action_mask"]
                ])
                for a in net.names
            ])  # fmt: skip
            with torch.no_grad():
                slots, targets = net.act(
                    torch.from_numpy(x.astype(np.float32))[None], torch.tensor([instants]), targets
                )
            actions = dict(zip(net.names, slots[0].tolist(), strict=True))
            told = {s.decision.agent: s.action for s in steps if s.epoch == instants}
            assert told == actions
            met |= set(actions.values())
            shown, paid, *_ = env.step(actions)
            returned += paid["qc"]
            instants += 1
        assert instants == steps[-1].epoch + 1
        assert returned == pytest.approx(sum(s.reward for s in steps))
    assert len(met) > 1


def test_who_is_asked_again_answers_the_same():
    policy = taught()
    of, asked = tiny(), []

    class Twice:
        name = "twice"

        def reset(self, workload):
            policy.reset(workload)

        def probabilities(self, decision):
            first = policy.probabilities(decision)
            np.testing.assert_array_equal(first, policy.probabilities(decision))
            asked.append(decision.agent)
            return first

    simulated(of, Twice(), of.plan(1), 1, horizon=of.horizon, weights=of.weights)
    assert asked[:6] == [of.plan(1).types[t] for t in of.plan(1).arrays.order]


def test_the_order_of_names_does_not_matter():
    policy = taught()
    order = np.random.default_rng(0).permutation(6)
    names = [NAMES[i] for i in order]
    shuffled = type(policy.network)({n: policy.network.actor(NAMES.index(n)) for n in names})
    other = policy_of(shuffled.eval(), "other", policy.about)
    one, two = ([s.action for s in episode(p, 5)] for p in (policy, other))
    assert one == two


def test_it_refuses_what_it_was_not_taught():
    policy = taught()
    with pytest.raises(SchemaError, match="features"):
        policy.reset(Placement().plan(0))
    other = taught(names=("qc", "trim", "kmer", "align", "merge", "report"))
    with pytest.raises(SchemaError, match="process types qc, trim, kmer, align, merge, call"):
        other.reset(tiny().plan(0))
    fixed = taught(network="mlp")
    more = {**vars(tiny()), "profiles": ((1, 4), (1, 64), (2, 64))}
    with pytest.raises(SchemaError, match="for 5 slots, this scenario has 3"):
        fixed.reset(Pipelines(**more).plan(0))
