"""Simulated: any policy on any scenario, recorded as a trace like that of a real engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.decisions import decision_rows
from collectors.simulated_rows import Watched, rows_of
from collectors.turns import Turn, Turns
from toolkit import trace as traces
from toolkit.errors import require
from toolkit.live import chooser, rollout
from toolkit.policies.policy import Policy
from toolkit.progress import progress
from toolkit.scenarios.described import described
from toolkit.scenarios.pipelines import Pipelines, PipelineWorkload
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.simulator import SIMULATOR
from toolkit.trace import Trace


@dataclass(frozen=True, kw_only=True)
class SimulatedCollector:
    """Records episodes of a scenario in the simulator, under behaviour policies in turn.

    Args:
        runs: Episodes to record.
        behaviours: Names of the behaviour policies; ``name~0.3`` explores with probability 0.3.
        paired: Give each behaviour policy the same workloads and the same luck.
        times: How often each policy meets each workload, with luck of its own every time; more
            than once where ``paired``.
        decisions: Whether the decisions are kept. Without them the trace is what a stranger's
            log would be: what ran and where, and nobody knows who chose it.
    """

    runs: int
    behaviours: Sequence[str]
    paired: bool = False
    times: int = 1
    decisions: bool = True

    def __post_init__(self) -> None:
        require(self.runs >= 1, f"collector.runs must be at least 1, got {self.runs}")
        require(len(self.behaviours) >= 1, "collector.behaviours must name at least one policy")
        Turns(policies=len(self.behaviours), paired=self.paired, times=self.times)

    def collect(
        self, scenario: Scenario, policies: Sequence[Policy], seed: int, folder: Path
    ) -> Trace:
        """Record, or go on where an interrupted recording stopped.

        Args:
            scenario: Of any family.
            policies: The behaviour policies, in the order of ``behaviours``.
            seed: Workload k has seed ``seed + k``.
            folder: Where finished runs are kept until all are there.
        """
        turns = Turns(policies=len(policies), paired=self.paired, times=self.times)
        with progress(f"simulating {scenario.name}", self.runs, "runs") as bar:
            for k in range(self.runs):
                if not (folder / f"run-{k}" / "provenance.json").is_file():
                    turn = turns.of(k, seed)
                    policy = policies[turn.policy]
                    traces.write(self._run(scenario, policy, k, turn), folder / f"run-{k}")
                    bar.update(note=policy.name)
        parts = [traces.read(folder / f"run-{k}") for k in range(self.runs)]
        provenance = dict(parts[0].provenance)
        provenance["runs"] = [dict(r) for part in parts for r in part.provenance["runs"]]
        provenance["seed"] = seed
        return traces.concatenate(parts, provenance)

    def _run(self, scenario: Scenario, policy: Policy, run: int, turn: Turn) -> Trace:
        workload = scenario.plan(turn.seed)
        policy.reset(workload)
        engine = Watched(scenario, turn.luck)
        episode = rollout(
            engine,
            workload,
            chooser(policy, turn.luck),
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        told = workload.estimates if isinstance(workload, PipelineWorkload) else None
        rows = rows_of(run, workload, episode, engine, scenario, turn.luck)
        if self.decisions:
            rows["decisions"] = decision_rows(run, episode, policy.name)
        else:
            for row in rows["tasks"]:
                row["decision"] = None
        features = workload.features if isinstance(workload, PipelineWorkload) else ()
        extra = {"jobs": traces.features(features)}
        return Trace(
            tables={
                name: traces.table(name, rows.get(name, []), extra.get(name, ()))
                for name in traces.TABLES
            },
            provenance={
                "schema": traces.SCHEMA,
                "source": "simulated" if self.decisions else "synthetic",
                "scenario": scenario.to_dict()
                if isinstance(scenario, Pipelines)
                else described(scenario)
                if self.decisions
                else None,
                "estimates": None
                if told is None
                else {
                    "intercept": told.intercept.tolist(),
                    "exponent": told.exponent.tolist(),
                    "unit": told.unit,
                },
                "clock": "simulated, s since the start of the episode",
                "engine": {"simulator": SIMULATOR, "scenario": scenario.name},
                "host": {},
                "seed": turn.seed,
                "completeness": None,
                "runs": [
                    {
                        "run": run,
                        **turn.about,
                        "policy": policy.name if self.decisions else None,
                        "mode": "policy" if self.decisions else "log",
                        "load_average": None,
                        "terminated": episode.terminated,
                        "kills_not_told": engine.kills_not_told(),
                    }
                ],
            },
        )
