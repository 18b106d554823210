"""Gains of paper A: latency, throughput and cost against static and reactive, and who is worst."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from evaluations.cells import BOUND
from evaluations.papers import judging_a as judging
from evaluations.verdicts.claims import CONFIRMED, IMPOSSIBLE, Claim, Finding, gain_verdict
from evaluations.verdicts.comparison import Compared
from evaluations.verdicts.part import Part, percent
from evaluations.verdicts.report import Table, interval

STATIC, REACTIVE = "static", "reactive"
ASKED = (("A1", "latency_mean"), ("A2", "throughput"), ("A3", "cost"))
_SAID = {"latency_mean": "latency", "throughput": "throughput", "cost": "cost"}
_SYSTEM = {"latency_mean": "open", "throughput": "closed", "cost": "open"}
_UNIT = {
    "latency_mean": "latency (s)",
    "throughput": "throughput (pipelines/s)",
    "cost": "cost (CPU-equivalent s)",
}


def part(
    grounds: Mapping[str, Compared],
    policy: str,
    stated: Mapping[str, Claim],
    most_cost: float,
    command: str,
) -> Part:
    """Return tables and findings of A1 to A4.

    Args:
        grounds: The open and the closed system.
        policy: The arm that is judged.
        stated: Claims by id.
        most_cost: See :func:`evaluations.papers.judging_a.at_a_price`.
        command: What to type to get it again.
    """
    findings = [
        _gain(stated[claim], metric, grounds[_SYSTEM[metric]], policy, most_cost, command)
        for claim, metric in ASKED
    ]
    tables = [_to_the_heuristic(grounds, policy)]
    tables += [_to_the_best(m, grounds[system]) for m, system in _SYSTEM.items()]
    return Part(tables=tables, findings=[*findings, _ranking(grounds, policy, command)])


def _gain(
    claim: Claim, metric: str, played: Compared, policy: str, most_cost: float, command: str
) -> Finding:
    best, cheapest = played.best(metric), played.best("cost")
    gain, possible = played.gain(policy, best, metric), played.possible(best, metric)
    asked = claim.figures["low"]
    figure = f"gain in {_SAID[metric]} over {best}, the better of both, {percent(gain)}"
    other = REACTIVE if best == STATIC else STATIC
    figure += f"; over {other} {percent(played.gain(policy, other, metric))}"
    if metric == "cost":
        verdict = gain_verdict(gain.low, asked, possible.high)
        why = f"no policy saves more than {percent(possible)} of what {best} costs"
    else:
        cost = played.ratio(policy, cheapest, "cost")
        least = played.ratio(BOUND, cheapest, "cost")
        verdict = judging.at_a_price(gain, asked, possible.high, cost, least.low, most_cost)
        alone = gain_verdict(gain.low, asked, possible.high)
        why = (
            f"by itself the gain is {alone}, but it costs "
            f"{interval(cost.value, cost.low, cost.high)} of what {cheapest} does, where "
            f"{most_cost:g} is allowed"
        )
        if verdict == CONFIRMED:
            why = f"at {interval(cost.value, cost.low, cost.high)} of the cost of {cheapest}"
        elif verdict == IMPOSSIBLE:
            why += f"; no policy costs less than {least.value:.3f} of it"
    return Finding(
        claim=claim.id, verdict=verdict, figure=figure, why=why, possible=possible.value,
        command=command,
    )  # fmt: skip


def _ranking(grounds: Mapping[str, Compared], policy: str, command: str) -> Finding:
    ratios, told = [], []
    for metric, system in _SYSTEM.items():
        played = grounds[system]
        # Above 1 where the first is the worse one.
        pairs = [(STATIC, REACTIVE), (REACTIVE, policy)]
        if metric == "throughput":
            pairs = [(b, a) for a, b in pairs]
        found = [played.ratio(a, b, metric) for a, b in pairs]
        ratios += found
        told.append(
            f"{metric} by how much worse: {STATIC} than {REACTIVE} "
            f"{interval(found[0].value, found[0].low, found[0].high)}, {REACTIVE} than {policy} "
            f"{interval(found[1].value, found[1].low, found[1].high)}"
        )
    return Finding(
        claim="A4", verdict=judging.in_order(ratios), figure="; ".join(told), command=command,
        why="confirmed where each is worse than the next in all three metrics",
    )  # fmt: skip


def _to_the_heuristic(grounds: Mapping[str, Compared], policy: str) -> Table:
    """Return the paper's Table 2: everything relative to the reactive heuristic."""
    rows = []
    for arm in grounds["open"].order("latency_mean"):
        row = {"policy": arm, "trainings": grounds["open"].trainings(arm)}
        for heading, metric in (
            ("latency reduction (%)", "latency_mean"),
            ("throughput increase (%)", "throughput"),
            ("cost reduction (%)", "cost"),
        ):
            gain = grounds[_SYSTEM[metric]].gain(arm, REACTIVE, metric)
            row[heading] = interval(100 * gain.value, 100 * gain.low, 100 * gain.high, 1)
        rows.append(row)
    workloads = grounds["open"].cells[policy]["seed"].nunique()
    return Table(
        caption=f"The paper's Table 2, relative to {REACTIVE}: latency and cost in the open "
        f"system, throughput in the closed one; {workloads} unseen workloads each, 95 % intervals "
        f"paired by workload. {BOUND}: what no policy passes, each number by itself.",
        frame=pd.DataFrame(rows),
    )


def _to_the_best(metric: str, played: Compared) -> Table:
    return Table(
        caption=f"{_UNIT[metric].capitalize()} on `{' '.join(played.ground)}`. "
        f"{played.best(metric)} is the better of static and reactive on training workloads; "
        "geometric means of ratios.",
        frame=played.ranking(metric, _UNIT[metric]),
    )
