"""Record torch tasks on real devices: a policy places them, every transfer and task is kept."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from collectors.earlier import earlier
from collectors.gpu.engine import GpuEngine
from collectors.gpu.rows import record
from collectors.gpu.sweep import sweep
from collectors.gpu.workers import Workers, check_unequal, specs
from collectors.host import host
from collectors.turns import Turns
from toolkit import trace as traces
from toolkit.errors import ConfigError, EngineError, ToolkitError, require
from toolkit.live import chooser, rollout
from toolkit.policies.policy import Policy
from toolkit.progress import progress, say
from toolkit.scenarios.described import described
from toolkit.scenarios.scenario import Scenario
from toolkit.scenarios.torch_dags import Measured, measured
from toolkit.scenarios.workflows import Workflows
from toolkit.store import Product
from toolkit.trace import Trace
from toolkit.workflows.operations import parsed

_LEAST = 5
"""Sizes of each operation, and repeats of each, that a sweep for a calibration needs."""


@dataclass(frozen=True, kw_only=True)
class GpuRecorder:
    """Runs graphs of torch tasks under behaviour policies and records them.

    A first run is a sweep: every type of task on every kind of device, one at a time; it gives
    the estimates that all policies see, unless ``estimates`` has them. Each further run is an
    episode of the scenario under the next behaviour policy, on a workload seed of its own. In the
    mode ``sweep`` the sweep is all, and is repeated with all devices at work.

    Args:
        runs: Episodes to record.
        behaviours: Names of the behaviour policies, taken in turn.
        paired: Give each behaviour policy the same workloads, so that they can be compared.
        times: How often each policy meets each workload; more than once where ``paired``.
        mode: ``policy`` or ``sweep``.
        repeats: Executions of each type on each kind of device in the sweep.
        estimates: Id of an earlier recording of the same scenario, whose estimates policies are
            told; null measures them in a sweep.
        devices: ``auto``, ``cuda`` or ``cpu``.
        streams: Streams of each CUDA device.
        unequal: Whether two CPU workers are made unequal, and refused when they are not.
    """

    runs: int = 8
    behaviours: Sequence[str] = ("random",)
    paired: bool = False
    times: int = 1
    mode: str = "policy"
    repeats: int = 5
    estimates: str | None = None
    devices: str = "auto"
    streams: int = 2
    unequal: bool = True

    def __post_init__(self) -> None:
        require(self.runs >= 1, f"collector.runs must be at least 1, got {self.runs}")
        require(len(self.behaviours) >= 1, "collector.behaviours must name at least one policy")
        Turns(policies=len(self.behaviours), paired=self.paired, times=self.times)
        require(
            self.mode in ("policy", "sweep"),
            f"collector.mode must be policy or sweep, got {self.mode!r}",
        )
        least = _LEAST if self.mode == "sweep" else 1
        require(
            self.repeats >= least,
            f"collector.repeats must be at least {least} in mode {self.mode}, got {self.repeats}",
        )
        require(
            self.mode == "policy" or self.estimates is None,
            "collector.mode=sweep measures, so that collector.estimates must be null",
        )
        require(
            self.devices in ("auto", "cuda", "cpu"),
            f"collector.devices must be auto, cuda or cpu, got {self.devices!r}",
        )
        require(1 <= self.streams <= 32, f"collector.streams must be 1 to 32, got {self.streams}")

    def collect(
        self, scenario: Scenario, policies: Sequence[Policy], seed: int, folder: Path
    ) -> Trace:
        """Record, or go on where an interrupted recording stopped.

        Args:
            scenario: What arrives.
            policies: The behaviour policies, in the order of ``behaviours``.
            seed: Workload k has seed ``seed + k``.
            folder: Where finished runs are kept until all are there.

        Raises:
            ConfigError: When the scenario is no stream of torch tasks.
            EngineError: When a device fails, or two CPU workers are not unequal.
        """
        if not isinstance(scenario, Workflows):
            raise _no_torch(scenario.name)
        types = self._types(scenario, seed)
        name = self.estimates
        told = None if name is None else earlier(name, "gpu", described(scenario))
        wanted = range(0 if told is None else 1, 1 if self.mode == "sweep" else self.runs + 1)
        missing = [k for k in wanted if not (folder / f"run-{k}" / "provenance.json").is_file()]
        if missing:
            say("starting the workers")
            with Workers(specs(self.devices, self.streams, unequal=self.unequal)) as workers:
                self._record(missing, types, scenario, policies, seed, folder, workers, told)
        parts = [traces.read(folder / f"run-{k}") for k in wanted]
        provenance = dict(parts[0].provenance)
        provenance["runs"] = [dict(r) for part in parts for r in part.provenance["runs"]]
        whole = traces.concatenate(parts, provenance)
        traces.validate(whole)
        return whole

    def _types(self, scenario: Workflows, seed: int) -> tuple[str, ...]:
        types = scenario.plan(seed + 1).types
        try:
            sizes: dict[str, set[int]] = {}
            for name in types:
                operation, size = parsed(name)
                sizes.setdefault(operation.name, set()).add(size)
        except ToolkitError:
            raise _no_torch(scenario.name) from None
        if self.mode == "sweep":
            for name, found in sizes.items():
                require(
                    len(found) >= _LEAST,
                    f"a sweep needs {_LEAST} sizes of each operation, {name} has {len(found)}",
                    hint="add sizes to scenario.graphs.operations",
                )
        require(not scenario.duplicate, "real tasks are not executed twice: scenario.duplicate")
        return types

    def _record(
        self,
        missing: Sequence[int],
        types: Sequence[str],
        scenario: Workflows,
        policies: Sequence[Policy],
        seed: int,
        folder: Path,
        workers: Workers,
        told: Product | None,
    ) -> None:
        all_cpu = all(p.device.device == "cpu" for p in workers.places)
        ratios = check_unequal(workers) if self.unequal and all_cpu else None
        first = _provenance(scenario, seed, workers, ratios)
        if 0 in missing:
            about = {
                "run": 0,
                "seed": seed,
                "policy": None,
                "mode": "sweep",
                "load_average": os.getloadavg()[0],
                "began_unix": time.time(),
            }
            found = sweep(
                workers,
                types,
                repeats=self.repeats,
                together=self.mode == "sweep",
                seed=seed,
                about=about,
                provenance=first,
            )
            traces.write(found.trace, folder / "run-0")
        kept = traces.read(folder / "run-0" if told is None else told.path)
        if told is None:
            first = dict(kept.provenance)
        else:
            first["estimates"] = kept.provenance["estimates"]
            first["engine"]["estimates_of"] = told.id
        estimates = Measured.from_dict(first["estimates"])
        cluster = workers.cluster(estimates.bandwidth.tolist(), estimates.latency.tolist())
        nodes = kept.of("nodes", kept.runs()[0]["run"]).to_pylist()
        before = [(n["name"], n["kind"]) for n in nodes]
        now = [(n.name, n.kind) for n in cluster.nodes]
        if before != now:
            raise EngineError(
                f"what policies are told was measured on {before}, and these devices are {now}",
                hint="record again on these devices: force=true, or another trace=<id>; measure "
                "them: collector.estimates=null",
            )
        episodes = [k for k in missing if k > 0]
        turns = Turns(policies=len(policies), paired=self.paired, times=self.times)
        with progress("recording on the devices", len(episodes), "runs") as bar:
            for k in episodes:
                turn = turns.of(k - 1, seed + 1)
                policy = policies[turn.policy]
                plan = scenario.plan(turn.seed)
                workload = measured(
                    plan, cluster, estimates, slots=scenario.slots, advice=scenario.advice
                )
                engine = GpuEngine(workers, turn.seed)
                engine.prepare(workload)
                policy.reset(workload)
                load = os.getloadavg()[0]
                episode = rollout(
                    engine,
                    workload,
                    chooser(policy, turn.luck),
                    horizon=scenario.horizon,
                    weights=scenario.weights,
                )
                engine.drain()
                run = {
                    "run": k,
                    **turn.about,
                    "policy": policy.name,
                    "mode": "policy",
                    "load_average": load,
                    "began_unix": engine.began_unix,
                    "terminated": episode.terminated,
                }
                trace = record(engine, episode, run, first, workers.about())
                traces.write(trace, folder / f"run-{k}")
                latency = episode.outcome.completed - episode.outcome.arrived
                mean = float(np.nanmean(latency)) if np.isfinite(latency).any() else math.nan
                bar.update(note=f"{policy.name}: mean latency {mean:.2f} s")


def _no_torch(name: str) -> ConfigError:
    return ConfigError(
        f"the tasks of scenario {name!r} are no torch operations, which is what runs here",
        hint="record graphs of them: toolkit collect +collector=gpu scenario=torch_dags",
    )


def _provenance(
    scenario: Workflows, seed: int, workers: Workers, ratios: Mapping[str, float] | None
) -> dict[str, Any]:
    return {
        "schema": traces.SCHEMA,
        "source": "gpu",
        "scenario": None,
        "clock": "the machine's monotonic clock, s since the run began (at); when the recorder "
        "read the word of it (seen)",
        "engine": {
            "devices": workers.about(),
            "precision": "float32",
            "dispatch": "the policy's; one task at a time on each node, data move once placed",
            "cpu_workers_speed_ratio": ratios,
            "rules": {"slots": scenario.slots, "advice": scenario.advice},
            "scenario": described(scenario),
        },
        "host": host(),
        "seed": seed,
        "completeness": None,
    }
