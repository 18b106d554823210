"""Paper B: micro-batches of video frames on Spark, its tables, pictures and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.cells import BOUND
from evaluations.experiments.offline_to_online import merged
from evaluations.papers import learning_b as learning
from evaluations.papers import pictures_b as pictures
from evaluations.papers import served_b as batches
from evaluations.papers import tables_b as tables
from evaluations.papers.figures_b import RANDOM, STATIC, TIMES, Frames, line, mean_of
from evaluations.papers.findings_b import Judge
from evaluations.verdicts.claims import Claim, claims
from evaluations.verdicts.report import Picture, Produced, publish
from evaluations.verdicts.sizes import command_of, require_size
from toolkit.errors import require
from toolkit.fanout import Each, crew
from toolkit.progress import progress
from toolkit.report import Report
from toolkit.seeding import GATE

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is played and trained.

    Args:
        frames: Frames per partition, ascending; the first and the last are those of the claims.
        workloads: Unseen workloads of each.
        mixed: Unseen workloads in which the frames change.
        chosen_on: Training workloads that tell which configuration that never changes is the best.
        timed: Episodes that decisions of the policy are timed in.
        decisions: Of each training.
        settings: Settings of the algorithm that differ from its YAML.
        trainings: By how exploration falls those of ``play`` that differ.
    """

    frames: Sequence[int]
    workloads: int
    mixed: int
    chosen_on: int
    timed: int
    decisions: int
    settings: Mapping[str, Any]
    trainings: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        ascending = list(self.frames) == sorted(set(self.frames)) and len(self.frames) >= 2
        require(ascending, f"suite.sizes: frames must ascend, two or more, got {self.frames}")
        for name, least in (("workloads", 2), ("mixed", 2), ("chosen_on", 1), ("timed", 2)):
            value = getattr(self, name)
            require(value >= least, f"suite.sizes: {name} must be {least} or more, got {value}")
        require(self.decisions >= 1, "suite.sizes: decisions must be positive")
        require(len(self.trainings) >= 1, "suite.sizes: trainings must name one or more")


