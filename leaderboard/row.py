"""One line of the board, the groups in which lines may be compared, and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np

from toolkit.errors import CorruptError, NotFoundError
from toolkit.seeding import generator
from toolkit.statistics import FEWEST_PAIRS, Interval, paired, probability_of_improvement

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy on one suite; numbers that were not measured are NaN, texts empty.

    Args:
        policy: Name of the policy.
        suite: Name of the suite.
        engine: What ran the decisions: the simulator or a real engine.
        learned: Whether the policy was trained on data; else it is a hand-made rule.
        score: Mean score over seeds; more is better.
        iqm: Interquartile mean of the same scores.
        ci_low: Lower end of the 95 % interval of ``score``.
        ci_high: Upper end of it.
        latency_mean: Mean time from arrival to completion of a job, s.
        latency_mean_ci_low: Lower end of its 95 % interval, s.
        latency_mean_ci_high: Upper end of it, s.
        latency_p95: 95th percentile of the same times, s.
        latency_p99: 99th percentile of the same times, s.
        slowdown_mean: Mean slowdown of a job.
        response_time: Mean response time, s.
        makespan: From the first arrival to the last completion, s.
        slr: Makespan over the longest path of fastest times.
        speedup: Best single node over makespan.
        of_bound: What was reached over what no policy falls below.
        utilisation: How much of the resources was in use.
        fairness: How evenly the jobs were served.
        slo_violations: How often a promise of latency was broken.
        throughput: Jobs completed per second.
        cost: What the resources cost, in the suite's unit.
        money: What the resources cost at their prices.
        max_queue: Most tasks that waited at once.
        decision_ms: Wall-clock time of a decision, ms; no command makes it again to the digit.
        return_mean: Mean undiscounted return of an episode.
        n_seeds: Number of seeds behind the numbers.
        failed: Number of workloads on which the policy failed; such a row has no score.
        chosen: Mean score on the training workloads, by which the best heuristic is chosen.
        calibration: Id of the calibration that the simulator used.
        calibration_error: Its relative makespan error on held-out runs.
        simulator: Version of the simulator.
        schema: Version of the features and transitions.
        dataset: Dataset that a learned policy saw.
        dataset_digest: Digest of that dataset.
        trained_policy: Id of the trained policy, empty for a rule.
        parent: What the run belongs to, empty where it stands alone.
        failure: The first message of a policy that failed.
        commit: Revision of the code that evaluated.
        command: What to type to get this row again.
        cell_key: Hash of everything that decides the result.
        run_id: Where the record keeps it.
        created: When it was evaluated, ISO 8601, UTC.
    """

    policy: str
    suite: str
    engine: str
    learned: bool
    score: float
    iqm: float
    ci_low: float
    ci_high: float
    latency_mean: float
    latency_mean_ci_low: float
    latency_mean_ci_high: float
    latency_p95: float
    latency_p99: float
    slowdown_mean: float
    response_time: float
    makespan: float
    slr: float
    speedup: float
    of_bound: float
    utilisation: float
    fairness: float
    slo_violations: float
    throughput: float
    cost: float
    money: float
    max_queue: float
    decision_ms: float
    return_mean: float
    n_seeds: float
    failed: float
    chosen: float
    calibration: str
    calibration_error: float
    simulator: str
    schema: str
    dataset: str
    dataset_digest: str
    trained_policy: str
    parent: str
    failure: str
    commit: str
    command: str
    cell_key: str
    run_id: str
    created: str


