"""One network that decides as several do."""

import torch

from tests.envs.standins import Placement
from tests.learning.lessons import equal
from toolkit.envs.batch import Batch
from toolkit.learning.distil import distilled
from toolkit.learning.play import looked_at
from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Shape


def teacher(members=3):
    torch.manual_seed(0)
    x = looked_at(Placement(), copies=4, steps=64, seed=0)
    G, _, F = Batch(Placement(), [0]).sizes
    scorers = [CandidateScorer(Shape(globals=G, candidates=F, hidden=16)) for _ in range(members)]
    for scorer in scorers:
        scorer.normalise(x)
    # Far from uniform, so that there is something to learn.
    return Ensemble(scorers, temperature=0.02).eval()


def test_it_decides_nearly_as_they_do():
    several, seen = teacher(), looked_at(Placement(), copies=4, steps=64, seed=9)
    torch.manual_seed(1)
    one = distilled(several, Placement(), seed=0, device="cpu")
    assert len(one.members) == 1
    with torch.no_grad():
        p, q = (torch.softmax(network(seen)[0], 1) for network in (several, one))
    uniform = (seen[:, -p.shape[1] :] > 0).float()
    uniform = uniform / uniform.sum(1, keepdim=True)
    assert (p - q).abs().sum(1).mean() < 0.25 * (p - uniform).abs().sum(1).mean()


def test_one_seed_gives_the_same_weights():
    both = []
    for _ in range(2):
        torch.manual_seed(1)
        both.append(distilled(teacher(2), Placement(), seed=3, device="cpu"))
    assert equal(*both)
