"""Calibration: everything a replay needs, fitted on recorded runs, with its measured error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.calibration.contention import rates, work
from toolkit.calibration.durations import Durations
from toolkit.calibration.executions import Executions, covariates
from toolkit.calibration.overheads import (
    Delayed,
    cold_seconds,
    startups,
    tables,
)
from toolkit.calibration.planned import Planned
from toolkit.calibration.quantiles import drawn
from toolkit.calibration.runs import Runs
from toolkit.errors import CorruptError, SchemaError
from toolkit.reward import Reward
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.store import write_text
from toolkit.workload import CONFIGURATION, CPUS, Floats, Workload

SCHEMA = 2
FILE = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class Sought:
    """What cannot be regressed, because only whole runs show it.

    Args:
        interference: By how much tasks are slower on a machine that is full, less 1.
        delay: What the recorded delays before a start are multiplied by.
    """

    interference: float = 0.0
    delay: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted truth model, and what policies are told beside it.

    Args:
        planned: What was recorded.
        durations: Of the work of tasks.
        start: Quantiles of the delay before a start, s, by type; shape [T, Q].
        seen: Quantiles of the delay until an end is known, s, by type; shape [T, Q].
        startup: s until executors are there, by how many start at once; shape [S].
        sought: What was found by simulating.
        search: How it was found: losses of random search and of what refined it.
        fidelity: Measured errors; see ``toolkit.calibration.fidelity``.
    """

    planned: Planned
    durations: Durations
    start: Floats
    seen: Floats
    startup: Floats
    sought: Sought
    search: Mapping[str, Any] = field(default_factory=dict)
    fidelity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.planned.name

    @property
    def error(self) -> float:
        """Relative error of the makespan on held-out runs; 0 where none could be held out."""
        for kind in ("workload", "policy", "time"):
            found = self.fidelity.get("splits", {}).get(kind, {}).get("metrics", {})
            if "makespan" in found:
                return float(found["makespan"]["held_out"])
        return 0.0

    @property
    def weights(self) -> Reward:
        """Weights of the reward."""
        return self.planned.weights

    @property
    def horizon(self) -> float:
        """Seconds after which an episode is truncated."""
        return self.planned.horizon

    def plan(self, seed: int) -> Workload:
        """Return an unseen episode, as policies are shown it."""
        return self.planned.plan(seed)

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Draw luck for every task and delay (common random numbers per seed)."""
        types, data = covariates(self.planned, workload)
        luck = generator(seed, "luck").random(len(types))
        residual = self.durations.residual(types, luck)
        seconds = np.exp(self.durations.log_means(types, data) + residual[:, None])
        return self.world(workload, seconds, self.delays(workload, seed))

    def world(self, workload: Workload, work: Floats, delays: tuple[Floats, Floats]) -> Truth:
        """Return a truth with this engine's overheads and contention.

        Args:
            workload: What runs.
            work: s of every task in every column, shape [n, C].
            delays: Before the start and until the end is known, s, each of shape [n].
        """
        speeds, machine = self._speeds(workload)
        return Truth(
            seconds=work,
            start_delay=delays[0],
            seen_delay=delays[1],
            startup=self.startup,
            rates=speeds,
            machine=machine,
        )

    def delays(self, workload: Workload, seed: int) -> tuple[Floats, Floats]:
        """Return the delays before the start and until the end is known of each task, s."""
        types, _ = covariates(self.planned, workload)
        n = len(types)
        start = drawn(self.start, types, generator(seed, "start").random(n))
        seen = drawn(self.seen, types, generator(seed, "seen").random(n))
        return start * self.sought.delay, seen

    def _speeds(self, workload: Workload) -> tuple[Floats, Any]:
        nodes = len(workload.arrays.capacity)
        speeds = speeds_of(self.planned, self.sought.interference)
        if (speeds == 1.0).all():
            return np.zeros(0), np.zeros(0, dtype=np.int32)
        shared = np.zeros(nodes) if self.planned.shared else np.arange(nodes)
        return speeds, shared.astype(np.int32)

    def beyond(self, workload: Workload, columns: Any) -> float:
        """Return the share of tasks outside of what was fitted, given what each ran on."""
        types, data = covariates(self.planned, workload)
        return float(self.durations.beyond(types, data, np.asarray(columns)).mean())

    def save(self, folder: Path) -> None:
        """Write ``calibration.json``."""
        document = {
            "schema": SCHEMA,
            "planned": self.planned.to_dict(),
            "durations": self.durations.to_dict(),
            "start": self.start.tolist(),
            "seen": self.seen.tolist(),
            "startup": self.startup.tolist(),
            "sought": dataclasses.asdict(self.sought),
            "search": dict(self.search),
            "fidelity": dict(self.fidelity),
        }
        write_text(folder / FILE, json.dumps(document))

    @staticmethod
    def load(folder: Path) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises:
            CorruptError: When the file is damaged.
            SchemaError: When it is of another version.
        """
        file = folder / FILE
        try:
            d = json.loads(file.read_text(encoding="utf-8"))
            if d["schema"] != SCHEMA:
                raise SchemaError(
                    f"{file} has schema version {d['schema']!r}; this release reads {SCHEMA}",
                    hint="make it again: toolkit calibrate force=true",
                )
            return Calibration(
                planned=Planned.from_dict(d["planned"]),
                durations=Durations.from_dict(d["durations"]),
                start=np.array(d["start"], dtype=np.float64),
                seen=np.array(d["seen"], dtype=np.float64),
                startup=np.array(d["startup"], dtype=np.float64),
                sought=Sought(**{k: float(v) for k, v in d["sought"].items()}),
                search=d["search"],
                fidelity=d["fidelity"],
            )
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise CorruptError(
                f"{file} cannot be read", hint="make it again: toolkit calibrate force=true"
            ) from error


