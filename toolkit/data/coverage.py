"""Coverage: how much of what could have been done the data show.

Trajectory quality and state-action coverage follow Schweighofer et al., "A Dataset Perspective on
Offline Reinforcement Learning", CoLLAs 2022 (arXiv 2111.04714): how good the episodes are, and how
many different state-action pairs there are. States are compared by their features, each cut to its
sign, its exponent and three binary digits, so that what differs by less than an eighth is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from toolkit.data.rows import octets
from toolkit.data.transitions import Description
from toolkit.workload import Ints

Words = npt.NDArray[np.uint64]
COLUMNS = ("agent", "globals", "candidates", "mask", "action", "propensity", "overflow")
_PRIME = 0x100000001B3


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What the decisions of a dataset cover.

    Args:
        state_actions: Share of decisions that are the first of their state and action.
        states: Share of decisions that are the first of their state.
        by_agent: For each agent: decisions; the share of the slots ever allowed that were taken;
            mean number of allowed slots; share of decisions with but one; entropy of the slots
            taken over that of the slots allowed, 1 for an even choice.
        taken: How often each agent took each slot, shape [K] each.
        allowed: How often each agent might have, shape [K] each.
        overflown: Share of decisions at which some candidate found no slot.
        most_overflown: Greatest number of such candidates.
        propensity: Mean probability with which actions were chosen; None where none is known.
        certain: Share of the known ones that are 1.
        actions: SHA-256 over all actions.
    """

    state_actions: float
    states: float
    by_agent: dict[str, dict[str, float]]
    taken: dict[str, Ints]
    allowed: dict[str, Ints]
    overflown: float
    most_overflown: int
    propensity: float | None
    certain: float | None
    actions: str

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers that stand on a card."""
        return {
            "state_actions": round(self.state_actions, 6),
            "states": round(self.states, 6),
            "agents": {
                name: {k: round(float(v), 6) for k, v in told.items()}
                for name, told in self.by_agent.items()
            },
            "overflown": round(self.overflown, 6),
            "most_overflown": self.most_overflown,
            "propensity_mean": None if self.propensity is None else round(self.propensity, 6),
            "propensity_certain": None if self.certain is None else round(self.certain, 6),
        }


def measure(batches: Iterable[pa.Table], described: Description) -> Coverage:
    """Return what the rows of a dataset cover.

    Args:
        batches: Its rows, with ``COLUMNS``.
        described: What they mean.
    """
    agents, K = described.agents, described.slots
    taken, allowed = np.zeros((len(agents), K), dtype=np.int64), np.zeros((len(agents), K), int)
    counts, forced, offered = (np.zeros(len(agents), dtype=np.int64) for _ in range(3))
    seen: list[tuple[Words, Words]] = []
    overflown = most = known = sure = 0
    chance = 0.0
    digest = hashlib.sha256()
    for rows in batches:
        everything = rows["action"].fill_null(-1).to_numpy().astype(np.int32)
        digest.update(octets(everything))
        rows = rows.filter(rows["action"].is_valid())
        if not len(rows):
            continue
        rows = rows.combine_chunks()
        action = rows["action"].to_numpy().astype(np.int64)
        agent = pc.index_in(rows["agent"], value_set=pa.array(agents)).to_numpy().astype(np.int64)
        slots = pc.list_value_length(rows["mask"]).to_numpy().astype(np.int64)
        row = np.repeat(np.arange(len(rows)), slots)
        ends = np.cumsum(slots)
        slot = np.arange(len(row)) - np.repeat(ends - slots, slots)
        flags = rows["mask"].chunk(0).flatten().to_numpy(zero_copy_only=False)
        np.add.at(taken, (agent, action), 1)
        np.add.at(allowed, (agent[row[flags]], slot[flags]), 1)
        choices = np.bincount(row[flags], minlength=len(rows))
        counts += np.bincount(agent, minlength=len(agents))
        forced += np.bincount(agent[choices <= 1], minlength=len(agents))
        offered += np.bincount(agent, weights=choices, minlength=len(agents)).astype(np.int64)
        overflow = rows["overflow"].to_numpy()
        overflown += int((overflow > 0).sum())
        most = max(most, int(overflow.max()))
        p = rows["propensity"].drop_null().to_numpy()
        known, sure, chance = known + len(p), sure + int((p >= 1).sum()), chance + float(p.sum())
        seen.append(_states(rows, slots, agent, action, described))
    n = max(1, int(counts.sum()))
    states, pairs = ([part[i] for part in seen] or [np.zeros(0, np.uint64)] for i in (0, 1))
    return Coverage(
        state_actions=len(np.unique(np.concatenate(pairs))) / n,
        states=len(np.unique(np.concatenate(states))) / n,
        by_agent={
            name: {
                "decisions": float(counts[i]),
                "slots_taken": float((taken[i] > 0).sum() / max(1, (allowed[i] > 0).sum())),
                "allowed_mean": float(offered[i] / max(1, counts[i])),
                "forced": float(forced[i] / max(1, counts[i])),
                "evenness": _evenness(taken[i], allowed[i]),
            }
            for i, name in enumerate(agents)
            if counts[i]
        },
        taken={name: taken[i] for i, name in enumerate(agents)},
        allowed={name: allowed[i] for i, name in enumerate(agents)},
        overflown=overflown / n,
        most_overflown=most,
        propensity=chance / known if known else None,
        certain=sure / known if known else None,
        actions=digest.hexdigest(),
    )


def _evenness(taken: Ints, allowed: Ints) -> float:
    """Return the entropy of the slots taken over that of the slots allowed; 1 where one is."""

    def entropy(counts: Ints) -> float:
        p = counts[counts > 0] / counts.sum()
        return float(-(p * np.log(p)).sum())

    most = entropy(allowed) if allowed.sum() else 0.0
    return entropy(taken) / most if most > 0 else 1.0


def _states(
    rows: pa.Table, slots: Ints, agent: Ints, action: Ints, described: Description
) -> tuple[Words, Words]:
    G, _, F = described.sizes
    flat = [
        np.asarray(rows[name].chunk(0).flatten().to_numpy()).view(np.uint32)
        for name in ("globals", "candidates")
    ]
    states, pairs = np.empty(len(slots), np.uint64), np.empty(len(slots), np.uint64)
    for array in flat:
        array.flags.writeable = False
    _hash(flat[0], flat[1], slots, agent, action, G, F, states, pairs)
    return states, pairs


@njit(cache=True, error_model="numpy")
def _hash(
    globals_: npt.NDArray[np.uint32],
    candidates: npt.NDArray[np.uint32],
    slots: Ints,
    agent: Ints,
    action: Ints,
    G: int,
    F: int,
    states: Words,
    pairs: Words,
) -> None:
    """Hash what was shown and what was done by Fowler, Noll and Vo's function, variant 1a."""
    prime = np.uint64(_PRIME)
    at = 0
    for i in range(len(slots)):
        h = (np.uint64(0xCBF29CE484222325) ^ np.uint64(agent[i])) * prime
        for j in range(G):
            h = (h ^ np.uint64(globals_[i * G + j] >> np.uint32(20))) * prime
        for _ in range(slots[i] * F):
            h = (h ^ np.uint64(candidates[at] >> np.uint32(20))) * prime
            at += 1
        h ^= h >> np.uint64(32)
        states[i] = h
        pairs[i] = (h ^ np.uint64(action[i] + 1)) * prime
