"""Record batches on a real Spark: a policy chooses the executors, Spark runs, all is kept."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from collectors.host import host
from collectors.spark import archive
from collectors.spark.cluster import SMALL_JVM, Master, Spark, installed, standalone
from collectors.spark.engine import BatchEngine, SparkEngine
from collectors.spark.fleet import COLD, WARM_POOL, Fleet
from collectors.spark.rows import record
from collectors.spark.session import DRIVER_MEMORY, scratch_folder, session
from collectors.spark.submit import SUBMIT, SubmitEngine, check_line
from collectors.spark.video import STAGES
from collectors.streams import Limits
from collectors.turns import Turns
from toolkit import trace as traces
from toolkit.errors import ConfigError, ResourceError, require, unknown
from toolkit.live import chooser, rollout
from toolkit.paths import data_root
from toolkit.policies.policy import Policy
from toolkit.progress import progress, say
from toolkit.scenarios.batches import MIB, Batches
from toolkit.scenarios.scenario import Scenario
from toolkit.store import sha256
from toolkit.trace import Trace

REGIMES = (COLD, WARM_POOL, SUBMIT)

LEAST_MEMORY = 450
"""MiB of the smallest executor that Spark starts: 1.5 times the 300 that it reserves."""

_JVM_BESIDE = 150
"""MiB that an executor needs beside its heap, with its Python processes."""

_BASE = DRIVER_MEMORY + 900
"""MiB of driver, master and workers."""


@dataclass(frozen=True, kw_only=True)
class SparkRecorder:
    """Runs the pipeline of paper B on Spark under behaviour policies and records it.

    Args:
        runs: Episodes to record.
        paired: Give each behaviour policy the same workloads, so that they can be compared.
        times: How often each policy meets each workload; more than once where ``paired``.
        regime: ``cold``: executors of another shape are killed, so that each change is paid in
            full. ``warm_pool``: they stay idle. ``submit``: the user's own command per batch.
            A recording has one regime.
        pool: Most executors that stay idle in a warm pool.
        frame: Width and height of the cameras' frames, pixels.
        submit: The command of regime ``submit``: words with placeholders.
        archive: Start executors from an archive of their classes; the first recording makes it.
    """

    runs: int
    paired: bool = False
    times: int = 1
    regime: str = COLD
    pool: int = 4
    frame: Sequence[int] = (320, 180)
    submit: Sequence[str] | None = None
    archive: bool = True

    def __post_init__(self) -> None:
        require(self.runs >= 1, f"collector.runs must be at least 1, got {self.runs}")
        Turns(policies=1, paired=self.paired, times=self.times)
        if self.regime not in REGIMES:
            raise unknown("regime", str(self.regime), REGIMES)
        require(self.pool >= 0, f"collector.pool must be 0 or more, got {self.pool}")
        require(
            len(self.frame) == 2 and all(2 <= side <= 8192 for side in self.frame),
            f"collector.frame is width and height, 2 to 8192 pixels each, got {list(self.frame)}",
        )
        require(
            (self.submit is not None) == (self.regime == SUBMIT),
            "collector.submit is the command of regime=submit and of no other",
            hint="collector.regime=submit 'collector.submit=[spark-submit,…,job.py]'",
        )

    def collect(
        self, scenario: Scenario, policies: Sequence[Policy], seed: int, folder: Path
    ) -> Trace:
        """Record, or go on where an interrupted recording stopped.

        Args:
            scenario: What arrives.
            policies: The behaviour policies, taken in turn.
            seed: Workload k has seed ``seed + k``.
            folder: Where finished runs are kept until all are there.

        Raises:
            ConfigError: When the scenario cannot run here.
            EngineError: When Spark or Java is missing, or fails.
            ResourceError: When memory does not suffice.
        """
        if not isinstance(scenario, Batches):
            raise ConfigError(
                f"scenario {scenario.name!r} is no stream of batches, which is what runs here",
                hint="record batches: toolkit collect +collector=spark scenario=spark_video",
            )
        self._check(scenario)
        missing = [
            k for k in range(self.runs) if not (folder / f"run-{k}" / "provenance.json").is_file()
        ]
        if missing:
            with self._engine(scenario, folder) as engine:
                self._record(missing, scenario, policies, seed, folder, engine)
        parts = [traces.read(folder / f"run-{k}") for k in range(self.runs)]
        provenance = dict(parts[0].provenance)
        provenance["runs"] = [dict(r) for part in parts for r in part.provenance["runs"]]
        regimes = sorted({str(r["regime"]) for r in provenance["runs"]})
        require(regimes == [self.regime], f"the runs in {folder} have several regimes: {regimes}")
        whole = traces.concatenate(parts, provenance)
        traces.validate(whole)
        return whole

    def _check(self, scenario: Batches) -> None:
        if self.regime == SUBMIT:
            check_line(self.submit or (), scenario)
            return
        names = [s.name for s in scenario.stages]
        for name in names:
            if name not in STAGES:
                raise unknown("stage of the video pipeline", name, STAGES)
        order = list(STAGES)
        require(
            names == sorted(names, key=order.index),
            f"the stages of the video pipeline come in the order {', '.join(order)}",
        )
        require(
            min(scenario.memory) >= LEAST_MEMORY,
            f"Spark starts no executor with less than {LEAST_MEMORY} MiB, "
            f"the scenario has {min(scenario.memory):g}",
        )
        whole = all(float(x).is_integer() for x in (*scenario.cores, *scenario.memory))
        require(whole, "executors of Spark have whole cores and whole MiB")

    @contextmanager
    def _engine(self, scenario: Batches, folder: Path) -> Iterator[BatchEngine]:
        """Yield what runs the episodes."""
        for left in folder.glob("spark-*"):
            # Of a recording that was killed.
            shutil.rmtree(left, ignore_errors=True)
        if self.regime == SUBMIT:
            scratch = scratch_folder(folder)
            try:
                yield SubmitEngine(self.submit or (), scratch, Limits())
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            return
        spark = installed()
        check_memory(scenario, self.regime, self.pool)
        # Idle executors of a warm pool hold their cores and memory in the master's books.
        spare = self.pool if self.regime == WARM_POOL else 0
        hosts = [
            (
                math.floor(scenario.host_cpus) + spare * max(scenario.cores),
                math.floor(scenario.host_memory * 1024) + spare * math.ceil(max(scenario.memory)),
            )
        ] * scenario.hosts
        scratch = scratch_folder(folder)
        try:
            with standalone(spark, hosts, scratch) as master:
                flags = self._flags(spark, master, scratch)
                with session(spark, master, scratch / "application", flags) as running:
                    fleet = Fleet(running, self.regime, self.pool)
                    stages = [s.name for s in scenario.stages]
                    yield SparkEngine(running, fleet, stages, (self.frame[0], self.frame[1]))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _flags(self, spark: Spark, master: Master, scratch: Path) -> tuple[str, ...]:
        if not self.archive:
            return ()
        kept = archive.place(spark, data_root())
        if not kept.is_file() and not archive.make(spark, master, kept, scratch / "archive"):
            say("the classes could not be kept; executors start without")
            return ()
        return archive.flags(kept)

    def _record(
        self,
        missing: Sequence[int],
        scenario: Batches,
        policies: Sequence[Policy],
        seed: int,
        folder: Path,
        engine: BatchEngine,
    ) -> None:
        spark = installed() if self.regime != SUBMIT else None
        turns = Turns(policies=len(policies), paired=self.paired, times=self.times)
        with progress("recording on Spark", len(missing), "runs") as bar:
            for k in missing:
                turn = turns.of(k, seed)
                policy = policies[turn.policy]
                workload = scenario.plan(turn.seed)
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
                about = {
                    "run": k,
                    **turn.about,
                    "policy": policy.name,
                    "mode": "policy",
                    "regime": self.regime,
                    "began_unix": engine.origin,
                    "load_average": load,
                    "terminated": episode.terminated,
                    "ended_at": float(episode.scene.state.time[0]),
                }
                provenance = self._provenance(scenario, seed, spark)
                part = record(engine, episode, about, provenance)
                traces.write(part, folder / f"run-{k}")
                seconds = [b.seconds for b in engine.batches if b.finished is not None]
                mean = sum(seconds) / max(1, len(seconds))
                bar.update(note=f"{policy.name}: mean batch {mean:.2f} s")

    def _archived(self, spark: Spark) -> str | None:
        """Return the SHA-256 of the archive of classes."""
        kept = archive.place(spark, data_root())
        return sha256(kept) if self.archive and kept.is_file() else None

    def _provenance(self, scenario: Batches, seed: int, spark: Spark | None) -> dict[str, Any]:
        engine: dict[str, Any] = {"regime": self.regime, "pool": self.pool}
        if spark is not None:
            engine |= {
                "spark": spark.version,
                "java": spark.java_version,
                "jvm_flags": list(SMALL_JVM),
                "class_archive": self._archived(spark),
                "frame": list(self.frame),
                "dispatch": "Spark's own: FIFO, any free slot, no waiting for locality",
                "cores": "slots: executors share the cores of one machine, so that more of them "
                "cannot make a batch faster than the machine is",
            }
        else:
            engine["submit"] = list(self.submit or ())
        return {
            "schema": traces.SCHEMA,
            "source": "spark",
            "scenario": dataclasses.asdict(scenario),
            "estimates": None,
            "clock": "at: time.time() of Spark's driver, ms; time 0 is the start of the run. The "
            "log is read when a batch is done, before the next decision; seen is when the state "
            "was shown an event",
            "engine": engine,
            "host": host(),
            "seed": seed,
            "completeness": None,
        }


def check_memory(scenario: Batches, regime: str, pool: int) -> None:
    """Refuse, before Spark starts, what this machine's memory cannot hold.

    Raises:
        ResourceError: Saying what is needed and what is free.
    """
    per_host = scenario.host_memory * 1024
    most = 0.0
    for cores in scenario.cores:
        for memory in scenario.memory:
            fitting = min(scenario.host_cpus // cores, per_host // memory) * scenario.hosts
            count = min(max(scenario.instances), fitting)
            most = max(most, count * (memory + _JVM_BESIDE))
    if regime == WARM_POOL:
        most += pool * (max(scenario.memory) + _JVM_BESIDE)
    need = _BASE + most
    free = psutil.virtual_memory().available / MIB
    if free < need:
        raise ResourceError(
            f"a recording needs about {need:.0f} MiB of memory for Spark and its executors, but "
            f"{free:.0f} MiB are available",
            hint="close something, or let policies choose fewer or smaller executors: "
            "scenario.instances=[1,2,3] 'scenario.memory=[500]'",
        )
