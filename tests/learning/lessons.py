"""Small data and algorithms that the tests of learning share; imported by path."""

import dataclasses

import numpy as np
import torch
from hydra.utils import instantiate

from toolkit.catalogue import Catalogue
from toolkit.data.padding import Transitions
from toolkit.learning.learner import Given, run
from toolkit.learning.offline import Offline

G, F, K = 7, 4, 6
SMALL = {
    "n_steps": 300,
    "batch_size": 128,
    "learning_rate": 3e-3,
    "hidden": 32,
    "report_every": 100,
}
PLAYED = {"copies": 4, "rounds": 1, "capacity": 4096, "before": 512, "epsilon": 1.0,
          "epsilon_end": 0.05, "exploring": 0.5}  # fmt: skip


def offline():
    """Return the names of the algorithms that learn scorers from transitions of a dataset."""
    catalogue = Catalogue()
    made = {n: instantiate(dict(catalogue.read(f"algo/{n}"))) for n in catalogue.groups["algo"]}
    return [n for n, a in made.items() if isinstance(a, Offline) and a.offline]


def algorithm(name, **settings):
    """Return an algorithm of ``conf/algo``."""
    return instantiate({**Catalogue().read(f"algo/{name}"), **settings}, _convert_="all")


def learn(algo, data, seed=0, tau=1.0, **more):
    """Return what an algorithm learnt from transitions."""
    torch.set_num_threads(1)
    return run(algo, Given(discount_seconds=tau, seed=seed, data=data), **more)


def observation(rng, n=5, k=K):
    """Return observations with at least one allowed slot, and their masks."""
    mask = rng.random((n, k)) < 0.6
    mask[:, 0] = True
    parts = [rng.normal(size=(n, G)), rng.normal(size=(n, k * F)), mask]
    return torch.tensor(np.concatenate(parts, axis=1), dtype=torch.float32), mask


def transitions(globals_, candidates, mask, action, reward, **changes):
    """Return one-step episodes."""
    n = len(action)
    shown = np.concatenate([globals_, candidates.reshape(n, -1), mask], axis=1)
    shown = np.vstack([shown, np.zeros_like(shown[:1])]).astype(np.float32)
    data = Transitions(
        observations=shown,
        sizes=(globals_.shape[1], candidates.shape[1], candidates.shape[2]),
        action=np.asarray(action, dtype=np.int64),
        reward=np.asarray(reward, dtype=np.float64),
        elapsed=np.ones(n),
        terminal=np.ones(n, dtype=bool),
        following=np.full(n, n),
        propensity=1 / mask.sum(axis=1),
        episode=np.arange(n),
        agent=np.zeros(n, dtype=np.int8),
        described=None,
    )
    return dataclasses.replace(data, **changes)


def bandit(n=4000, seed=0, good=0.0):
    """One-step episodes: the best allowed slot is the one with the largest first feature.

    A slot that is never allowed looks best of all, so that only a mask keeps away from it.

    Args:
        n: Episodes.
        seed: Of what is drawn.
        good: Share of them in which the best slot is taken, others are drawn.
    """
    rng = np.random.default_rng(seed)
    candidates = rng.normal(size=(n, K, F)).astype(np.float32)
    mask = rng.random((n, K)) < 0.7
    mask[:, 0] = True
    mask[:, K - 1] = False
    candidates[:, K - 1, 0] = 5.0
    action = np.where(mask, rng.random((n, K)), -1.0).argmax(axis=1)
    best = np.where(mask, candidates[:, :, 0], -np.inf).argmax(axis=1)
    action = np.where(rng.random(n) < good, best, action)
    reward = candidates[np.arange(n), action, 0]
    return transitions(rng.normal(size=(n, G)), candidates, mask, action, reward)


def flat(data):
    """Return the observations of transitions as a tensor."""
    return torch.from_numpy(np.asarray(data.observations[:-1]))


def equal(a, b):
    """Return whether two networks have the same weights."""
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(k == j and torch.equal(x, y) for (k, x), (j, y) in pairs)


def regret(network, fresh):
    """Return by how much less than the best slot pays what a network chooses in a bandit."""
    with torch.no_grad():
        chosen = network(flat(fresh))[0].argmax(1).numpy()
    rows = np.arange(len(fresh))
    assert fresh.mask[rows, chosen].all()
    best = np.where(fresh.mask, fresh.candidates[:, :, 0], -np.inf).max(axis=1)
    return (best - fresh.candidates[rows, chosen, 0]).mean()


class CutError(Exception):
    """Stands for a machine that goes down."""


def cut_after(n):
    """Return a ``due`` that asks for a checkpoint after every batch, and cuts after n of them."""
    calls = iter(range(n))

    def due():
        if next(calls, None) is None:
            raise CutError
        return True

    return due
