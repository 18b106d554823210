"""Learners: algorithms trained side by side on the same grounds, and what that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from evaluations.experiments.arms import Arm, Followed, followed, trained
from evaluations.experiments.curves import against
from evaluations.experiments.offline_to_online import merged
from evaluations.experiments.recorded import record
from evaluations.experiments.shown import credited, shown
from evaluations.experiments.statements import Ground, Question
from evaluations.metrics import UNITS
from evaluations.verdicts.comparison import Compared, compared
from evaluations.verdicts.part import percent
from evaluations.verdicts.report import Picture, Produced, Table, publish
from evaluations.verdicts.sizes import command_of, require_size
from toolkit.errors import require, unknown
from toolkit.report import Report
from toolkit.statistics import Interval

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where arms play, and what all policies are judged on.

    Args:
        plays: Name of the scenario, and overrides.
        drift: What is played before, see ``curriculum`` of ``toolkit train``.
        discount_seconds: τ; None leaves it to the scenario.
    """

    plays: Sequence[str]
    drift: Sequence[Mapping[str, Any]] = ()
    discount_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Something of the scenario that is varied, without training anew.

    Args:
        ground: On which.
        what: In words.
        setting: Word of the scenario, e.g. ``scenario.cv``.
        values: Ascending.
    """

    ground: str
    what: str
    setting: str
    values: Sequence[float]

    def __post_init__(self) -> None:
        told = list(self.values)
        require(
            len(told) >= 2 and told == sorted(set(told)),
            f"experiment.levels.values must ascend, two or more, got {told}",
        )
        require(
            self.setting.startswith("scenario."),
            f"experiment.levels.setting must begin with scenario., got {self.setting!r}",
        )


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained and played.

    Args:
        seeds: Trainings of each arm.
        watch: Training workloads that are played at every point of a learning curve.
        chosen_on: Training workloads that tell which rule is the best.
        workloads: Unseen workloads.
        settings: Settings that differ from ``conf/algo``, by algorithm.
        dataset: What arms learn from that learn from a dataset; "" for none.
        overrides: Of the scenarios of all grounds.
        credit: Training workloads on which choices of single process types are replaced, see
            :mod:`evaluations.experiments.credit`; 0 leaves that out.
    """

    seeds: int
    watch: int
    chosen_on: int
    workloads: int
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dataset: str = ""
    overrides: Sequence[str] = ()
    credit: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("seeds", 1), ("watch", 1), ("chosen_on", 1), ("workloads", 2), ("credit", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= least, f"experiment.sizes: {name} must be {least} or more")


