"""Paper C: workflows on unequal GPUs, its tables, figures and claims with our own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.cells import BOUND, FAILED, cells
from evaluations.papers import findings_c as found_of
from evaluations.papers.findings_c import SHAPES, gains, most_jobs
from evaluations.papers.tables_c import dags_table, gains_table, transfer_table
from evaluations.papers.workflow_pictures import against_jobs, side_by_side
from evaluations.verdicts.claims import Finding, claims
from evaluations.verdicts.report import Picture, Produced, Table, answered, publish
from evaluations.verdicts.sizes import command_of, require_size
from toolkit.errors import ToolkitError, require
from toolkit.report import Report
from toolkit.seeding import GATE

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is played.

    Args:
        jobs: Numbers of workflows of the batches, by number of devices.
        workloads: Batches of each number of workflows, by number of devices.
        dags: Single workflows.
        streams: Streams, by number of devices.
        chosen_on: Training batches on which the best HEFT is chosen.
        tasks: Of a workflow, (low, high).
    """

    jobs: Mapping[int, Sequence[int]]
    workloads: Mapping[int, int]
    dags: int
    streams: Mapping[int, int]
    chosen_on: int
    tasks: Sequence[int]

    def __post_init__(self) -> None:
        require(
            all(len(numbers) > 1 for numbers in self.jobs.values()),
            "a size needs two or more numbers of jobs",
        )
        counts = [*self.workloads.values(), *self.streams.values(), self.dags, self.chosen_on]
        require(min(counts) >= 2, "a size needs two or more workloads of each kind")


