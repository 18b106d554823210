"""Generate: episodes of a scenario under behaviour policies, as rows, by many processes.

Work is cut into chunks of some episodes. What a worker has finished lies in a folder of its own
until all is there, so that an interrupted generation goes on, and is joined in the order of the
seeds, so that the bytes do not depend on who was faster.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import pyarrow as pa
import pyarrow.parquet as pq

from toolkit import fanout
from toolkit.data.episodes import FILE, About
from toolkit.data.rows import Rows, rows_of, workload_digest
from toolkit.data.transitions import Description
from toolkit.data.writer import Writer, write_index
from toolkit.decision import last_seen
from toolkit.errors import require
from toolkit.policies.policy import Policy
from toolkit.progress import progress
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.simulator import simulated

CHUNK = 8
"""Episodes that a worker simulates at a time, at first and of a learner."""

WAVE = 4
"""Chunks that are handed out before it is known how long episodes are."""

CHUNK_DECISIONS = 20_000
"""Decisions that a worker simulates at a time once that is known."""

FEW = 100_000
"""Decisions that are few: they are simulated one episode at a time, by this process."""


class Learner(Protocol):
    """What chooses the behaviour of each episode by the returns of those before."""

    def ask(self) -> Sequence[tuple[Policy, int]]:
        """Return the policies of the next episodes, each with the number of its workload."""

    def tell(self, returns: Sequence[float]) -> None:
        """Learn from the returns of those episodes."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who simulates.

    Args:
        executor: ``processes`` of this machine or ``ray``, a cluster that shares its files.
        count: Chunks at once; one per core where absent.
        address: Of the Ray cluster; null starts one on loopback.
    """

    executor: str = "processes"
    count: int | None = None
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    folder: Path
    scenario: Scenario
    policies: Sequence[Policy]
    seeds: Sequence[int]
    described: Description
    discount_seconds: float


def simulate(
    scenario: Scenario, policy: Policy, seed: int, described: Description
) -> tuple[Rows, About]:
    """Return one episode as rows.

    Args:
        scenario: What arrives.
        policy: Who decides.
        seed: Of the workload, the luck and the drawing of actions.
        described: Of the dataset.
    """
    workload = scenario.plan(seed)
    episode = simulated(
        scenario, policy, workload, seed, horizon=scenario.horizon, weights=scenario.weights
    )
    closing = None if episode.terminated else last_seen(episode.scene)
    rows = rows_of(episode, workload, described, closing=closing)
    return rows, About(policy=policy.name, workload=workload_digest(workload), seed=seed)


def _chunk(work: _Chunk) -> Path:
    """Simulate some episodes into a folder; returns it."""
    aside = work.folder.with_name(f".{work.folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    writer = Writer(aside, work.described, discount_seconds=work.discount_seconds)
    for policy, seed in zip(work.policies, work.seeds, strict=True):
        rows, about = simulate(work.scenario, policy, seed, work.described)
        writer.add(rows, about)
    write_index(aside, FILE, writer.close())
    if not work.folder.is_dir():  # another may have been faster, where work is done twice
        aside.replace(work.folder)
    return work.folder


def episodes_in(folder: Path) -> Iterator[tuple[pa.Table, Mapping[str, Any]]]:
    """Yield rows and entry of each episode of a folder, in order."""
    index = pq.read_table(folder / FILE).to_pylist()
    files = sorted(folder.glob("part-*.parquet"))
    for number, file in enumerate(files):
        rows = pq.read_table(file, memory_map=True)
        for told in index:
            if told["part"] == number:
                yield rows.slice(told["first"], told["rows"]), told


class InTurn:
    """Policies that take turns and learn nothing.

    Args:
        policies: An episode each, and again from the first.
        count: Episodes that are asked for next.
    """

    def __init__(self, policies: Sequence[Policy], count: int) -> None:
        self._policies, self.count = policies, count
        self._next = 0

    def ask(self) -> Sequence[tuple[Policy, int]]:
        """Return the next policies, each with a workload of its own."""
        first, self._next = self._next, self._next + self.count
        turns = len(self._policies)
        return [(self._policies[(first + i) % turns], i) for i in range(self.count)]

    def tell(self, returns: Sequence[float]) -> None:
        """Do nothing."""


def generate(
    folder: Path,
    writer: Writer,
    scenario: Scenario,
    behaviour: Sequence[Policy] | Learner,
    described: Description,
    *,
    first_seed: int,
    transitions: int,
    discount_seconds: float,
    workers: Workers,
) -> None:
    """Write episodes until there are enough decisions.

    Args:
        folder: For what is not joined yet.
        writer: Takes the episodes.
        scenario: What is planned afresh for every episode.
        behaviour: Policies in turn, or a learner.
        described: Of the dataset.
        first_seed: Of the first workload; those after it count on.
        transitions: Decisions, at least.
        discount_seconds: τ.
        workers: Who simulates.

    Raises:
        ConfigError: When the episodes repeat each other, so that there are never enough.
    """
    few = transitions <= FEW
    size = 1 if few else CHUNK
    turns = InTurn(behaviour, size * (1 if few else WAVE)) if _is_turns(behaviour) else None
    learner: Learner = turns or behaviour  # type: ignore[assignment]
    if turns is None and not few:
        size = max(1, CHUNK // 2)
    seed, done, chunk, played = first_seed, 0, 0, 0
    told: set[str] = set()
    with (
        progress(f"simulating {scenario.name}", transitions, "decisions") as bar,
        fanout.crew(workers.executor, 1 if few else workers.count, workers.address) as crew,
    ):
        while done < transitions:
            asked = learner.ask()
            work = [
                _Chunk(
                    folder=folder / f"chunk-{chunk + i:05d}-{seed}-{size}-{len(asked)}",
                    scenario=scenario,
                    policies=[p for p, _ in asked[k : k + size]],
                    seeds=[seed + w for _, w in asked[k : k + size]],
                    described=described,
                    discount_seconds=discount_seconds,
                )
                for i, k in enumerate(range(0, len(asked), size))
            ]
            before, returns = done, []
            for ready in _in_order(work, crew):
                for rows, entry in episodes_in(ready):
                    returns.append(entry["return"])
                    # A rule without chance may do twice the same; nothing is learnt from that.
                    if done < transitions and entry["digest"] not in told:
                        told.add(entry["digest"])
                        writer.take(rows, entry)
                        done += entry["decisions"]
                        bar.update(entry["decisions"], entry["policy"])
                if done >= transitions:
                    break
            else:
                learner.tell(returns)
            require(done > before, f"{scenario.name} repeats its episodes: only {done} decisions")
            seed, chunk = seed + 1 + max(w for _, w in asked), chunk + len(work)
            played += len(asked)
            if turns is not None and not few:
                # As many as are needed by their mean length, and chunks of a good size.
                length = done / played
                size = max(CHUNK, round(CHUNK_DECISIONS / length))
                turns.count = max(1, math.ceil((transitions - done) / length))


def _is_turns(behaviour: Sequence[Policy] | Learner) -> TypeGuard[Sequence[Policy]]:
    return isinstance(behaviour, Sequence)


def _in_order(work: Sequence[_Chunk], crew: fanout.Each) -> Iterator[Path]:
    """Yield finished chunks in order; those that lie there from before are not made again."""
    made = iter(crew(_chunk, [w for w in work if not w.folder.is_dir()]))
    try:
        for w in work:
            while not w.folder.is_dir():
                if next(made, None) is None:
                    break
            yield w.folder
    finally:
        if isinstance(made, Generator):
            made.close()