def speeds_of(planned: Planned, interference: float) -> Floats:
    """Return the speeds of tasks by the load of a machine of the recording.

    Where parents may be executed again beside a child nothing contends: the kernel excludes both.
    """
    if getattr(planned.scenario, "duplicate", False):
        return np.ones(2)
    if planned.family == CONFIGURATION:
        scenario: Any = planned.scenario
        most = float(max(scenario.cores) * (max(scenario.instances) if planned.shared else 1))
    else:
        capacity = planned.plan(0).arrays.capacity[:, CPUS]
        most = float(capacity.sum() if planned.shared else capacity.max())
    return rates(interference, planned.cores if planned.shared else most, most)


def fit(
    recorded: Runs,
    runs: Sequence[int],
    sought: Sought,
    *,
    kinds: tuple[str, ...] | None = None,
    seed: int = 0,
) -> Calibration:
    """Regress durations and overheads on recorded runs, given what cannot be regressed.

    Args:
        recorded: A trace.
        runs: Runs of policies to learn from; sweeps are learnt from in any case.
        sought: Interference and delays.
        kinds: Of the duration models, where they are known already.
        seed: Of folds and trees.
    """
    planned = recorded.planned
    every = [*recorded.sweeps, *runs]
    done = Executions.join([recorded.executions(r) for r in every])
    alone = work(done, speeds_of(planned, sought.interference))
    warm = ~done.cold
    durations = Durations.fit(
        done.where(warm), alone[warm], len(planned.types), planned.columns, seed=seed, kinds=kinds
    )
    delays = [(r, d) for r in runs if (d := recorded.delayed(r)) is not None]
    types = [covariates(planned, recorded.workload(r))[0][d.task] for r, d in delays]
    of = np.concatenate(types) if types else np.zeros(0, dtype=np.int64)
    start = np.concatenate([d.start for _, d in delays]) if delays else np.zeros(0)
    seen = np.concatenate([d.seen for _, d in delays]) if delays else np.zeros(0)
    return Calibration(
        planned=planned,
        durations=durations,
        start=tables(start, of, len(planned.types)),
        seen=tables(seen, of, len(planned.types)),
        startup=_startup(recorded, delays, durations),
        sought=sought,
    )


def _startup(recorded: Runs, delays: Sequence[tuple[int, Delayed]], durations: Durations) -> Floats:
    scenario: Any = recorded.planned.scenario
    if recorded.planned.family != CONFIGURATION:
        return np.zeros(1)
    counts, seconds = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for run, d in delays:
        done = recorded.executions(run)
        usual = np.exp(durations.log_mean(done.type_of, done.data, done.column))
        counts.append(d.started)
        seconds.append(d.startup + cold_seconds(done, usual, d.first))
    most = max(scenario.instances)
    return startups(np.concatenate(counts), np.concatenate(seconds), most, scenario.startup)
