"""The networks of several agents: targets, names that files tell, lies that are refused."""

import json

import numpy as np
import pytest
import torch

from tests.learning.lessons import equal
from tests.learning.several import tiny
from toolkit.data.transitions import Description
from toolkit.errors import ConfigError, CorruptError
from toolkit.learning.play import looked_at_together
from toolkit.networks.agents import NO_TARGET, TARGETED, Agents, aimed, distances
from toolkit.networks.networks import Ensemble, scorer_of
from toolkit.networks.scorer import Shape
from toolkit.policies import learned

SIZES = (82, 5, 12)
NAMES = ("qc", "trim", "kmer", "align", "merge", "call")


def ensemble(more=0, network="candidates"):
    G, K, F = SIZES
    shape = Shape.of((G, K, F + more), hidden=8, attention=False, network=network)
    return Ensemble([scorer_of(shape)])


def agents(every=0, names=NAMES, network="candidates"):
    torch.manual_seed(0)
    if not every:
        return Agents({n: ensemble(network=network) for n in names}).eval()
    workers = {n: ensemble(TARGETED, network) for n in names}
    return Agents(workers, ensemble(network=network), every).eval()


def seen():
    return looked_at_together(tiny(), copies=3, steps=2, seed=0)


def test_candidates_say_whether_they_are_the_target_and_how_far():
    x = seen()
    G, K, F = SIZES
    targets = torch.from_numpy(np.random.default_rng(0).integers(0, K, x.shape[:2]))
    found = aimed(x, targets, ensemble().shape)
    assert found.shape == (*x.shape[:2], x.shape[2] + TARGETED * K)
    torch.testing.assert_close(found[..., :G], x[..., :G])
    torch.testing.assert_close(found[..., -K:], x[..., -K:])
    before = x[..., G : G + K * F].reshape(*x.shape[:2], K, F)
    after = found[..., G : G + K * (F + 2)].reshape(*x.shape[:2], K, F + 2)
    torch.testing.assert_close(after[..., :F], before)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            goal = int(targets[b, t])
            assert after[b, t, :, F].tolist() == [float(k == goal) for k in range(K)]
            # genomics_tiny: profiles of 1, 1, 2, 2, 4 cpus of 2, and 4 or 64 MiB of 96.
            shares = torch.tensor([[1, 4], [1, 64], [2, 4], [2, 64], [4, 64]]) / torch.tensor(
                [2, 96]
            )
            away = (shares - shares[goal]).abs().mean(1)
            torch.testing.assert_close(after[b, t, :, F + 1], away)
    assert (distances(before, targets).gather(2, targets[..., None]) == 0).all()


@pytest.mark.parametrize("network", ["candidates", "mlp"])
def test_a_target_stands_until_the_next_is_due(network):
    net, x = agents(every=3, network=network), seen()
    none = torch.full(x.shape[:2], NO_TARGET)
    _, first = net.act(x, torch.zeros(len(x), dtype=torch.int64), none)
    masks = x[..., -SIZES[1] :] > 0.5
    assert masks.gather(2, first[..., None]).all()
    other = (first + 1) % SIZES[1]
    for instant, stands in ((1, True), (2, True), (3, False), (4, True)):
        _, targets = net.act(x, torch.full((len(x),), instant), other)
        assert torch.equal(targets, other if stands else first)
    _, targets = net.act(x, torch.ones(len(x), dtype=torch.int64), none)
    assert torch.equal(targets, first)


def test_what_workers_choose_depends_on_their_targets():
    net, x = agents(every=3), seen()
    one, other = (net(x, torch.full(x.shape[:2], k)) for k in (0, 3))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("network", ["candidates", "mlp"])
@pytest.mark.parametrize("every", [0, 4])
def test_they_survive_their_sizes(every, network):
    net = agents(every, network=network)
    again = Agents.of(json.loads(json.dumps(net.sizes())))
    again.load_state_dict(net.state_dict())
    assert equal(net, again)
    assert (again.names, again.every) == (net.names, net.every)


@pytest.mark.parametrize("names", [("keys", "a.b", "type", "ünïcode", "../../etc", "members.0")])
def test_names_are_only_text(names, tmp_path):
    net = agents(names=names)
    about = Description.of(tiny().plan(0), tiny().weights).to_dict()
    learned.save(net, about, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]
    assert learned.load(tmp_path, "mine").network.names == names


@pytest.mark.parametrize(
    "change",
    [
        {"names": []},
        {"names": ["qc"] * 6},
        {"names": ["qc", "trim", "kmer", "align", "merge", 7]},
        {"names": ["qc", "trim", "kmer", "align", "merge", ""]},
        {"names": ["qc", "trim", "kmer", "align", "merge", "x" * 500]},
        {"names": ["qc", "trim", "kmer", "align", "merge", "a\nb"]},
        {"names": [str(i) for i in range(1000)]},
        {"names": "qc"},
        {"names": None},
        {"names": ["qc"]},
        {"every": 0},
        {"every": "4"},
        {"every": None},
        {"manager": None},
        {"manager": {"shape": {}}},
        {"actor": None},
    ],
)
def test_a_policy_file_that_lies_is_refused(change, tmp_path):
    about = Description.of(tiny().plan(0), tiny().weights).to_dict()
    learned.save(agents(every=4), about, tmp_path)
    file = tmp_path / "policy.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "sizes": {**told["sizes"], **change}}))
    with pytest.raises(CorruptError, match="cannot be read"):
        learned.load(tmp_path, "mine")


def test_workers_must_see_what_their_manager_sees():
    with pytest.raises(ConfigError, match="and their target"):
        Agents({n: ensemble() for n in NAMES}, ensemble(), 4)
