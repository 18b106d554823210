"""DatasetCard: what a dataset is, how it was made, and how good a policy may hope to be."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from toolkit.errors import ConfigError, CorruptError

TIERS = ("random", "static", "heuristic", "expert", "mixed", "replay", "real")
"""What chose the actions: chance; one fixed rule; some rules, exploring; the best one known; all of
them; a learner while it learnt; or whatever ran on a real engine."""

_ID = re.compile(
    r"(?P<family>placement|allocation|configuration)/"
    rf"(?P<workload>[a-z0-9][a-z0-9._-]*)-(?P<tier>{'|'.join(TIERS)})-v(?P<version>[1-9]\d*)"
    r"(?P<sample>-sample)?\Z"
)


_PLAIN = re.compile(r"scenario(\.[a-z][a-z0-9_]*)+=[A-Za-z0-9_.,+\[\]-]*\Z")


@dataclass(frozen=True, kw_only=True)
class DatasetId:
    """The parts of an id ``family/workload-tier-vN``.

    Args:
        family: Decision family.
        workload: Name of the benchmark or the trace.
        tier: One of ``TIERS``.
        version: Raised whenever the data change.
        sample: Whether it is the small sample of the dataset.
    """

    family: str
    workload: str
    tier: str
    version: int
    sample: bool = False

    def __str__(self) -> str:
        end = "-sample" if self.sample else ""
        return f"{self.family}/{self.workload}-{self.tier}-v{self.version}{end}"

    @staticmethod
    def parse(text: str) -> DatasetId:
        """Return the parts of an id.

        Raises:
            ConfigError: When it is none.
        """
        m = _ID.match(text)
        if m is None or len(text) > 190:
            raise ConfigError(
                f"{text[:80]!r} is no id of a dataset: <family>/<workload>-<tier>-v<N>, "
                f"tiers {', '.join(TIERS)}",
                hint="see what there is: toolkit dataset list",
            )
        return DatasetId(
            family=m["family"],
            workload=m["workload"],
            tier=m["tier"],
            version=int(m["version"]),
            sample=m["sample"] is not None,
        )


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """The card of a transition dataset.

    Args:
        id: ``family/workload-tier-vN``.
        about: One sentence about it.
        family: Decision family.
        scenario: Name of what was scheduled, and the words that change it.
        traces: Id, digest, source, engine and host of every trace that it was made of.
        generated: Versions of simulator, featuriser and reward, where it was simulated.
        behaviour: For each behaviour policy episodes, decisions, mean return and mean propensity.
        episodes: Number of episodes.
        transitions: Number of decisions.
        splits: For each split episodes, workloads and decisions.
        reward: Weights of the terms of the reward.
        discount_seconds: τ: a reward ``s`` seconds later counts exp(−s/τ).
        coverage: See :mod:`toolkit.data.coverage`.
        inferred: Share of decisions that nobody recorded.
        invalid: Share of decisions that the mask forbids; they are kept out of training.
        fidelity: Held-out errors of the calibration behind its reference scores; None where there
            is none.
        reference: By role (``random``, ``static``, ``heft``, ``best``, ``bound``) the policy and
            its mean return over unseen workloads with its 95 % interval.
        reference_command: What computes them again.
        licence: Of the data.
        files: SHA-256 of every file of rows and of the index.
        actions: SHA-256 over all actions, equal on every machine.
        command: What makes the dataset again, or why nothing does.
    """

    id: str
    about: str
    family: str
    scenario: Mapping[str, Any]
    traces: Sequence[Mapping[str, Any]]
    generated: Mapping[str, int]
    behaviour: Mapping[str, Mapping[str, Any]]
    episodes: int
    transitions: int
    splits: Mapping[str, Mapping[str, int]]
    reward: Mapping[str, float]
    discount_seconds: float
    coverage: Mapping[str, Any]
    inferred: float
    invalid: float
    fidelity: Mapping[str, Any] | None
    reference: Mapping[str, Mapping[str, Any]]
    reference_command: str
    licence: str
    files: Mapping[str, str]
    actions: str
    command: str

    def score(self, mean_return: float) -> float:
        """Return a mean return on the scale on which random is 0 and the best known rule 100.

        Raises:
            ConfigError: When the card has no such scores, or they are equal.
        """
        low, high = (self.reference.get(role, {}).get("value") for role in ("random", "best"))
        if low is None or high is None or high <= low:
            raise ConfigError(f"{self.id} has no reference scores to measure a return by")
        return float(100.0 * (mean_return - low) / (high - low))

    def played(self) -> tuple[str, tuple[str, ...]]:
        """Return the scenario of its environment and the words that change it.

        A card may come from anybody: only plain values of the scenario's own settings are taken.

        Raises:
            ConfigError: When there is no scenario, or a word would do something else.
        """
        name, words = self.scenario.get("name"), self.scenario.get("overrides") or ()
        if not isinstance(name, str):
            raise ConfigError(
                f"{self.id} comes from a log whose scenario nobody knows, so that it has no "
                "environment",
                hint="name a scenario: toolkit list what=scenario",
            )
        for word in words:
            if not isinstance(word, str) or not _PLAIN.match(word):
                raise ConfigError(
                    f"the card of {self.id} changes its scenario by {str(word)[:80]!r}"
                )
        return name, tuple(words)

    def to_yaml(self) -> str:
        """Return it as YAML."""
        values = dataclasses.asdict(self)
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)

    @staticmethod
    def from_yaml(text: str, name: str) -> DatasetCard:
        """Return what :meth:`to_yaml` gave.

        Raises:
            CorruptError: When it is damaged.
        """
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            if any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, Loader=loader)):
                raise ValueError("it has aliases, which may unfold without end")
            values = yaml.load(text, Loader=loader)
            card = DatasetCard(**values)
            for f in dataclasses.fields(DatasetCard):
                _check(f.name, str(f.type), getattr(card, f.name))
            for name in ("behaviour", "splits", "reference"):
                for key, told in getattr(card, name).items():
                    _check(f"{name}.{key}", "Mapping", told)
            for told in card.traces:
                _check("traces", "Mapping", told)
            for role, told in card.reference.items():
                _check(f"reference.{role}.value", "float", told.get("value"))
        except (TypeError, ValueError, yaml.YAMLError, RecursionError) as error:
            raise CorruptError(f"the card {name} is damaged: {error}") from error
        return card


_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "Mapping": (dict,),
    "Sequence": (list,),
}


def _check(name: str, kind: str, value: Any) -> None:
    if kind.endswith("| None") and value is None:
        return
    wanted = _KINDS[kind.partition("[")[0].partition(" ")[0]]
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise TypeError(f"{name} is {type(value).__name__}, not {kind}")