@dataclass(frozen=True, kw_only=True)
class Learners:
    """Algorithms trained side by side on the same grounds, and what that answers.

    Args:
        name: Of the experiment.
        title: Of its report.
        about: What it is about, a paragraph each.
        size: Which of ``sizes``: ``quick`` or ``full``.
        sizes: By name.
        grounds: By name.
        arms: By name: ``algo`` and what differs from its YAML in ``settings``; ``init`` to go on
            from another arm; ``offline: true`` to learn from the dataset of the size.
        rivals: Rules of which the best on training workloads is what all are compared with.
        rules: Others.
        also: Of these and the arms, those that ratios are told to beside the best rule.
        metrics: What is compared; the first ranks.
        questions: What is to be answered.
        first_seed: Seed of the first unseen workload.
        levels: What is varied on one of the grounds; None for nothing.
    """

    name: str
    title: str
    about: Sequence[str]
    size: str
    sizes: Mapping[str, Size]
    grounds: Mapping[str, Place]
    arms: Mapping[str, Mapping[str, Any]]
    rivals: Sequence[str]
    metrics: Sequence[str]
    questions: Sequence[Question]
    first_seed: int
    rules: Sequence[str] = ()
    also: Sequence[str] = ()
    levels: Levels | None = None

    def __post_init__(self) -> None:
        require_size(self.size, self.sizes, self.first_seed, "experiment")
        strange = [m for m in self.metrics if m not in UNITS]
        require(
            len(self.metrics) > 0 and not strange,
            f"experiment.metrics must name one or more of {', '.join(UNITS)}, got {strange}",
        )
        require(len(self.rivals) > 0, "experiment.rivals must name a rule")
        require(len(self.arms) > 0, "experiment.arms must name an arm")
        for other in self.also:
            known = [*self.rivals, *self.rules, *self.arms]
            if other not in known:
                raise unknown("arm or rule", other, known)
        if self.levels is not None and self.levels.ground not in self.grounds:
            raise unknown("ground", self.levels.ground, self.grounds)
        for name, place in self.grounds.items():
            require(
                place.discount_seconds is not None or self.sizes[self.size].credit == 0,
                f"experiment.grounds.{name}: credit needs discount_seconds",
            )
            _ = self._arms(name, place)  # which refuses what makes no sense

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return command_of(f"toolkit train +experiment={self.name}", self.size, "experiment")

    def run(self, cfg: DictConfig) -> Report:
        """Train, judge and report; what was trained or played already is not again."""
        size = self.sizes[self.size]
        every = {
            (ground, name): arm
            for ground, place in self.grounds.items()
            for name, arm in self._arms(ground, place).items()
        }
        made = trained(
            {_joined(*key): arm for key, arm in every.items()},
            {_joined(*key): range(size.seeds) for key in every},
            size.watch,
            cfg,
        )
        found = {}
        for ground, place in self.grounds.items():
            told = {a: [followed(p) for p in made[_joined(ground, a)]] for a in self.arms}
            played = self._played(self._plays(place), told, cfg)
            found[ground] = Ground(followed=told, played=played)
            record(
                played, self._on_the_board(told), self.metrics[0],
                experiment=self.name, ground=ground, size=self.size, command=self.command,
                dataset=size.dataset,
            )  # fmt: skip
        offline = [a for a, told in self.arms.items() if told.get("offline")]
        parts = [shown(g, one, self.metrics, self.also, offline) for g, one in found.items()]
        if size.credit > 0:
            for name, place in self.grounds.items():
                words, tau = self._plays(place), place.discount_seconds
                parts.append(
                    ([credited(name, found[name], words, float(tau or 0), size.credit)], [])
                )
        if self.levels is not None:
            parts.append(self._varied(self.levels, found[self.levels.ground], cfg))
        stated = [q.stated for q in self.questions]
        produced = Produced(
            suite=self.name,
            title=self.title,
            size=self.size,
            command=self.command,
            about=[*self.about, *self._about(size, found)],
            tables=[t for tables, _ in parts for t in tables],
            pictures=[p for _, pictures in parts for p in pictures],
            findings=[q.answer(found, self.command) for q in self.questions],
        )
        return publish(produced, stated)

    def _arms(self, ground: str, place: Place) -> dict[str, Arm]:
        size = self.sizes[self.size]
        arms = {}
        for name, told in self.arms.items():
            words = dict(told)
            offline = bool(words.pop("offline", False))
            require(
                not offline or bool(size.dataset),
                f"{name} learns from a dataset, and the size {self.size} names none",
            )
            words["settings"] = merged(
                size.settings.get(words["algo"], {}), words.get("settings", {})
            )
            if words.get("init") in self.arms:
                words["init"] = _joined(ground, words["init"])
            where: dict[str, Any] = {"plays": self._plays(place)}
            where |= {"dataset": size.dataset} if offline else {
                "drift": place.drift, "discount_seconds": place.discount_seconds,
            }  # fmt: skip
            arms[name] = Arm(**words, **where)
        return arms

    def _plays(self, place: Place) -> list[str]:
        return [*place.plays, *self.sizes[self.size].overrides]

    def _played(
        self, words: Sequence[str], told: Mapping[str, Sequence[Followed]], cfg: DictConfig
    ) -> Compared:
        size = self.sizes[self.size]
        arms = {n: [n] for n in (*self.rivals, *self.rules)}
        arms |= {a: [f.policy for f in each] for a, each in told.items()}
        seeds = range(self.first_seed, self.first_seed + size.workloads)
        return compared(words, arms, self.rivals, size.chosen_on, seeds, cfg)

    def _on_the_board(self, told: Mapping[str, Sequence[Followed]]) -> dict[str, list[str]]:
        learned = {arm: [f.policy for f in each] for arm, each in told.items()}
        return learned | {rule: [] for rule in (*self.rivals, *self.rules)}

    def _varied(
        self, levels: Levels, ground: Ground, cfg: DictConfig
    ) -> tuple[list[Table], list[Picture]]:
        """Return what arms gain over the best rule at every level."""
        metric, words = self.metrics[0], self._plays(self.grounds[levels.ground])
        gains: dict[str, list[Interval]] = {arm: [] for arm in self.arms}
        rows = []
        for value in levels.values:
            played = self._played([*words, f"{levels.setting}={value}"], ground.followed, cfg)
            best = played.best(metric)
            row: dict[str, Any] = {levels.what: value, "best rule": best}
            for arm, found in gains.items():
                found.append(played.gain(arm, best, metric))
                row[f"{arm} saves"] = percent(found[-1])
            rows.append(
                {**row, "no policy saves more than": percent(played.possible(best, metric))}
            )
        table = Table(
            caption=f"{levels.ground}: {metric} saved against the best rule as {levels.what} "
            "varies, policies as they are.",
            frame=pd.DataFrame(rows),
        )
        picture = Picture(
            name="levels",
            caption=f"{metric} saved as {levels.what} grows, with 95 % intervals.",
            draw=partial(against, levels.what, levels.values, gains, metric),
        )
        return [table], [picture]

    def _about(self, size: Size, found: Mapping[str, Ground]) -> list[str]:
        seconds = {
            f.policy: f.seconds
            for ground in found.values()
            for each in ground.followed.values()
            for f in each
        }
        lines = [
            f"{size.seeds} trainings of each arm, {size.workloads} unseen workloads of each ground "
            f"from seed {self.first_seed} on, the best rule chosen on {size.chosen_on} training "
            f"workloads. All trainings took {sum(seconds.values()) / 60:.0f} minutes of wall "
            "clock, added up."
        ]
        for name, place in self.grounds.items():
            before = "".join(
                f" until {d['until']:g} of it `{' '.join(d['overrides']) or 'as it is'}`,"
                for d in place.drift
            )
            told = f"trained there,{before} then on what is judged" if before else "trained there"
            lines.append(f"{name}: `{' '.join(self._plays(place))}`; {told}.")
        return lines


def _joined(ground: str, arm: str) -> str:
    return f"{ground}: {arm}"
