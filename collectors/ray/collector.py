"""Record real Ray runs: a policy allocates, Ray executes, every event is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collectors.earlier import earlier
from collectors.ray.importer import RayImporter
from collectors.turns import Turns
from toolkit import trace as traces
from toolkit.errors import ConfigError, require
from toolkit.progress import progress, say
from toolkit.trace import Trace

if TYPE_CHECKING:
    from collectors import fastq
    from collectors.ray.session import RayNode
    from toolkit.policies.policy import Policy
    from toolkit.scenarios.pipelines import Pipelines
    from toolkit.scenarios.scenario import Scenario
    from toolkit.store import Product


@dataclass(frozen=True, kw_only=True)
class RayCollector:
    """Runs the genomics dataflow on Ray under behaviour policies and records it, or imports.

    A first run is a sweep: every process under every profile, one at a time, on samples of
    several sizes; it gives the estimates that all policies see, unless ``estimates`` has
    them. Each further run is an episode of the scenario under the next behaviour policy, on a
    workload seed of its own.

    Args:
        path: What a Ray session left behind, to import instead of recording.
        runs: Episodes to record.
        behaviours: Names of the behaviour policies, taken in turn; ``name~0.3`` explores with
            probability 0.3.
        paired: Give each behaviour policy the same workloads, so that they can be compared;
            else every run has a workload of its own.
        times: How often each policy meets each workload; more than once where ``paired``.
        sweep: Quantiles of the job size at which the sweep measures.
        estimates: Id of an earlier recording of the same scenario, whose estimates policies are
            told; null measures them in a sweep.
        fastq: A user's own FASTQ file, of which 10 % of the reads are used; generated reads
            when null.
        address: An existing cluster to join; null starts one on loopback and stops it.
        store_memory: Memory of Ray's object store, MiB; of each node where there are several.
        nodes: Logical nodes to start on this machine, each with ``cpus`` and ``memory`` in MiB;
            null records on one node with what the scenario says.
    """

    path: str | None = None
    runs: int
    behaviours: Sequence[str]
    paired: bool
    sweep: Sequence[float]
    fastq: str | None
    address: str | None
    store_memory: int
    nodes: Sequence[Mapping[str, Any]] | None = None
    times: int = 1
    estimates: str | None = None

    def __post_init__(self) -> None:
        require(self.runs >= 1, f"collector.runs must be at least 1, got {self.runs}")
        require(len(self.behaviours) >= 1, "collector.behaviours must name at least one policy")
        Turns(policies=len(self.behaviours), paired=self.paired, times=self.times)
        require(
            len(self.sweep) >= 2 and all(0 < q < 1 for q in self.sweep),
            f"collector.sweep needs two or more quantiles in (0, 1), got {list(self.sweep)}",
        )
        require(self.store_memory >= 80, "collector.store_memory must be at least 80 MiB")
        require(
            self.nodes is None or self.address is None,
            "collector.nodes starts a cluster, so that collector.address must be null",
        )
        for node in self.nodes or ():
            require(
                set(node) == {"cpus", "memory"},
                f"collector.nodes: each needs cpus and memory and no more, got {dict(node)}",
                hint="toolkit collect 'collector.nodes=[{cpus: 2, memory: 48}]'",
            )
        if self.fastq is not None:
            require(
                Path(self.fastq).is_file(),
                f"collector.fastq names no file: {self.fastq}",
                hint="give the path of a FASTQ file, plain or gzip",
            )

    def importer(self) -> RayImporter:
        """Return what reads the records of a Ray session."""
        return RayImporter()

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
            ConfigError: When the scenario is of another family.
        """
        # Here, not above: an import needs neither Ray nor the simulator.
        from collectors import fastq
        from collectors.ray.session import LogicalNode, session
        from toolkit.scenarios.pipelines import Pipelines

        if not isinstance(scenario, Pipelines):
            raise ConfigError(
                f"scenario {scenario.name!r} is no stream of pipelines, which is what runs here",
                hint="record pipelines: toolkit collect scenario=genomics_open; simulate others: "
                f"toolkit collect +collector=simulated scenario={scenario.name}",
            )
        name = self.estimates
        told = None if name is None else earlier(name, "ray", scenario.to_dict())
        wanted = range(0 if told is None else 1, self.runs + 1)
        missing = [k for k in wanted if not (folder / f"run-{k}" / "provenance.json").is_file()]
        if missing:
            reads = fastq.pool(self.fastq, seed=seed) if self.fastq else None
            logical = [LogicalNode(**node) for node in self.nodes or ()]
            with session(self.address, self.store_memory, scenario, logical) as nodes:
                self._record(missing, scenario, policies, seed, folder, nodes, reads, told)
        parts = [traces.read(folder / f"run-{k}") for k in wanted]
        provenance = dict(parts[0].provenance)
        provenance["runs"] = [dict(r) for part in parts for r in part.provenance["runs"]]
        whole = traces.concatenate(parts, provenance)
        traces.validate(whole)
        return whole

    def _record(
        self,
        missing: Sequence[int],
        scenario: Pipelines,
        policies: Sequence[Policy],
        seed: int,
        folder: Path,
        nodes: Sequence[RayNode],
        reads: fastq.Pool | None,
        told: Product | None,
    ) -> None:
        from collectors.ray.engine import RayEngine
        from collectors.ray.record import record, recording
        from collectors.ray.session import cluster_of
        from collectors.ray.sweep import sweep
        from collectors.ray.tasks import warm
        from toolkit.live import chooser, rollout
        from toolkit.simulator.recorded import estimates_of

        say("warming the workers (the first use after installing compiles; about a minute)")
        warm(nodes)
        if 0 in missing:
            traces.write(sweep(scenario, self.sweep, nodes, seed, reads), folder / "run-0")
        if told is None:
            first = dict(traces.read(folder / "run-0").provenance)
        else:
            known = traces.read_provenance(told.path)["estimates"]
            first = recording(scenario, known, seed)
            first["engine"]["estimates_of"] = told.id
        estimates = estimates_of(first)
        turns = Turns(policies=len(policies), paired=self.paired, times=self.times)
        episodes = [k for k in missing if k > 0]
        with progress("recording on Ray", len(episodes), "runs") as bar:
            for k in episodes:
                turn = turns.of(k - 1, seed + 1)
                policy = policies[turn.policy]
                workload = scenario.plan(turn.seed, estimates=estimates, cluster=cluster_of(nodes))
                engine = RayEngine(nodes, turn.seed, reads, scenario)
                engine.prepare(workload)
                policy.reset(engine.workload)
                load = os.getloadavg()[0]
                episode = rollout(
                    engine,
                    engine.workload,
                    chooser(policy, turn.luck),
                    horizon=scenario.horizon,
                    weights=scenario.weights,
                )
                about = {
                    "run": k,
                    **turn.about,
                    "policy": policy.name,
                    "mode": "policy",
                    "load_average": load,
                    "terminated": episode.terminated,
                }
                traces.write(record(engine, episode, about, first), folder / f"run-{k}")
                latency = episode.outcome.completed - episode.outcome.arrived
                bar.update(note=f"{policy.name}: mean latency {np.nanmean(latency):.2f} s")
