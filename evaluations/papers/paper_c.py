"""Paper C: workflows on unequal GPUs, its tables, figures and claims with our own numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from evaluations.cells import BOUND, FAILED, cells
from evaluations.papers.claims import (
    CONFIRMED,
    IMPOSSIBLE,
    NOT_COMPARABLE,
    NOT_CONFIRMED,
    Finding,
    claims,
    gain_verdict,
)
from evaluations.papers.report import Picture, Produced, Table, interval, publish
from evaluations.papers.workflow_pictures import against_jobs, side_by_side
from toolkit.errors import ToolkitError, require
from toolkit.learning.play import GATE
from toolkit.policies.learned import Learned
from toolkit.policies.named import named
from toolkit.report import Report
from toolkit.seeding import generator
from toolkit.statistics import Interval, bootstrap, mean
from toolkit.store import Store

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHAPES: Mapping[str, Sequence[str]] = {
    "Gaussian elimination": ("Gauss", "gauss"),
    "fast Fourier transform": ("FFT", "fft"),
    "fork and join": ("ForkJoin", "fork_join"),
}
"""Structures that layered random graphs do not have, by their class and module."""
_LATER = "its learner is not part of this suite"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is played.

    Args:
        jobs: Numbers of workflows of the batches.
        workloads: Batches of each number of workflows, by number of devices.
        dags: Single workflows.
        streams: Streams.
        chosen_on: Training batches on which the best HEFT is chosen.
        tasks: Of a workflow, (low, high).
    """

    jobs: Sequence[int]
    workloads: Mapping[int, int]
    dags: int
    streams: int
    chosen_on: int
    tasks: Sequence[int]

    def __post_init__(self) -> None:
        require(len(self.jobs) > 1, "a size needs two or more numbers of jobs")
        least = min(*self.workloads.values(), self.dags, self.streams, self.chosen_on)
        require(least >= 2, "a size needs two or more workloads of each kind")


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
        require(self.size in self.sizes, f"suite.size must be one of {', '.join(self.sizes)}")
        require({"fifo_deft", "tdca"} <= set(self.rules), "suite.rules needs fifo_deft and tdca")
        require(self.first_seed >= 10_000, "suite.first_seed must be 10000 or more")

    def run(self, cfg: DictConfig) -> Report:
        """Play, and publish what came of it."""
        size = Size(**self.sizes[self.size])
        batches = {m: self._batches(m, size, cfg) for m in self.devices}
        dags = {m: self._one(f"paper_c_{m}_dag", size, size.dags, cfg) for m in self.devices}
        streams = {
            m: self._one(f"paper_c_{m}_stream", size, size.streams, cfg) for m in self.devices
        }
        heft = {m: self._best_heft(m, size, cfg) for m in self.devices}
        transfer = self._transfer(size, cfg)
        first = self.devices[0]
        drawn = (self.policy, heft[first]), self._words(f"paper_c_{first}_dag", size)
        produced = Produced(
            suite=self.name,
            title="Paper C: workflows on heterogeneous GPUs",
            size=self.size,
            command=f"toolkit evaluate +suite=paper_c suite.size={self.size}",
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
        for jobs in size.jobs:
            words = self._words(f"paper_c_{devices}_batch", size, f"scenario.jobs={jobs}")
            frames.append(self._play(words, size.workloads[devices], cfg).assign(jobs=jobs))
        return pd.concat(frames, ignore_index=True)

    def _one(self, scenario: str, size: Size, count: int, cfg: DictConfig) -> pd.DataFrame:
        return self._play(self._words(scenario, size), count, cfg).assign(jobs=1)

    def _best_heft(self, devices: int, size: Size, cfg: DictConfig) -> str:
        """Return the HEFT of least makespan on training batches, of all numbers of jobs."""
        logs = dict.fromkeys(self.hefts, 0.0)
        for jobs in size.jobs:
            words = self._words(f"paper_c_{devices}_batch", size, f"scenario.jobs={jobs}")
            known = range(GATE, GATE + max(2, size.chosen_on // len(size.jobs)))
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
        seeds = range(self.first_seed, self.first_seed + size.streams)
        for name, words in grounds.items():
            met = cells({self.policy: [self.policy], heft: [heft]}, words, seeds, cfg)
            both = met[self.policy].merge(met[heft], on="seed", suffixes=("", "_heft"))
            gain = 1 - both["latency_mean"] / both["latency_mean_heft"]
            rows.append(pd.DataFrame({"ground": name, "heft": heft, "gain": gain}))
        return pd.concat(rows, ignore_index=True)

    def _about(self, size: Size, heft: Mapping[int, str]) -> list[str]:
        told = ", ".join(f"{name} on {m} devices" for m, name in heft.items())
        batches = ", ".join(f"{n} batches on {m} devices" for m, n in size.workloads.items())
        return [
            f"{batches} of each number of workflows ({size.tasks[0]} to "
            f"{size.tasks[1]} tasks, communication by computation 1, luck σ 0.5), "
            f"{size.dags} single workflows, {size.streams} streams, from seed {self.first_seed}; "
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
        command = f"toolkit evaluate +suite=paper_c suite.size={self.size}"
        ways = {m: gains(f, self.policy, heft[m]) for m, f in batches.items()}
        possible = {m: gains(f, BOUND, heft[m]) for m, f in batches.items()}
        most = max(batches)
        high = batches[most][batches[most]["jobs"] == batches[most]["jobs"].max()]
        found = [
            reduction("C1", ways, possible, stated["C1"]["low"]),
            against_fifo(high, self.policy, stated["C2"]["low"]),
            of_heft(high, self.policy, heft[most], stated["C3"]),
            speedups(high, self.policy, heft[most], stated["C4"]),
            length_ratios(dags[self.devices[0]], high, self.policy, stated["C5"]),
            paired_t(ways, stated["C6"]),
            latency(high, self.policy, stated["C7"]),
            training_time(self.policy, stated["C8"]),
            kept(transfer, stated["C9"]["low"]),
        ]
        found = [Finding(**{**vars(f), "command": command}) for f in found]
        return [
            *found,
            Finding(claim="C10", verdict=NOT_COMPARABLE, why="nothing is fine-tuned here"),
            Finding(claim="C11", verdict=NOT_COMPARABLE, why=_LATER),
        ]


def gains(frame: pd.DataFrame, policy: str, baseline: str) -> pd.DataFrame:
    """Return ``jobs`` and ``log``: ln of makespan by that of a baseline, a row per batch.

    Args:
        frame: Cells with ``policy``, ``jobs``, ``seed`` and ``makespan``.
        policy: Whose.
        baseline: By whose.
    """
    mine, other = (frame[frame["policy"] == n] for n in (policy, baseline))
    both = mine.merge(other, on=["jobs", "seed"], suffixes=("", "_baseline"))
    log = np.log(both["makespan"] / both["makespan_baseline"])
    return pd.DataFrame(
        {"jobs": both["jobs"], "log": log, "seconds": both["makespan_baseline"] - both["makespan"]}
    )


def gain_of(ways: pd.DataFrame) -> Interval:
    """Return the reduction, 1 − geometric mean of ratios, batches resampled within their number."""
    logs = [g["log"].to_numpy() for _, g in ways.groupby("jobs")]
    found = bootstrap(np.column_stack(logs), generator(0, "paper c"), statistic=mean)
    return Interval(*(1 - math.exp(v) for v in (found.value, found.high, found.low)))


def reduction(
    claim: str, ways: Mapping[int, pd.DataFrame], possible: Mapping[int, pd.DataFrame], low: float
) -> Finding:
    """Return the finding on a reduction of makespan against HEFT, on each number of devices.

    It is confirmed where it is on any; impossible where on none it could be.
    """
    told, verdicts = [], []
    most = {m: gain_of(frame).value for m, frame in possible.items()}
    for m, frame in ways.items():
        g = gain_of(frame)
        verdicts.append(gain_verdict(g.low, low, most[m]))
        told.append(
            f"{m} devices: {interval(g.value, g.low, g.high)}, at most {most[m]:.3f} possible"
        )
    best = min(verdicts, key=[CONFIRMED, NOT_CONFIRMED, IMPOSSIBLE].index)
    return Finding(claim=claim, verdict=best, figure="; ".join(told), possible=max(most.values()))


def against_fifo(high: pd.DataFrame, policy: str, low: float) -> Finding:
    """Return the finding on the reduction against FIFO-DEFT with the most jobs."""
    g = gain_of(gains(high, policy, "fifo_deft"))
    most = gain_of(gains(high, BOUND, "fifo_deft")).value
    jobs = int(high["jobs"].max())
    return Finding(
        claim="C2",
        verdict=gain_verdict(g.low, low, most),
        figure=f"with {jobs} workflows {interval(g.value, g.low, g.high)} below FIFO-DEFT",
        possible=most,
    )


def of_heft(high: pd.DataFrame, policy: str, heft: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on makespans, as ratios to HEFT with the most jobs."""
    mine, fifo = (1 - gain_of(gains(high, n, heft)).value for n in (policy, "fifo_deft"))
    wanted, slow = figures["drl"] / figures["heft"], figures["fifo_deft"] / figures["heft"]
    good = mine <= wanted and fifo >= slow
    return Finding(
        claim="C3",
        verdict=CONFIRMED if good else NOT_CONFIRMED,
        figure=f"of HEFT's makespan: {policy} {mine:.2f} (there {wanted:.2f}), FIFO-DEFT "
        f"{fifo:.2f} (there {slow:.2f})",
    )


def speedups(high: pd.DataFrame, policy: str, heft: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on speedups with the most jobs."""
    by = high.groupby("policy")["speedup"].mean()
    found = {n: float(by[n]) for n in (policy, heft, "tdca", "fifo_deft")}
    # No policy ends sooner than the bound, and the sequential time is the same for all.
    one = high[high["policy"] == policy].merge(high[high["policy"] == BOUND], on="seed")
    most = float((one["speedup_x"] * one["makespan_x"] / one["makespan_y"]).mean())
    good = (
        found[policy] >= figures["drl"]
        and found[heft] <= figures["heft"]
        and found["fifo_deft"] < figures["fifo_deft"]
    )
    verdict = CONFIRMED if good else NOT_CONFIRMED if most >= figures["drl"] else IMPOSSIBLE
    told = ", ".join(f"{n} {v:.1f}" for n, v in found.items())
    return Finding(
        claim="C4", verdict=verdict, figure=f"{told}; at most {most:.1f} possible",
        why="FIFO-DEFT is far from as bad as there" if found["fifo_deft"] >= 3 else "",
    )  # fmt: skip


def length_ratios(
    dags: pd.DataFrame, high: pd.DataFrame, policy: str, figures: Mapping[str, float]
) -> Finding:
    """Return the finding on schedule length ratios: single workflows, and most jobs at once."""
    one, many = (f.groupby("policy")["slr"].mean() for f in (dags, high))
    inside = figures["low"] <= float(one[policy]) <= figures["high"]
    slow = figures["fifo_low"] <= float(one["fifo_deft"]) <= figures["fifo_high"]
    return Finding(
        claim="C5",
        verdict=CONFIRMED if inside and slow else NOT_CONFIRMED,
        figure=f"single workflows: {policy} {one[policy]:.2f}, FIFO-DEFT {one['fifo_deft']:.2f}; "
        f"with {int(high['jobs'].max())} workflows {many[policy]:.1f} and "
        f"{many['fifo_deft']:.1f}",
        why="with many workflows at once the ratio grows with their number under any policy",
    )


def paired_t(ways: Mapping[int, pd.DataFrame], figures: Mapping[str, float]) -> Finding:
    """Return the finding on the paired t of ln makespan against HEFT; it must be shorter."""
    told, good = [], True
    for m, frame in ways.items():
        t, p = (float(v) for v in stats.ttest_1samp(-frame["log"], 0.0))
        good &= t > figures["t"] and p < figures["p"]
        told.append(f"{m} devices: t = {t:.1f}, p = {p:.2g}, n = {len(frame)}")
    return Finding(
        claim="C6", verdict=CONFIRMED if good else NOT_CONFIRMED, figure="; ".join(told),
        why="a positive t is a shorter makespan than HEFT's",
    )  # fmt: skip


def latency(high: pd.DataFrame, policy: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on the time of a decision with the most jobs."""
    mine = high[high["policy"] == policy]
    ms = float(mine["decision_ms"].mean())
    # Every placement takes two decisions.
    share = 2 * ms / 1000 / float(mine["task_seconds"].mean())
    good = ms <= figures["ms"] and share < figures["share"]
    return Finding(
        claim="C7",
        verdict=CONFIRMED if good else NOT_CONFIRMED,
        figure=f"{ms:.2f} ms on one core, two of them {share:.3%} of a task, measured",
    )


def training_time(policy: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on the time of training; other machines are not compared."""
    one = named(policy, Store()).policy
    told = one.about["lineage"] if isinstance(one, Learned) else {}
    steps = int(told.get("settings", {}).get("n_steps", 0))
    return Finding(
        claim="C8",
        verdict=NOT_COMPARABLE,
        figure=f"{steps:,} decisions, against {figures['steps']:,.0f} there" if steps else "",
        why="another algorithm on another machine; its card tells how long it took",
    )


def kept(transfer: pd.DataFrame, low: float) -> Finding:
    """Return the finding on the advantage that is kept on structures that were not trained on.

    Args:
        transfer: ``ground`` and ``gain`` of each stream; the first ground is as trained.
        low: Share that must be kept.
    """
    rng = generator(0, "transfer")
    grounds = list(dict.fromkeys(transfer["ground"]))
    here = transfer[transfer["ground"] == grounds[0]]["gain"].to_numpy()
    own = bootstrap(here, rng, statistic=mean)
    if own.low <= 0:
        return Finding(
            claim="C9",
            verdict=NOT_COMPARABLE,
            figure=f"advantage as trained {interval(own.value, own.low, own.high)}",
            why="there is none whose share could be kept",
        )
    told, shares = [], []
    for name in [g for g in grounds[1:] if g in SHAPES]:
        there = transfer[transfer["ground"] == name]["gain"].to_numpy()
        shares.append(_share(there, here, rng))
        s = shares[-1]
        told.append(f"{name} {interval(s.value, s.low, s.high, 2)}")
    good = all(s.low >= low for s in shares)
    return Finding(
        claim="C9",
        verdict=CONFIRMED if good else NOT_CONFIRMED,
        figure=f"advantage over HEFT in mean completion time as trained "
        f"{interval(own.value, own.low, own.high)}; kept of it: {'; '.join(told)}",
    )


def _share(there: Any, here: Any, rng: np.random.Generator) -> Interval:
    """Return the ratio of two means with its bootstrap interval, resampled apart."""
    drawn = [
        there[rng.integers(0, len(there), len(there))].mean()
        / here[rng.integers(0, len(here), len(here))].mean()
        for _ in range(4000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(there.mean() / here.mean()), float(low), float(high))


def gains_table(batches: Mapping[int, pd.DataFrame], policy: str, heft: Mapping[int, str]) -> Table:
    """Return what each policy's makespan is below HEFT's, and at most could be."""
    rows = []
    for m, frame in batches.items():
        for n in dict.fromkeys([policy, *(p for p in frame["policy"] if p != heft[m])]):
            ways = gains(frame, n, heft[m])
            g = gain_of(ways)
            t, p = (float(v) for v in stats.ttest_1samp(-ways["log"], 0.0))
            bound = n == BOUND
            rows.append(
                {
                    "devices": m,
                    "policy": "(no policy beyond)" if bound else n,
                    "below HEFT [95 % CI]": interval(g.value, g.low, g.high),
                    "paired t": "–" if bound else f"{t:.1f}",
                    "p": "–" if bound else f"{p:.2g}",
                    "n": len(ways),
                }
            )
    return Table(
        caption="Reduction of the makespan against HEFT, 1 − geometric mean of ratios over all "
        "batches; below 0: longer.",
        frame=pd.DataFrame(rows),
    )


def dags_table(
    kinds: Mapping[str, Mapping[int, pd.DataFrame]], policy: str, heft: Mapping[int, str]
) -> Table:
    """Return means on single workflows and on streams."""
    rows = []
    for kind, by_devices in kinds.items():
        for m, frame in by_devices.items():
            for n, own in frame.groupby("policy", sort=False):
                if n == BOUND:
                    continue
                row = {"workloads": f"{kind}, {m} devices", "policy": n}
                for metric in ("latency_mean", "makespan", "slr", "speedup", "decision_ms"):
                    row[metric] = float(own[metric].mean())
                rows.append(row)
    return Table(
        caption="Mean completion time and makespan, s; schedule length ratio; speedup; ms of a "
        "decision (measured).",
        frame=pd.DataFrame(rows),
    )


def transfer_table(transfer: pd.DataFrame) -> Table:
    """Return the advantage over HEFT where the policy was trained and elsewhere."""
    rows = []
    for name, own in transfer.groupby("ground", sort=False):
        g = bootstrap(own["gain"].to_numpy(), generator(0, "transfer"), statistic=mean)
        rows.append(
            {
                "streams": name,
                "HEFT": own["heft"].iloc[0],
                "advantage [95 % CI]": interval(g.value, g.low, g.high),
                "n": len(own),
            }
        )
    return Table(
        caption="Advantage in mean completion time, (HEFT − policy)/HEFT, without fine-tuning.",
        frame=pd.DataFrame(rows),
    )
