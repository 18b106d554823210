"""Arrivals: tables and findings of what policies are worth where they were not trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from evaluations.cells import BOUND
from evaluations.experiments.journey import STRUCTURES, Arrived, Journey
from evaluations.experiments.keeping import SHORT, Kept, in_part, kept, together, within
from evaluations.verdicts.claims import Claim, Finding, claims
from evaluations.verdicts.part import percent
from evaluations.verdicts.report import Table, interval
from toolkit.seeding import generator
from toolkit.statistics import Interval, bootstrap, mean

SOURCE = "as trained"
TUNED, AT_LENGTH = "fine-tuned", "trained there"
LEAST, MOST = 0.85, 0.03
"""Share of its advantage that a policy must keep, and by which it may be slower than those that
were trained there."""
HEFT, BEST = "HEFT", "the best heuristic"
_NOTHING = "no advantage to keep"


def rival(journey: Journey, one: Arrived, against: str) -> str:
    """Return the rule that is called ``HEFT`` or ``BEST`` at a target."""
    return one.played.best(journey.metric, journey.hefts if against == HEFT else None)


def advantage(journey: Journey, one: Arrived, arm: str, against: str) -> Interval:
    """Return the advantage of an arm at a target, a share of the rival's time."""
    base = rival(journey, one, against)
    found = one.played.shares(arm, base, journey.metric)
    return bootstrap(found, generator(0, "advantage", one.name, arm), statistic=mean)


def learnt_there(journey: Journey, one: Arrived) -> bool:
    """Return whether a policy was trained at a target that differs from the one it began with.

    The gate keeps the first policy where it sees none better, and that one keeps all of itself.
    """
    cells = one.played.cells
    if AT_LENGTH not in cells:
        return False
    times = [cells[a].groupby("seed")[journey.metric].mean() for a in (AT_LENGTH, journey.policy)]
    return not times[0].equals(times[1])


def keeps(journey: Journey, found: Sequence[Arrived], one: Arrived, against: str) -> Kept:
    """Return what the policy as it is keeps of the advantage in distribution.

    Args:
        journey: Whose policy.
        found: Of all targets; the first is where it was trained.
        one: Of this target.
        against: ``HEFT`` or ``BEST``.
    """
    here = one.played.shares(journey.policy, rival(journey, one, against), journey.metric)
    there = learnt_there(journey, one)
    of, arm = (one, AT_LENGTH) if there else (found[0], journey.policy)
    reference = of.played.shares(arm, rival(journey, of, against), journey.metric)
    rng = generator(0, "kept", one.name, against)
    return kept(here, reference, LEAST, rng, paired=there)


def tables(family: str, journey: Journey, found: Sequence[Arrived]) -> list[Table]:
    """Return advantages over both rivals, and what fine-tuning and other networks are worth."""
    return [
        *(_advantages(family, journey, found, against) for against in (HEFT, BEST)),
        _trained(family, journey, found),
    ]


def _advantages(family: str, journey: Journey, found: Sequence[Arrived], against: str) -> Table:
    rows = []
    for one in found:
        arms = {"as it is": journey.policy, TUNED: TUNED, AT_LENGTH: AT_LENGTH}
        arms |= {b: b for b in journey.beside}
        told = {
            said: percent(advantage(journey, one, arm, against)) if arm in one.played.cells else "–"
            for said, arm in {**arms, "at most": BOUND}.items()
        }
        row = {"target": one.name, "rival": rival(journey, one, against), **told}
        if one.group:
            k = keeps(journey, found, one, against)
            share = k.share
            row["kept of it"] = (
                _NOTHING if share is None else interval(share.value, share.low, share.high, 2)
            )
            row[f"at least {LEAST:g}"] = "–" if share is None else k.verdict
            row["in distribution"] = _in_distribution(journey, one)
        else:
            row |= {"kept of it": "–", f"at least {LEAST:g}": "–", "in distribution": SOURCE}
        rows.append({**row, "n": one.played.cells[journey.policy]["seed"].nunique()})
    return Table(
        caption=f"Advantage over {against} in mean completion time, {family}, and the share of "
        "the advantage in distribution that the policy as it is keeps; 95 % bootstrap intervals "
        "over workloads. At most: what no policy passes.",
        frame=pd.DataFrame(rows),
    )


def _in_distribution(journey: Journey, one: Arrived) -> str:
    if AT_LENGTH in one.played.cells and not learnt_there(journey, one):
        return f"{SOURCE}; nothing better was found there"
    return AT_LENGTH if learnt_there(journey, one) else SOURCE


def _trained(family: str, journey: Journey, found: Sequence[Arrived]) -> Table:
    rows = []
    source = found[0].place
    for one in found:
        same = (one.place.slots, one.place.features) == (source.slots, source.features)
        ratios = {
            f"{said} by {AT_LENGTH}": _ratio(journey, one, arm)
            for said, arm in (("as it is", journey.policy), (TUNED, TUNED))
        }
        rows.append(
            {
                "target": one.name,
                **{
                    k: "–" if r is None else interval(r.value, r.low, r.high)
                    for k, r in ratios.items()
                },
                "decisions of an episode": one.place.decisions,
                f"{TUNED}, s": one.seconds.get(TUNED, float("nan")),
                f"{AT_LENGTH}, s": one.seconds.get(AT_LENGTH, float("nan")),
                "slots": one.place.slots,
                "fully connected network": "fits" if same else "cannot be carried over",
            }
        )
    return Table(
        caption=f"Mean completion time by that of the policy trained there, {family}, geometric "
        "means of paired ratios; what trainings took, wall clock; and whether a fully connected "
        "network of the source could decide there at all.",
        frame=pd.DataFrame(rows),
    )