@dataclass(frozen=True)
class Group:
    """Lines that may be compared: same suite, engine, calibration, simulator and schema.

    Args:
        rows: Best score first; of several evaluations of a policy the newest.
        older: How many evaluations newer ones of the same policy and dataset replaced.
    """

    rows: tuple[Row, ...]
    older: int = 0

    @property
    def suite(self) -> str:
        """Return the suite that all rows share."""
        return self.rows[0].suite

    @property
    def best_heuristic(self) -> Row | None:
        """Return the policy to beat: of those that have learnt nothing the best in training.

        Where none was measured on the training workloads, the best on those of the test.
        """
        rules = [r for r in self.rows if not r.learned and math.isfinite(r.score)]
        known = [r for r in rules if math.isfinite(r.chosen)]
        return max(known, key=lambda r: r.chosen) if known else next(iter(rules), None)

    @property
    def choice(self) -> str:
        """Say which workloads chose the policy to beat, empty where there is none."""
        best = self.best_heuristic
        if best is None:
            return ""
        where = "training" if math.isfinite(best.chosen) else "test"
        return f"best heuristic: {brief(best.policy)}, chosen on the {where} workloads"

    @property
    def simulated(self) -> bool:
        """Tell whether the scores were simulated, not measured on an engine."""
        return self.rows[0].engine.lower().startswith("sim")

    @property
    def error(self) -> float:
        """Return the calibration's relative error on held-out runs, NaN where unknown."""
        errors = [r.calibration_error for r in self.rows if math.isfinite(r.calibration_error)]
        return max(errors, default=math.nan)

    @property
    def note(self) -> str:
        """Say how far the scores can be trusted, in one line."""
        first = self.rows[0]
        if not self.simulated:
            engine = first.engine or "an engine that was not named"
            return f"measured scores of {engine}"
        if not first.calibration:
            return (
                "simulated scores; no calibration: how far they are from a real cluster is unknown"
            )
        error = f"{100 * self.error:.1f} %" if math.isfinite(self.error) else "unknown"
        return f"simulated scores; calibration {first.calibration}: held-out makespan error {error}"


@dataclass(frozen=True)
class Verdict:
    """What the paired seeds say of one learned policy against the best heuristic.

    Args:
        suite: The suite on which both ran.
        policy: The learned policy.
        baseline: The best heuristic, empty where there is none.
        outcome: ``unknown`` where nothing can be compared.
        pairs: Number of seeds that both ran.
        difference: Mean score of the policy minus that of the baseline, points.
        p: Sign-flip probability of such a difference without a real one.
        improvement: Probability that the policy wins on a seed drawn for each.
        reason: Why nothing can be compared.
    """

    suite: str
    policy: str
    baseline: str
    outcome: Literal["better", "worse", "unclear", "unknown"]
    pairs: int = 0
    difference: Interval | None = None
    p: float = math.nan
    improvement: Interval | None = None
    reason: str = ""


def rows(frame: pd.DataFrame) -> list[Row]:
    """Return the lines of a frame that ``tracking.board`` made, in its order."""
    names = [f.name for f in fields(Row)]
    table = frame[names].copy()
    table["created"] = [t.isoformat(timespec="seconds") for t in frame["created"]]
    return [Row(**dict(zip(names, line, strict=True))) for line in table.itertuples(index=False)]


def groups(lines: Sequence[Row]) -> list[Group]:
    """Split lines into comparable groups: by suite, the latest evaluated group first."""
    split: dict[tuple[str, ...], list[Row]] = {}
    for row in lines:
        key = (row.suite, row.engine, row.calibration, row.simulator, row.schema)
        split.setdefault(key, []).append(row)
    found = [_newest(members) for members in split.values()]
    found.sort(key=lambda g: max(r.created for r in g.rows), reverse=True)
    return sorted(found, key=lambda g: g.suite)


def _newest(members: list[Row]) -> Group:
    kept: dict[tuple[str, str], Row] = {}
    for row in members:
        known = kept.get((row.policy, row.dataset))
        if known is None or (row.created, row.run_id) > (known.created, known.run_id):
            kept[row.policy, row.dataset] = row
    chosen = {row.run_id for row in kept.values()}
    return Group(tuple(r for r in members if r.run_id in chosen), len(members) - len(chosen))


