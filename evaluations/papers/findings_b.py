"""Findings of paper B: a verdict for each claim, and the figures that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluations.cells import BOUND
from evaluations.papers import judging_b as judging
from evaluations.papers.figures_b import (
    RANDOM,
    STATIC,
    TIMES,
    Frames,
    mean_of,
    ms,
    percent,
    ratio,
    scaled,
    shown,
)
from evaluations.papers.learning_b import Followed
from evaluations.verdicts.claims import NOT_COMPARABLE, Claim, Finding, claims, gain_verdict
from evaluations.verdicts.report import interval
from toolkit.statistics import Interval

_READING = (
    "The paper's own means give its figures as what executors reserve of four of its machines, "
    "16 cores and 32 GB (5 × 1.00/16 is 31 %, 7.5 × 1.65/16 is 77 %, 7.5 × 1000 MB/32 GB is 23 %), "
    "so that this is judged."
)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Turns what was played and trained into findings.

    Args:
        policy: The trained policy that is judged.
        command: What to type to get it all again.
        of_cpus: Cores that the paper's CPU utilisation is a share of.
        of_memory: GiB that its memory utilisation is a share of.
        by_paper: What turns shares of our hosts into shares of those, by column.
    """

    policy: str
    command: str
    of_cpus: float
    of_memory: float
    by_paper: Mapping[str, float]

    def findings(
        self,
        rates: Mapping[int, Frames],
        trained: Sequence[Followed],
        times: Mapping[str, Interval],
    ) -> list[Finding]:
        """Return one for each claim.

        Args:
            rates: By frames who served what.
            trained: The trainings.
            times: Processor time of the agent, ms: ``training`` of a gradient step with the
                decisions before it, ``after`` of a decision.
        """
        stated = {c.id: c for c in claims("b")}
        return [
            *self._gains(rates, stated),
            *self._chosen(rates, stated),
            self._reward(rates),
            self._curve(trained, stated["B10"]),
            *self._overhead(times, rates, stated),
        ]

    def _gains(self, rates: Mapping[int, Frames], stated: Mapping[str, Claim]) -> list[Finding]:
        f1, f2 = stated["B1"].figures, stated["B2"].figures
        first, last = min(rates), max(rates)
        found = []
        for claim, at, claimed in (
            ("B1", first, 1 - f1["drl_ms"] / f1["random_ms"]),
            ("B2", last, f2["reduction"]),
        ):
            frames = rates[at]
            parts, verdicts, most = [], [], []
            for metric, label in TIMES.items():
                gain = judging.gain_of(ratio(frames, self.policy, RANDOM, metric))
                most.append(1 - ratio(frames, BOUND, RANDOM, metric).value)
                verdicts.append(gain_verdict(gain.low, claimed, most[-1]))
                parts.append(f"{percent(gain)} {label}")
            cost = ratio(frames, self.policy, RANDOM, "core_seconds")
            found.append(
                Finding(
                    claim=claim,
                    verdict=judging.at_no_more(judging.together(verdicts), cost),
                    figure=f"at {at} frames less time than `{RANDOM}`: {', '.join(parts)}, at "
                    f"{interval(cost.value, cost.low, cost.high, 2)} of its core-seconds",
                    why=f"{claimed:.1%} is claimed, and must be reached in both; milliseconds "
                    "are not compared, as the scenario was made to have the paper's. "
                    "Time by that of the best configuration that never changes: "
                    f"{self._fair(frames)}",
                    possible=min(most),
                    command=self.command,
                )
            )
        ratios = {(f, m): ratio(x, self.policy, RANDOM, m) for f, x in rates.items() for m in TIMES}
        least = [ratio(rates[f], BOUND, RANDOM, m).value for f, m in ratios]
        verdicts = [judging.lower(r, b) for r, b in zip(ratios.values(), least, strict=True)]
        worst = max(ratios, key=lambda k: ratios[k].high)
        gain = judging.gain_of(ratios[worst])
        found.append(
            Finding(
                claim="B3",
                verdict=judging.together(verdicts),
                figure=f"less time than `{RANDOM}` at {', '.join(map(str, rates))} frames; the "
                f"least gain is {percent(gain)}, {TIMES[worst[1]]} at {worst[0]} frames",
                why="Must hold in all and for the batch alone, with the whole interval. Time by "
                "that of the best configuration that never changes: "
                + "; ".join(f"{self._fair(x)} at {f} frames" for f, x in rates.items()),
                possible=1 - max(least),
                command=self.command,
            )
        )
        return found

    def _fair(self, frames: Frames) -> str:
        of_static = ratio(frames, self.policy, STATIC, "latency_mean")
        cost = ratio(frames, self.policy, STATIC, "core_seconds")
        return f"{shown(of_static)} at {cost.value:.2f} of its core-seconds"

    def _chosen(self, rates: Mapping[int, Frames], stated: Mapping[str, Claim]) -> list[Finding]:
        first, last = min(rates), max(rates)

        def of(arm: str, column: str, at: int) -> Interval:
            values = rates[at][arm][column].to_numpy() * self.by_paper.get(column, 1.0)
            return mean_of(values, "chosen", column)

        found = []
        for claim, column, words, scale, digits, unit in (
            ("B4", "cores", "cores of an executor", 1.0, 2, ""),
            ("B5", "memory", "memory of an executor", 1.0, 0, " MiB"),
            ("B6", "instances", "executors asked for", 1.0, 2, ""),
            ("B7", "cpu_reserved", f"reserved of {self.of_cpus:g} cores", 100.0, 1, " %"),
            ("B8", "memory_reserved", f"reserved of {self.of_memory:g} GiB", 100.0, 1, " %"),
        ):
            told = stated[claim].figures
            a, b = of(self.policy, column, first), of(self.policy, column, last)
            parts = {f"near {told['drl_10']:g} at first": judging.near(a, told["drl_10"])}
            if claim == "B6":
                parts[f"above {told['drl_60']:g} at last"] = judging.above(b, told["drl_60"])
            else:
                parts[f"near {told['drl_60']:g} at last"] = judging.near(b, told["drl_60"])
            figure = f"{words}, {first} to {last} frames: {scaled(a, scale, digits)} to "
            figure += f"{scaled(b, scale, digits)}{unit}"
            why = ""
            if claim in ("B7", "B8"):
                c, d = of(RANDOM, column, first), of(RANDOM, column, last)
                parts[f"random near {told['random_10']:g} at first"] = judging.near(
                    c, told["random_10"]
                )
                if claim == "B7":
                    low = judging.below(d, told["random_60"])
                    parts[f"random below {told['random_60']:g} at last"] = low
                else:
                    near = judging.near(d, told["random_60"])
                    parts[f"random near {told['random_60']:g} at last"] = near
                figure += (
                    f"; `{RANDOM}` {scaled(c, scale, digits)} to {scaled(d, scale, digits)}{unit}"
                )
                used = column.replace("reserved", "busy")
                e, f = of(self.policy, used, first), of(self.policy, used, last)
                why = f"Tasks use {scaled(e, scale, digits)} to {scaled(f, scale, digits)}{unit}. "
                why += f"{_READING} "
            verdict, missed = judging.all_hold(parts)
            why += f"Near: within {judging.NEAR:.0%}."
            why += f" Does not hold: {missed}" if missed else ""
            if claim in ("B4", "B5"):
                why += ". That of random is what its rule is given and not judged"
            found.append(
                Finding(claim=claim, verdict=verdict, figure=figure, why=why, command=self.command)
            )
        return found

    def _reward(self, rates: Mapping[int, Frames]) -> Finding:
        low, high = (
            float(rates[f][self.policy]["reward"].mean()) for f in (max(rates), min(rates))
        )
        return Finding(
            claim="B9",
            verdict=NOT_COMPARABLE,
            why="the mean of an episode cannot lie below the least reward of its steps, and "
            "1.3e-5 would be a batch of 77 s where at most 1 s is reported. Here a step earns "
            f"{low:.2e} at {max(rates)} frames to {high:.2e} 1/ms at {min(rates)}",
            command=self.command,
        )

    def _curve(self, trained: Sequence[Followed], claim: Claim) -> Finding:
        told = claim.figures
        ways = {one.name: judging.learning(one.mean, one.copies, told["rises"]) for one in trained}
        verdicts = [judging.learnt_as_told(how, told["level"], 0.5) for how in ways.values()]
        each = "; ".join(
            f"ε falling {name}: {how.risen:.0%} of the rise by {told['rises']:,.0f} decisions, "
            f"level from {how.settled:,.0f} of {how.decisions:,}"
            for name, how in ways.items()
        )
        verdict = judging.either(verdicts)
        few = verdict == NOT_COMPARABLE
        return Finding(
            claim="B10",
            verdict=verdict,
            figure=each,
            why=f"no training is twice as long as the {told['level']:,.0f} decisions in question"
            if few
            else f"confirmed where one of them has made {judging.RISEN:.0%} of its rise by "
            f"{told['rises']:,.0f} decisions and is level from {told['level']:,.0f}, which is in "
            "the first half; the paper does not say by what its ε falls. Masked double DQN, "
            "learning rate 1e-3, 32 decisions per gradient step",
            command=self.command,
        )

    def _overhead(
        self,
        times: Mapping[str, Interval],
        rates: Mapping[int, Frames],
        stated: Mapping[str, Claim],
    ) -> list[Finding]:
        first, last = min(rates), max(rates)
        found = []
        for claim, part, what, digits, how in (
            (
                "B11", "training", "a gradient step and the decisions before it", 2,
                "each batch is charged with a whole gradient step and with many decisions, their "
                "simulation included, so that the agent itself takes less",
            ),
            (
                "B12", "after", "a decision", 3,
                "the 45 to 55 ms of the paper's machine are not compared, its shares are taken as "
                "the most that an agent adds",
            ),
        ):  # fmt: skip
            told = stated[claim].figures
            shares = {
                f: judging.share_of(times[part], ms(rates[f][self.policy])) for f in (first, last)
            }
            verdict, missed = judging.all_hold(
                {
                    f"{at:g} frames": judging.below(shares[at], told[key])
                    for at, key in ((first, "at_10"), (last, "at_60"))
                }
            )
            why = (
                f"Processor time here beside simulated batches, made to last as the paper's: {how}"
            )
            found.append(
                Finding(
                    claim=claim,
                    verdict=verdict,
                    figure=f"{what} takes {shown(times[part], digits)} ms: "
                    + ", ".join(f"{percent(s, 2)} at {f} frames" for f, s in shares.items()),
                    why=why + (f". Not below at {missed}" if missed else ""),
                    command=self.command,
                )
            )
        return found
