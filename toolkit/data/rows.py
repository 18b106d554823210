"""Rows: the decisions of one episode as plain columns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.data.transitions import Column, Description
from toolkit.decision import Decision
from toolkit.errors import require
from toolkit.features.placement import GLOBAL_FEATURES
from toolkit.live import Episode
from toolkit.workload import CONFIGURATION, PLACEMENT, Workload

NOT_SHOWN = [name for name, _ in GLOBAL_FEATURES].index("groups not shown")
"""The global feature of a placement that counts ready groups that found no slot."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one episode, without its number in a dataset.

    Args:
        columns: As :func:`toolkit.data.transitions.table` takes them, but for ``episode``.
        slots: How many slots each row shows, shape [n].
        decisions: How many rows are no closing row.
    """

    columns: dict[str, Column]
    slots: npt.NDArray[np.int64]
    decisions: int

    def digest(self) -> str:
        """Return a fingerprint of what was seen, done and paid; equal for equal episodes."""
        h = hashlib.sha256()
        for name in ("globals", "candidates", "mask", "action", "reward", "elapsed"):
            h.update(octets(self.columns[name]))
        h.update(octets(self.slots))
        return h.hexdigest()[:32]


def rows_of(
    episode: Episode,
    workload: Workload,
    described: Description,
    *,
    closing: Decision | None,
    run: int = -1,
    inferred: bool = False,
    invalid: npt.NDArray[np.bool_] | None = None,
) -> Rows:
    """Return an episode as rows.

    Args:
        episode: With its steps.
        workload: What it was about.
        described: Of the dataset.
        closing: What would have been asked next, where the episode was truncated.
        run: Its run in a trace.
        inferred: Whether its decisions were read from what ran.
        invalid: Which recorded choices the mask forbids, shape [steps].

    Raises:
        ConfigError: When the episode has no step, or its decisions are of other sizes.
    """
    steps, C = episode.steps, len(described.terms)
    require(len(steps) > 0, "an episode without a decision is no data")
    asked = [s.decision for s in steps] + ([closing] if closing is not None else [])
    n, d = len(asked), len(steps)
    (G, most, F), K = described.sizes, len(asked[0].mask)
    found = (len(asked[0].globals), K, asked[0].candidates.shape[1])
    require(
        found[::2] == (G, F) and most >= K,
        f"decisions of G, K, F = {found} do not belong into a dataset of {G, most, F}",
    )
    globals_ = np.stack([q.globals for q in asked])
    candidates = np.stack([q.candidates for q in asked])
    mask = np.stack([q.mask for q in asked])
    shown = mask | (candidates != 0).any(axis=2)
    slots = K - np.argmax(shown[:, ::-1], axis=1)
    slots[~shown.any(axis=1)] = 1
    kept = np.arange(K) < slots[:, None]
    action = _padded([s.action for s in steps], n, -1, np.int32)
    components = np.zeros((n, C))
    components[:d] = np.array([s.components for s in steps])
    last = np.arange(n) == d - 1
    agents = {name: i for i, name in enumerate(described.agents)}
    columns: dict[str, Column] = {
        "step": np.arange(n, dtype=np.int32),
        "time": np.array([q.time for q in asked]),
        "elapsed": _padded([s.elapsed for s in steps], n, 0.0, np.float64),
        "agent": np.array([agents[q.agent] for q in asked], dtype=np.int32),
        "globals": globals_,
        "candidates": candidates[kept],
        "mask": mask[kept],
        "action": action,
        "key": _padded(
            [int(s.decision.keys[s.action]) if s.action >= 0 else -1 for s in steps],
            n,
            -1,
            np.int32,
        ),
        "reward": _padded([s.reward for s in steps], n, 0.0, np.float64),
        "terminated": last & episode.terminated,
        "truncated": last & (not episode.terminated),
        "propensity": _padded(
            [np.nan if s.propensity is None else s.propensity for s in steps], n, np.nan, np.float64
        ),
        "inferred": np.full(n, inferred) & (np.arange(n) < d),
        "invalid": np.zeros(n, dtype=np.bool_),
        "overflow": np.zeros(n, dtype=np.int32),
        "run": np.full(n, run, dtype=np.int32),
        "decision": np.arange(n, dtype=np.int32),
        **_about(workload, asked, action),
    }
    for i, (name, *_) in enumerate(described.terms):
        columns[f"r_{name}"] = components[:, i].astype(np.float32)
    if invalid is not None:
        columns["invalid"][:d] = invalid
    if workload.family == PLACEMENT:
        columns["overflow"] = globals_[:, NOT_SHOWN].astype(np.int32)
    return Rows(columns=columns, slots=slots.astype(np.int64), decisions=d)


def _padded(values: list[Any], n: int, rest: Any, kind: Any) -> Column:
    """Return values and, for the closing row, what stands for nothing."""
    found = np.full(n, rest, dtype=kind)
    found[: len(values)] = values
    return found


def _about(workload: Workload, asked: list[Decision], action: Column) -> dict[str, Column]:
    """Return which job, task and node each decision is about; -1 where none."""
    n = len(asked)
    found = {name: np.full(n, -1, dtype=np.int32) for name in ("job", "task", "node")}
    if workload.family == CONFIGURATION:
        found["job"] = np.array([q.subject for q in asked], dtype=np.int32)
    if workload.family != PLACEMENT:
        return found
    nodes = len(workload.arrays.capacity)
    for i, q in enumerate(asked):
        key = int(q.keys[action[i]]) if action[i] >= 0 else -1
        if q.agent == "node":
            found["task"][i] = q.subject
            found["node"][i] = key % nodes if key >= 0 else -1
        else:
            found["task"][i] = key
    known = found["task"] >= 0
    found["job"][known] = workload.arrays.job_of[found["task"][known]]
    return found


def workload_digest(workload: Workload) -> str:
    """Return a fingerprint of jobs, tasks, edges, data, sizes and arrivals."""
    w = workload.arrays
    h = hashlib.blake2b(digest_size=8)
    for array in (w.job_ptr, w.type_of, w.parent_ptr, w.parents, w.data, w.arrival, w.scale):
        h.update(octets(array))
        h.update(str(array.shape).encode())
    return h.hexdigest()


def octets(array: Column) -> memoryview:
    """Return the bytes of an array, row by row, as hashes take them."""
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memoryview(flat)