def verdicts(
    group: Group, cells: Callable[[str], pd.DataFrame], *, limit: int = 50
) -> list[Verdict]:
    """Compare the learned policies of a group with its best heuristic, seed by seed.

    Args:
        group: Rows that may be compared.
        cells: Gives the per-seed results of a run id.
        limit: At most so many comparisons, best policies first.
    """
    learned = [r for r in group.rows if r.learned][:limit]
    best = group.best_heuristic
    if best is None:
        reason = "no heuristic was evaluated on the same suite and calibration"
        return [Verdict(r.suite, r.policy, "", "unknown", reason=reason) for r in learned]
    return [_verdict(row, best, cells) for row in learned]


def _verdict(row: Row, best: Row, cells: Callable[[str], pd.DataFrame]) -> Verdict:
    def unknown(reason: str) -> Verdict:
        return Verdict(row.suite, row.policy, best.policy, "unknown", reason=reason)

    if row.failed > 0:
        return unknown(f"it failed on {_workloads(row.failed)}")
    try:
        mine, theirs = cells(row.run_id), cells(best.run_id)
        keys = [c for c in ("task", "seed") if c in mine and c in theirs]
        both = mine[[*keys, "score"]].merge(theirs[[*keys, "score"]], on=keys)
        a, b = (both[c].to_numpy(np.float64, na_value=np.nan) for c in ("score_x", "score_y"))
    except (NotFoundError, CorruptError, KeyError, TypeError, ValueError):
        return unknown("their per-seed results are not in the record any more")
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite], b[finite]
    if not len(a):
        return unknown("they ran no seed in common")
    rng = generator(0, "leaderboard", row.suite, row.policy, best.policy)
    result = paired(a, b, rng)
    chance = probability_of_improvement(a, b, rng)
    outcome: Literal["better", "worse", "unclear"] = (
        "better" if result.verdict > 0 else "worse" if result.verdict < 0 else "unclear"
    )
    return Verdict(
        row.suite, row.policy, best.policy, outcome, result.n, result.difference, result.p, chance
    )


def sentence(verdict: Verdict) -> str:
    """Say a verdict in words; names are shortened."""
    policy, baseline = brief(verdict.policy), brief(verdict.baseline)
    if verdict.difference is None:
        other = baseline or "any heuristic"
        return f"{policy} cannot be compared with {other}: {verdict.reason}"
    value, low, high = verdict.difference.value, verdict.difference.low, verdict.difference.high
    largest = max(abs(value), abs(low), abs(high))
    n = 1 if largest >= 1 else 2 if largest >= 0.1 else 4
    if verdict.outcome == "worse":
        low, high = -high, -low
    seeds = f"{verdict.pairs} paired seed" + ("" if verdict.pairs == 1 else "s")
    interval = f"95 % CI {low:.{n}f} to {high:.{n}f}; {seeds}"
    if verdict.outcome == "better":
        return f"{policy} beats {baseline} by {value:.{n}f} points ({interval})"
    if verdict.outcome == "worse":
        return f"{policy} LOSES to {baseline} by {-value:.{n}f} points ({interval})"
    if verdict.pairs < FEWEST_PAIRS:
        interval += f", at least {FEWEST_PAIRS} are needed"
    elif low > 0 or high < 0:
        interval += f", sign-flip p = {verdict.p:.2f}"
    return f"{policy} and {baseline} cannot be told apart (difference {value:+.{n}f}, {interval})"


def failure(row: Row) -> str:
    """Say on how many workloads a policy failed, empty where on none."""
    return f"failed on {_workloads(row.failed)}" if row.failed > 0 else ""


def _workloads(number: float) -> str:
    return f"{number:.0f} workload" + ("" if number == 1 else "s")


def brief(name: str, width: int = 48) -> str:
    """Return a name as one short line without control or invisible direction characters."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:1000])
    shown = " ".join(shown.split()) or "unnamed" if name else ""
    return shown if len(shown) <= width else shown[: width - 1] + "…"