def _ratio(journey: Journey, one: Arrived, arm: str) -> Interval | None:
    """Return the time of an arm by that of the policy trained there, None where that is no bar.

    It is none where nothing was learnt there, or nothing that surely beats HEFT.
    """
    if arm not in one.played.cells or not learnt_there(journey, one):
        return None
    if advantage(journey, one, AT_LENGTH, HEFT).low <= 0:
        return None
    return one.played.ratio(arm, AT_LENGTH, journey.metric)


def judged(
    journey: Journey, found: Sequence[Arrived], command: str
) -> tuple[list[Claim], list[Finding]]:
    """Return what is claimed of a journey and what was found, group by group.

    Args:
        journey: Whose policy.
        found: Of all targets; the first is where it was trained.
        command: What to type to get it again.
    """
    paper = {c.id: c for c in [*claims("a"), *claims("c")]}
    pairs: list[tuple[Claim, Finding]] = []
    for group in journey.targets:
        of_group = [one for one in found if one.group == group]
        claim = paper[journey.kept]
        if group != STRUCTURES or not journey.tuned:
            text = f"zero-shot to unseen {group} the policy keeps {LEAST:.0%} of its advantage"
            claim = Claim(id=f"{journey.kept} {group}", text=text, metric="transfer")
        pairs.append((claim, _kept(claim.id, journey, found, of_group, command)))
    tuned = Claim(
        id=f"{journey.kept} {TUNED}", metric="transfer",
        text=f"after fine-tuning on a few episodes it is within {MOST:.0%} of those trained there",
    )  # fmt: skip
    if journey.tuned:
        tuned = paper[journey.tuned]
    pairs.append((tuned, _tuned(tuned.id, journey, found, command)))
    if not journey.tuned:
        structures = [one for one in found if one.group == STRUCTURES]
        pairs.insert(0, (paper[journey.kept], _in_part(journey, structures, command)))
    return [c for c, _ in pairs], [f for _, f in pairs]


def _kept(
    claim: str,
    journey: Journey,
    found: Sequence[Arrived],
    of_group: Sequence[Arrived],
    command: str,
) -> Finding:
    by: Mapping[str, list[Kept]] = {
        against: [keeps(journey, found, one, against) for one in of_group]
        for against in (HEFT, BEST)
    }
    verdicts = {against: together([k.verdict for k in each]) for against, each in by.items()}
    told = [
        f"of the advantage over {against} "
        + ", ".join(f"{one.name} {_share(k)}" for one, k in zip(of_group, each, strict=True))
        for against, each in by.items()
    ]
    counted = ", ".join(
        f"over {against} {verdicts[against]}, "
        f"{sum(k.share is not None for k in each)} of {len(each)} targets to compare"
        for against, each in by.items()
    )
    return Finding(
        claim=claim,
        verdict=together(list(verdicts.values())),
        figure="; ".join(told),
        why=f"{counted}; confirmed where the whole interval of every target that there is "
        f"something to keep of lies above {LEAST:g}, over both",
        command=command,
    )


def _share(k: Kept) -> str:
    if k.share is None:
        return f"{_NOTHING} ({percent(k.reference)})"
    return interval(k.share.value, k.share.low, k.share.high, 2)


def _tuned(claim: str, journey: Journey, found: Sequence[Arrived], command: str) -> Finding:
    ratios = {one.name: _ratio(journey, one, TUNED) for one in found}
    known = {name: r for name, r in ratios.items() if r is not None}
    others = [one for one in found if ratios[one.name] is None and one.name != SOURCE]
    weak = [one.name for one in others if AT_LENGTH in one.played.cells]
    dear = [one.name for one in others if AT_LENGTH not in one.played.cells]
    return Finding(
        claim=claim,
        verdict=within(list(known.values()), MOST),
        figure="; ".join(f"{name} {interval(r.value, r.low, r.high)}" for name, r in known.items()),
        why="mean completion time by that of the policy trained there; confirmed where every "
        f"interval ends at {1 + MOST:g} or less"
        + (f"; found there none that surely beats HEFT: {', '.join(weak)}" if weak else "")
        + (f"; too dear to train there: {', '.join(dear)}" if dear else ""),
        command=command,
    )


def _in_part(journey: Journey, structures: Sequence[Arrived], command: str) -> Finding:
    gains, short, told = [], [], []
    for one in structures:
        gain = one.played.gain(journey.policy, rival(journey, one, BEST), journey.metric)
        ratio = one.played.ratio(journey.policy, TUNED, journey.metric)
        gains.append(gain)
        short.append(ratio)
        told.append(
            f"{one.name}: saves {percent(gain)} against {rival(journey, one, BEST)}, "
            f"{interval(ratio.value, ratio.low, ratio.high)} of the fine-tuned"
        )
    return Finding(
        claim=journey.kept,
        verdict=in_part(gains, short),
        figure="; ".join(told),
        why="confirmed where the policy as it is helps on one structure at least, and on one at "
        f"least helps nothing or takes {SHORT - 1:.0%} longer than after fine-tuning",
        command=command,
    )
