"""Growth: whether the time of a step grows linearly, network and simulator apart (claim A10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from evaluations.experiments.powers import LINEAR, about_linear, exponents, medians
from evaluations.experiments.scaling import (
    NETWORK,
    PARTS,
    SIMULATOR,
    STEP,
    Grid,
    Placements,
    timed,
)
from evaluations.experiments.step_pictures import step_times
from evaluations.verdicts.claims import Claim, Finding, claims
from evaluations.verdicts.report import Picture, Produced, Table, interval, publish
from evaluations.verdicts.sizes import command_of
from toolkit.envs.registration import scenario_of
from toolkit.errors import require, unknown
from toolkit.policies.named import named
from toolkit.report import Report
from toolkit.scenarios.pipelines import Pipelines
from toolkit.scenarios.workflows import Workflows
from toolkit.store import Store

if TYPE_CHECKING:
    from omegaconf import DictConfig

ALLOCATION, PLACEMENT = "allocation", "placement"
_SAID = {STEP: "a whole step", SIMULATOR: "the simulator's part", NETWORK: "the network's part"}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is timed.

    Args:
        allocation: Sizes of pipelines.
        placement: Sizes of workflows.
    """

    allocation: Grid
    placement: Placements


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Times steps of growing pipelines and workflows, and of more of them at once.

    Args:
        name: Of the experiment.
        size: Which of ``sizes``: ``quick`` or ``full``.
        sizes: By name.
        pipelines: Name of a closed scenario, and overrides.
        workflows: Name of a scenario of one workflow, and overrides.
        policy: Trained policy that places; its network takes any number of slots.
    """

    name: str
    size: str
    sizes: Mapping[str, Size]
    pipelines: Sequence[str]
    workflows: Sequence[str]
    policy: str

    def __post_init__(self) -> None:
        if self.size not in self.sizes:
            raise unknown("size", self.size, self.sizes, hint="e.g. experiment.size=quick")

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return command_of(f"toolkit train +experiment={self.name}", self.size, "experiment")

    def run(self, cfg: DictConfig) -> Report:
        """Time, and publish what came of it."""
        size = self.sizes[self.size]
        pipelines = scenario_of(self.pipelines[0], self.pipelines[1:])
        workflows = scenario_of(self.workflows[0], self.workflows[1:])
        require(isinstance(pipelines, Pipelines), "experiment.pipelines must be of pipelines")
        require(isinstance(workflows, Workflows), "experiment.workflows must be of workflows")
        assert isinstance(pipelines, Pipelines) and isinstance(workflows, Workflows)
        policy = named(self.policy, Store()).policy
        times = {
            ALLOCATION: timed(size.allocation.points(pipelines), size.allocation.repeats),
            PLACEMENT: timed(size.placement.points(workflows, policy), size.placement.repeats),
        }
        stated, findings = self._judged(times)
        produced = Produced(
            suite=self.name,
            title="Scaling: the time of a step against graphs, devices and load",
            size=self.size,
            command=self.command,
            about=self._about(size),
            tables=[
                Table(
                    caption=f"Powers of size that medians grow by, {family}, with 95 % intervals "
                    "(Student's t over sizes).",
                    frame=_powers(frame),
                )
                for family, frame in times.items()
            ]
            + [
                Table(
                    caption=f"Wall clock of a step, {family}: medians over repeats, quartiles of "
                    "the whole step, and the median ratio to the smallest size of the same repeat.",
                    frame=medians(frame).rename(columns={"of_the_smallest": "of the smallest"}),
                )
                for family, frame in times.items()
            ],
            pictures=[
                Picture(
                    name=f"{family}_{part.removesuffix('_ms')}",
                    caption=f"{_SAID[part].capitalize()} against size, {family}.",
                    draw=partial(step_times, frame, exponents(frame, part), part),
                )
                for family, frame in times.items()
                for part in PARTS
            ],
            findings=findings,
        )
        return publish(produced, stated)

    def _judged(
        self, times: Mapping[str, pd.DataFrame]
    ) -> tuple[Sequence[Claim], Sequence[Finding]]:
        """Return the paper's claim, of pipelines, and the same of workflows."""
        low, high = LINEAR
        paper = next(c for c in claims("a") if c.id == "A10")
        stated = [paper, replace(paper, id="A10 C", text=f"{paper.text}, of placement")]
        findings = []
        for claim, frame in zip(stated, times.values(), strict=True):
            found = exponents(frame)
            findings.append(
                Finding(
                    claim=claim.id,
                    verdict=about_linear(found),
                    figure="the time of a step grows with "
                    + "; ".join(
                        f"{grows} to the power of {interval(e.value, e.low, e.high, 2)}"
                        for grows, e in found.items()
                    ),
                    why=f"wall clock, measured; confirmed where all intervals lie from {low} to "
                    f"{high}; less growth is better than claimed",
                    command=self.command,
                )
            )
        return stated, findings

    def _about(self, size: Size) -> list[str]:
        return [
            f"Allocation like `{' '.join(self.pipelines)}`: a step is an instant, one decision for "
            "each process type by an untrained network as wide as the trained ones, and the "
            "simulation until the next. The cluster grows with the pipelines in flight.",
            f"Placement like `{' '.join(self.workflows)}`: a step is one decision of "
            f"`{self.policy}`, which task or which device. Where workflows at once grow, each has "
            f"{size.placement.job_tasks} tasks.",
            "The simulator's part includes the features that decisions are made of, and of "
            "placement the re-plan whose advice is among them. All sizes are timed one after "
            f"another, {size.allocation.repeats} and {size.placement.repeats} times over, so that "
            "what disturbs the machine disturbs all of them.",
        ]


def _powers(times: pd.DataFrame) -> pd.DataFrame:
    """Return the exponents of all parts as a table."""
    by_part = {part: exponents(times, part) for part in PARTS}
    return pd.DataFrame(
        [
            {"grows": grows}
            | {_SAID[p]: interval(f[grows].value, f[grows].low, f[grows].high, 2)
               for p, f in by_part.items()}
            for grows in by_part[STEP]
        ]
    )  # fmt: skip
