"""Advice: what ``toolkit advise`` found, as one page of text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

from toolkit.statistics import Interval

BETTER, WORSE, CANNOT_TELL = "better", "worse", "cannot tell"

_WIDTH = 100
_NAMES = {"latency": "mean latency", "p95": "p95 latency", "makespan": "makespan", "cost": "cost"}
_POOR = 0.5
"""Error from which on a replay says little of its log."""

_ASSUMED = (
    "tasks take as long as they did, whatever runs beside them and however many cores a node has; "
    "on other kinds of nodes they keep their luck; jobs come when they came, whatever became of "
    "those before; a task begins as long after it could as it did in the log; attempts that "
    "failed are not repeated; data move in no time; the engine's own rule is {baseline}"
)
_CHANGING = "; nodes come and go when they did, and what runs on a node that goes begins again"
_CAUTION = (
    "The log has no decisions and nobody drew them at random: this is a prediction, so try it on "
    "a part of the load before all of it."
)


def verdict(change: Interval, bar: float) -> str:
    """Return whether a relative change is for the better, for the worse, or none that is known.

    Args:
        change: Of seconds; less is better.
        bar: Error of the replay; a smaller change may be its own.
    """
    known = change.high < 0 or change.low > 0
    if not known or not abs(change.value) > bar:
        return CANNOT_TELL
    return BETTER if change.value < 0 else WORSE


def sentence(document: Mapping[str, Any]) -> str:
    """Return what to do, with what caution."""
    bar = document["metrics"]["latency"]["bar"]
    told = []
    for kind in ("policy", "size"):
        good = [x for x in document["lines"] if x["kind"] == kind and x["verdict"] == BETTER]
        if good:
            best = min(good, key=lambda x: x["change"]["latency"]["value"])
            told.append(_recommended(best, document["baseline"]))
    if not told:
        return (
            f"Leave it as it is: nothing here lessens the mean latency by more than the replay "
            f"errs, {bar:.1%}. More logs, or a recording with decisions (toolkit collect), would "
            "tell more."
        )
    poor = f" The replay errs by {bar:.0%} and says little of this log." if not bar < _POOR else ""
    return " ".join(told) + poor + " " + _CAUTION


def _recommended(line: Mapping[str, Any], baseline: str) -> str:
    latency, cost = (line["change"][m] for m in ("latency", "cost"))
    what = (
        f"Try {line['name']} instead of {baseline}"
        if line["kind"] == "policy"
        else f"Of the sizes, {line['name']} is best"
    )
    return f"{what}: mean latency {_change(latency)} %, cost {_change(cost)} %."


def page(document: Mapping[str, Any]) -> str:
    """Return the page, at most 100 columns wide."""
    jobs = document["jobs"]
    lines = [
        f"advice on trace {document['trace']}, source {document['source']}",
        f"  runs {document['runs']}, tasks {document['tasks']:,}, nodes {document['nodes']}; "
        f"learnt from the first {jobs['learnt']:,} jobs, held against the last "
        f"{jobs['held_out']:,}",
        "",
        *_errors(document),
        "",
        *_lines(document),
        "",
        *textwrap.wrap(document["advice"], _WIDTH),
        *textwrap.wrap(
            "assumed: "
            + _ASSUMED.format(baseline=document["baseline"])
            + (_CHANGING if document["changing"] else ""),
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="  ",
        ),
    ]
    return "\n".join(lines)


def _errors(document: Mapping[str, Any]) -> list[str]:
    metrics, covered = document["metrics"], document["coverage"]

    def line(label: str, key: str, form: str, about: str = "") -> str:
        cells = "".join(f"{_number(told[key], form):>14}" for told in metrics.values())
        return f"  {label:<22}{cells}  {about}".rstrip()

    share = (_number(covered[k], ".1%") for k in ("share", "low", "high"))
    return [
        f"  {'the replay':<22}{''.join(f'{_NAMES[m]:>14}' for m in metrics)}",
        line("recorded, s", "recorded", ",.4g"),
        line(f"{document['baseline']} replayed, s", "replayed", ",.4g"),
        line("held-out error", "held_out", ".1%", "durations predicted"),
        line("knowing durations", "knowing", ".1%", "what rule and delays leave"),
        line("noise floor", "floor", ".1%", "luck of durations alone"),
        "  tasks within their predicted 90 %: {} [{}, {}]".format(*share)
        + f" of {covered['n']:,}; of unknown type {document['unseen']:.1%}",
    ]


def _lines(document: Mapping[str, Any]) -> list[str]:
    usual, *others = document["lines"]
    bar = document["metrics"]["latency"]["bar"]
    told = usual["usual"]
    lines = [
        f"  {document['workloads']} resamplings, [95 % CI]; {usual['name']}: mean latency "
        f"{told['latency']:,.4g} s, makespan {told['makespan']:,.4g} s, cost "
        f"{told['cost']:,.4g} cpu-s",
        f"  {'change, %':<17}{''.join(f'{n:<17}' for n in _NAMES.values())}".rstrip(),
    ]
    for x in others:
        cells = "".join(f"{_change(x['change'][m]):<16} " for m in _NAMES)
        lines.append(f"  {x['name'][:16]:<17}{cells}{x['verdict']}")
    lines.append(
        f"  cannot tell: mean latency within {bar:.1%}, the greater of its errors, or around 0"
    )
    return lines


def _change(told: Mapping[str, float]) -> str:
    value, low, high = (
        ">999" if told[k] > 9.99 else _number(100 * told[k], "+.0f")
        for k in ("value", "low", "high")
    )
    return f"{value} [{low},{high}]"


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
