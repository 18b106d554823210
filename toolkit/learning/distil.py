"""Distil: one network that decides as several do together, for a fraction of the time.

Hinton et al., Distilling the Knowledge in a Neural Network, arXiv 1503.02531, on the states that
the policy itself meets.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from toolkit.envs.batch import Batch
from toolkit.envs.stepping import GOING, OVER
from toolkit.learning.play import observed
from toolkit.networks.networks import Ensemble, scorer_of
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator

_COPIES = 32
_STATES = 32_768
_STEPS = 1500
_BATCH = 512
_RATE = 1e-3


def distilled(teacher: Ensemble, scenario: Scenario, *, seed: int, device: str) -> Ensemble:
    """Return an ensemble of one whose logits give nearly the distribution of the teacher's.

    Args:
        teacher: Scores over its temperature are logits.
        scenario: Where it is played, by draws from that distribution.
        seed: Of workloads, draws and the new network's training.
        device: Of torch.
    """
    seen, logits = _met(teacher, scenario, seed, device)
    student = scorer_of(teacher.shape).to(device)
    student.normalise_like(teacher.members[0])
    adam = torch.optim.Adam(student.parameters(), lr=_RATE)
    rng = generator(seed, "distil")
    for step in range(_STEPS):
        for group in adam.param_groups:
            group["lr"] = _RATE * (1 - step / _STEPS)
        rows = torch.from_numpy(rng.integers(0, len(seen), _BATCH))
        told = torch.log_softmax(student(seen[rows].to(device))[0], 1)
        wanted = torch.log_softmax(logits[rows].to(device), 1)
        loss = nn.functional.kl_div(told, wanted, reduction="batchmean", log_target=True)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    return Ensemble([student])


def _met(
    teacher: Ensemble, scenario: Scenario, seed: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states in which there was a choice, and the teacher's logits there."""
    first = int(generator(seed, "distilled workloads").integers(2**30))
    batch = Batch(scenario, range(first, first + _COPIES))
    rng = generator(seed, "distilled draws")
    seen, logits, count = [], [], 0
    with torch.inference_mode():
        while count < _STATES:
            for i in np.flatnonzero(batch.flags[:, OVER] != GOING).tolist():
                batch.start(i)
            shown = observed(batch, np.arange(_COPIES))
            scores = teacher(shown.to(device))[0].cpu()
            free = torch.from_numpy(batch.mask.sum(axis=1) > 1)
            seen.append(shown[free])
            logits.append(scores[free])
            count += _COPIES
            noise = rng.gumbel(size=scores.shape).astype(np.float32)
            batch.step((scores + torch.from_numpy(noise)).argmax(1).numpy())
    return torch.cat(seen).clone(), torch.cat(logits).clone()