@dataclass(frozen=True, kw_only=True)
class PaperC:
    """Suite of paper C.

    Args:
        name: Of the suite.
        size: Which of ``sizes`` is played.
        sizes: Settings of :class:`Size` by name.
        devices: Numbers of GPUs; there is a scenario ``paper_c_<devices>_<kind>`` of each.
        policy: What stands in the place of the paper's DRL.
        trained_on: The ground that it was trained on: name of a scenario, and overrides.
        hefts: Rules of which the best on training workloads is called HEFT.
        rules: Others, ``fifo_deft`` and ``tdca`` among them.
        first_seed: Of the workloads.
    """

    name: str
    size: str
    sizes: Mapping[str, Mapping[str, Any]]
    devices: Sequence[int]
    policy: str
    trained_on: Sequence[str]
    hefts: Sequence[str]
    rules: Sequence[str]
    first_seed: int

    def __post_init__(self) -> None:
        require_size(self.size, self.sizes, self.first_seed)
        require({"fifo_deft", "tdca"} <= set(self.rules), "suite.rules needs fifo_deft and tdca")

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return command_of("toolkit evaluate +suite=paper_c", self.size)

    def run(self, cfg: DictConfig) -> Report:
        """Play, and publish what came of it."""
        size = Size(**self.sizes[self.size])
        batches = {m: self._batches(m, size, cfg) for m in self.devices}
        dags = {m: self._one(f"paper_c_{m}_dag", size, size.dags, cfg) for m in self.devices}
        streams = {
            m: self._one(f"paper_c_{m}_stream", size, size.streams[m], cfg) for m in self.devices
        }
        heft = {m: self._best_heft(m, size, cfg) for m in self.devices}
        transfer = self._transfer(size, cfg)
        first = self.devices[0]
        drawn = (self.policy, heft[first]), self._words(f"paper_c_{first}_dag", size)
        produced = Produced(
            suite=self.name,
            title="Paper C: workflows on heterogeneous GPUs",
            size=self.size,
            command=self.command,
            about=self._about(size, heft),
            tables=[
                *(self._table(batches, m) for m in ("makespan", "speedup", "slr")),
                gains_table(batches, self.policy, heft),
                dags_table({"single workflows": dags, "streams": streams}, self.policy, heft),
                transfer_table(transfer),
            ],
            pictures=[
                Picture(
                    name="jobs",
                    caption="Makespan, speedup and schedule length ratio against the number of "
                    "workflows that arrive at once; bands: 95 % of the mean",
                    draw=lambda: against_jobs(batches, self._names()),
                ),
                Picture(
                    name="gantt",
                    caption=f"One workflow under {drawn[0][0]} and under {drawn[0][1]}",
                    draw=lambda: side_by_side(*drawn, self.first_seed),
                ),
            ],
            findings=self.findings(batches, dags, heft, transfer),
        )
        return publish(produced, claims("c"))

    def _names(self) -> list[str]:
        return list(dict.fromkeys([self.policy, *self.hefts, *self.rules]))

    def _words(self, scenario: str, size: Size, *more: str) -> list[str]:
        low, high = size.tasks
        return [scenario, f"scenario.graphs.tasks=[{low},{high}]", *more]

    def _play(self, words: Sequence[str], count: int, cfg: DictConfig) -> pd.DataFrame:
        """Return the cells of all policies and of the bound, ``policy`` among the columns."""
        arms = {n: [n] for n in self._names()} | {BOUND: [BOUND]}
        met = cells(arms, words, range(self.first_seed, self.first_seed + count), cfg)
        for name, frame in met.items():
            if FAILED in frame:
                raise ToolkitError(f"{name!r} failed: {frame[FAILED].dropna().iloc[0]}")
        # All workflows of a batch arrive at once, so that no policy begins later than it ends.
        met[BOUND]["makespan"] = met[BOUND]["response_time"]
        return pd.concat([f.assign(policy=n) for n, f in met.items()], ignore_index=True)

    def _batches(self, devices: int, size: Size, cfg: DictConfig) -> pd.DataFrame:
        frames = []
        for jobs in size.jobs[devices]:
            words = self._words(f"paper_c_{devices}_batch", size, f"scenario.jobs={jobs}")
            played = self._play(words, size.workloads[devices], cfg)
            frames.append(played.assign(jobs=jobs, devices=devices))
        return pd.concat(frames, ignore_index=True)

    def _one(self, scenario: str, size: Size, count: int, cfg: DictConfig) -> pd.DataFrame:
        return self._play(self._words(scenario, size), count, cfg).assign(jobs=1)

    def _best_heft(self, devices: int, size: Size, cfg: DictConfig) -> str:
        """Return the HEFT of least makespan on training batches, of all numbers of jobs."""
        logs = dict.fromkeys(self.hefts, 0.0)
        for jobs in size.jobs[devices]:
            words = self._words(f"paper_c_{devices}_batch", size, f"scenario.jobs={jobs}")
            known = range(GATE, GATE + max(2, size.chosen_on // len(size.jobs[devices])))
            for n, frame in cells({n: [n] for n in self.hefts}, words, known, cfg).items():
                logs[n] += float(np.log(frame["makespan"]).mean())
        return min(logs, key=lambda n: (logs[n], n))

    def _transfer(self, size: Size, cfg: DictConfig) -> pd.DataFrame:
        """Return the reduction of mean completion time where it was trained, and elsewhere."""
        seen = list(self.trained_on)
        if self.size == "quick":
            seen += ["scenario.graphs.tasks=[8,12]", "scenario.jobs=3"]
        grounds = {"as trained": seen}
        for name, (kind, module) in SHAPES.items():
            target = f"scenario.graphs._target_=toolkit.workflows.{module}.{kind}"
            plain = [w for w in seen if "graphs.tasks" not in w]
            grounds[name] = [*plain, "~scenario.graphs.tasks", target]
        more = [w for w in seen if w.startswith("scenario.")]
        grounds["48 devices"] = ["paper_c_48_stream", *more]
        rows = []
        known = range(GATE, GATE + size.chosen_on)
        tried = {n: [n] for n in self.hefts}
        before = cells(tried, seen, known, cfg)
        heft = min(before, key=lambda n: (float(np.log(before[n]["latency_mean"]).mean()), n))
        seeds = range(self.first_seed, self.first_seed + size.streams[self.devices[0]])
        for name, words in grounds.items():
            met = cells({self.policy: [self.policy], heft: [heft]}, words, seeds, cfg)
            both = met[self.policy].merge(met[heft], on="seed", suffixes=("", "_heft"))
            gain = 1 - both["latency_mean"] / both["latency_mean_heft"]
            rows.append(pd.DataFrame({"ground": name, "heft": heft, "gain": gain}))
        return pd.concat(rows, ignore_index=True)

    def _about(self, size: Size, heft: Mapping[int, str]) -> list[str]:
        told = ", ".join(f"{name} on {m} devices" for m, name in heft.items())
        streams = ", ".join(f"{n} streams on {m} devices" for m, n in size.streams.items())
        batches = ", ".join(f"{n} batches on {m} devices" for m, n in size.workloads.items())
        return [
            f"{batches} of each number of workflows ({size.tasks[0]} to "
            f"{size.tasks[1]} tasks, communication by computation 1, luck σ 0.5), "
            f"{size.dags} single workflows, {streams}, from seed {self.first_seed}; "
            "all policies meet the same workloads, luck and estimates.",
            f"HEFT is the best of {', '.join(self.hefts)} in makespan on training workloads: "
            f"{told}. {self.policy} stands in the place of the paper's DRL: it was trained on "
            f"`{' '.join(self.trained_on)}` for the mean completion time, not for the makespan.",
            "Decima, Lachesis, prioritised replay and fine-tuning are not part of this suite.",
        ]

    def _table(self, batches: Mapping[int, pd.DataFrame], metric: str) -> Table:
        titles = {"makespan": "Makespan, s", "speedup": "Speedup", "slr": "Schedule length ratio"}
        rows = []
        for m, frame in batches.items():
            pivot = frame.pivot_table(metric, "policy", "jobs", aggfunc="mean")
            order = [n for n in [*self._names(), BOUND] if n in pivot.index]
            for n in order:
                named_one = "(no policy below)" if n == BOUND else n
                rows.append(
                    {"devices": m, "policy": named_one}
                    | {f"{j} jobs": pivot.at[n, j] for j in pivot.columns}
                )
        return Table(caption=f"{titles[metric]}, mean over batches.", frame=pd.DataFrame(rows))

    def findings(
        self,
        batches: Mapping[int, pd.DataFrame],
        dags: Mapping[int, pd.DataFrame],
        heft: Mapping[int, str],
        transfer: pd.DataFrame,
    ) -> list[Finding]:
        """Return a finding for every claim."""
        stated = {c.id: c.figures for c in claims("c")}
        ways = {m: gains(f, self.policy, heft[m]) for m, f in batches.items()}
        possible = {m: gains(f, BOUND, heft[m]) for m, f in batches.items()}
        # Load is highest where most workflows share a device; many devices speed up most.
        crowded = max(batches, key=lambda m: (float(batches[m]["jobs"].max()) / m, m))
        high, wide = (most_jobs(batches[m]) for m in (crowded, max(batches)))
        found = [
            found_of.reduction("C1", ways, possible, stated["C1"]["low"]),
            found_of.against_fifo(high, self.policy, stated["C2"]["low"]),
            found_of.of_heft(high, self.policy, heft[crowded], stated["C3"]),
            found_of.speedups(wide, self.policy, heft[max(batches)], stated["C4"]),
            found_of.length_ratios(dags[self.devices[0]], high, self.policy, stated["C5"]),
            found_of.paired_t(ways, stated["C6"]),
            found_of.latency(high, self.policy, stated["C7"]),
            found_of.training_time(self.policy, stated["C8"]),
            found_of.kept(transfer, stated["C9"]["low"]),
        ]
        found = [Finding(**{**vars(f), "command": self.command}) for f in found]
        return [
            *found,
            answered("C10", "transfer", self.size),
            answered("C11", "prioritised_replay", self.size),
        ]