@dataclass(frozen=True, kw_only=True)
class PaperB:
    """All that is claimed of micro-batches on Spark, measured in the simulator.

    Args:
        name: Of the suite.
        size: Which of ``sizes``: ``quick`` or ``full``.
        sizes: By name.
        policy: The trained policy that is judged.
        rivals: Rules to compare with, ``RANDOM`` among them.
        single: Name of a scenario of batches, and overrides: an episode is of one frame rate.
        mixed: Likewise, where the frame rate changes.
        stream: Likewise, where batches arrive by the clock; what is chosen there is drawn.
        discount_seconds: τ of the trainings.
        of_cpus: Cores that the paper's CPU utilisation is a share of.
        of_memory: GiB that its memory utilisation is a share of.
        first_seed: Seed of the first unseen workload.
    """

    name: str
    size: str
    sizes: Mapping[str, Size]
    policy: str
    rivals: Sequence[str]
    single: Sequence[str]
    mixed: Sequence[str]
    stream: Sequence[str]
    discount_seconds: float
    of_cpus: float
    of_memory: float
    first_seed: int

    def __post_init__(self) -> None:
        require_size(self.size, self.sizes, self.first_seed)
        require(RANDOM in self.rivals, f"suite.rivals must name {RANDOM!r}, the paper's own")
        require(self.policy not in self.rivals, "suite.policy is no rival of itself")
        for name in ("discount_seconds", "of_cpus", "of_memory"):
            require(getattr(self, name) > 0, f"suite.{name} must be positive")

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return command_of("toolkit evaluate +suite=paper_b", self.size)

    def run(self, cfg: DictConfig) -> Report:
        """Play, train and judge; what was played or trained already is not again."""
        size = self.sizes[self.size]
        with crew(str(cfg.executor), cfg.workers, cfg.ray.address) as hand_out:
            single, mixed, fleets = self._served(size, hand_out, bool(cfg.force))
            trained = self._trained(size, hand_out, bool(cfg.force))
        seeds = range(self.first_seed, self.first_seed + size.timed)
        asked = batches.decision_ms(self.mixed, self.policy, seeds)
        times = {
            "training": mean_of(trained[0].step_ms, "times"), "after": mean_of(asked, "times"),
        }  # fmt: skip
        stated = {c.id: c for c in claims("b")}
        rates = {f: {n: x[x["frames"] == f] for n, x in single.items()} for f in size.frames}
        judge = Judge(
            policy=self.policy, command=self.command, of_cpus=self.of_cpus,
            of_memory=self.of_memory, by_paper=self._by_paper(),
        )  # fmt: skip
        produced = Produced(
            suite=self.name,
            title="Paper B: micro-batches on Spark",
            size=self.size,
            command=self.command,
            about=self._about(size, fleets),
            tables=[
                *tables.compared(
                    self.policy, self.rivals, rates, mixed, (size.workloads, size.mixed),
                    size.chosen_on,
                ),
                tables.configurations(self.policy, rates),
                *tables.learnt(self.policy, self.mixed, trained, times, rates),
            ],
            pictures=self._pictures(rates, trained, stated),
            findings=judge.findings(rates, trained, times),
        )  # fmt: skip
        return publish(produced, claims("b"))

    def _served(
        self, size: Size, hand_out: Each, again: bool
    ) -> tuple[Frames, Frames, dict[str, batches.Fleet]]:
        """Return who served what: at each frame rate, where it changes; and the best statics."""
        known = batches.seeds_by_frames(self.single, size.frames, size.chosen_on, GATE)
        unseen = batches.seeds_by_frames(self.single, size.frames, size.workloads, self.first_seed)
        seeds = sorted(s for of in known.values() for s in of)
        mixed = list(range(GATE, GATE + size.chosen_on))
        wanted = []
        for words, on in ((self.single, seeds), (self.mixed, mixed)):
            wanted += batches.pieces(self.policy, words, on, again)
            for fleet in batches.fleets_of(words):
                wanted += batches.pieces(_label(fleet), words, on, again, fleet)
        before = _played(wanted, hand_out, "training workloads")
        fleets = {
            f"{f} frames": self._static(before, self.single, known[f]) for f in size.frames
        } | {"mixed": self._static(before, self.mixed, mixed)}
        later = list(range(self.first_seed, self.first_seed + size.mixed))
        wanted = []
        for arm in (self.policy, *self.rivals, BOUND):
            for words, on in (
                (self.single, sorted(s for of in unseen.values() for s in of)),
                (self.mixed, later),
            ):
                wanted += batches.pieces(arm, words, on, again)
        for f in size.frames:
            fleet = fleets[f"{f} frames"]
            wanted += batches.pieces(STATIC, self.single, unseen[f], again, fleet)
        wanted += batches.pieces(STATIC, self.mixed, later, again, fleets["mixed"])
        found = _played(wanted, hand_out, "unseen workloads")
        ones, others = (
            {arm: frame for (arm, words), frame in found.items() if words == tuple(of)}
            for of in (self.single, self.mixed)
        )
        return ones, others, fleets

    def _static(
        self,
        before: Mapping[tuple[str, tuple[str, ...]], pd.DataFrame],
        words: Sequence[str],
        seeds: Sequence[int],
    ) -> batches.Fleet:
        """Return the best configuration that never changes, at no more than the policy's cost."""
        on = {arm: f[f["seed"].isin(seeds)] for (arm, w), f in before.items() if w == tuple(words)}
        most = float(on[self.policy]["core_seconds"].mean())
        fleets = batches.fleets_of(words)
        seconds = [float(np.log(on[_label(f)]["latency_mean"]).mean()) for f in fleets]
        cost = [float(on[_label(f)]["core_seconds"].mean()) for f in fleets]
        return fleets[best_within(seconds, cost, most)]

    def _trained(self, size: Size, hand_out: Each, again: bool) -> list[learning.Followed]:
        wanted = [self._training(size, name, play, again) for name, play in size.trainings.items()]
        found: dict[str, learning.Followed] = {}
        with progress("training", len(wanted), "agents") as bar:
            for name, one in hand_out(learning.followed, wanted):
                found[name] = one
                bar.update(note=name)
        return [found[name] for name in size.trainings]

    def _training(
        self, size: Size, name: str, play: Mapping[str, float], again: bool
    ) -> learning.Training:
        settings = learning.settings_with(size.settings)
        settings = merged(settings, {"play": dict(play)})
        settings["n_steps"] = learning.steps_for(settings, size.decisions)
        return learning.Training(
            name=name, settings=settings, words=tuple(self.mixed), again=again,
            discount_seconds=self.discount_seconds,
        )  # fmt: skip

    def _by_paper(self) -> dict[str, float]:
        """Return what turns shares of our hosts into shares of what the paper's are of."""
        scenario = batches.batches_of(self.single)
        cpus = scenario.hosts * scenario.host_cpus / self.of_cpus
        memory = scenario.hosts * scenario.host_memory / self.of_memory
        return {
            "cpu_reserved": cpus, "cpu_busy": cpus,
            "memory_reserved": memory, "memory_busy": memory,
        }  # fmt: skip

    def _pictures(
        self,
        rates: Mapping[int, Frames],
        trained: Sequence[learning.Followed],
        stated: Mapping[str, Claim],
    ) -> list[Picture]:
        everybody = (self.policy, RANDOM, STATIC, *(r for r in self.rivals if r != RANDOM))
        few = (self.policy, RANDOM, STATIC)
        first, last = min(rates), max(rates)

        by_paper = self._by_paper()

        def lines(arms: Sequence[str], column: str, scale: float) -> Frames:
            whole = scale * by_paper.get(column, 1.0)
            return {arm: line(rates, arm, column, whole) for arm in arms}

        def ends(claim: str, scale: float = 1.0) -> dict[str, list[tuple[float, float]]]:
            told = stated[claim].figures
            found = {}
            for who, name in (("drl", "agent of the paper"), ("random", "random of the paper")):
                if f"{who}_10" in told:
                    pairs = [(first, told[f"{who}_10"]), (last, told[f"{who}_60"])]
                    found[name] = [(float(f), scale * v) for f, v in pairs]
            return found

        times = {
            label: ("time of a batch, ms", lines(everybody, metric, 1e3))
            for metric, label in TIMES.items()
        }
        chosen = {
            "cores": ("cores of an executor", lines(few, "cores", 1.0)),
            "memory": ("memory of an executor, MiB", lines(few, "memory", 1.0)),
            "executors": ("executors asked for", lines(few, "instances", 1.0)),
        }
        used = {
            "CPU reserved": (
                f"share of {self.of_cpus:g} cores, %",
                lines(few, "cpu_reserved", 100.0),
            ),
            "CPU used": (f"share of {self.of_cpus:g} cores, %", lines(few, "cpu_busy", 100.0)),
            "memory reserved": (
                f"share of {self.of_memory:g} GiB, %",
                lines(few, "memory_reserved", 100.0),
            ),
            "memory used": (
                f"share of {self.of_memory:g} GiB, %",
                lines(few, "memory_busy", 100.0),
            ),
        }
        return [
            Picture(
                name="time",
                caption="Mean time of a batch against frames per partition, with 95 % intervals.",
                draw=partial(pictures.by_frames, times, {}),
            ),
            Picture(
                name="configuration",
                caption="Mean cores, memory and number of executors that are asked for, with 95 % "
                "intervals; open marks are the paper's.",
                draw=partial(
                    pictures.by_frames,
                    chosen,
                    {"cores": ends("B4"), "memory": ends("B5"), "executors": ends("B6")},
                ),
            ),
            Picture(
                name="utilisation",
                caption=f"Share of {self.of_cpus:g} cores and {self.of_memory:g} GiB, as in the "
                "paper, that executors reserve and that tasks use, with 95 % intervals; open marks "
                "are the paper's utilisation.",
                draw=partial(
                    pictures.by_frames,
                    used,
                    {"CPU reserved": ends("B7", 100.0), "memory reserved": ends("B8", 100.0)},
                ),
            ),
            Picture(
                name="reward",
                caption="Reward while learning: of each decision of one copy, the mean of all "
                "decisions so far, and the mean of the episodes that end together.",
                draw=partial(pictures.rewards, trained),
            ),
            Picture(
                name="course",
                caption="What is chosen over time, below the frames of the batch and the batches "
                f"that wait, where they arrive by the clock: workload {self.first_seed} of "
                f"`{' '.join(self.stream)}`.",
                draw=partial(_courses, self.stream, (self.policy, RANDOM), self.first_seed),
            ),
        ]

    def _about(
        self,
        size: Size,
        fleets: Mapping[str, batches.Fleet],
    ) -> list[str]:
        told = ", ".join(f"{name} {_label(fleet)}" for name, fleet in fleets.items())
        return [
            f"Simulated, not run on Spark: `{' '.join(self.single)}`, the first {size.workloads} "
            f"workloads of each frame rate from seed {self.first_seed} on, and "
            f"`{' '.join(self.mixed)}`, {size.mixed} workloads from there; none of them was "
            "trained on.",
            f"The policy is the shipped `{self.policy}`. `{RANDOM}` draws as the paper reports its "
            "random configurations, which grow with the frames; `random` is uniform; "
            "`best_static` keeps the configuration of least estimated seconds of the very "
            "workload; `least_expected` knows all sizes and how luck spreads.",
            f"`{STATIC}` never changes and spends no more core-seconds than the policy: {told} "
            "(cores × MiB × executors).",
        ]


def best_within(seconds: Sequence[float], cost: Sequence[float], most: float) -> int:
    """Return which is the fastest that costs no more; the cheapest where all cost more."""
    within = [i for i, c in enumerate(cost) if c <= most]
    if not within:
        return min(range(len(cost)), key=lambda i: (cost[i], i))
    return min(within, key=lambda i: (seconds[i], i))


def _played(
    wanted: Sequence[batches.Piece], hand_out: Each, what: str
) -> dict[tuple[str, tuple[str, ...]], pd.DataFrame]:
    """Return what pieces gave, by arm and words of the scenario."""
    rows: dict[tuple[str, tuple[str, ...]], list[dict[str, float]]] = {}
    with progress(f"playing {what}", len(wanted), "pieces") as bar:
        for piece, found in hand_out(batches.served, wanted):
            rows.setdefault((piece.arm, piece.words), []).extend(found)
            bar.update(note=piece.arm)
    return {key: batches.frame_of(found) for key, found in rows.items()}


def _courses(words: Sequence[str], policies: Sequence[str], seed: int) -> Any:
    return pictures.courses({p: batches.course(words, p, seed) for p in policies})


def _label(fleet: batches.Fleet) -> str:
    return "×".join(f"{x:g}" for x in fleet)
