"""Benchmark: how the datasets of one workload are generated, tier by tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.utils import instantiate

from toolkit.catalogue import Catalogue
from toolkit.data.card import TIERS, DatasetId
from toolkit.errors import require, unknown
from toolkit.policies.named import roots

SEARCH = "search"
"""The name of a learner among the behaviour policies of a tier."""

FIRST_SEED = 1_000_000
"""Seed of the first workload; whatever is judged on, or tuned on, has smaller ones."""

REFERENCE_SEED = 30_000
"""Seed of the first workload that reference scores are measured on."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The datasets of one workload.

    Args:
        about: One sentence about it.
        scenario: Name of the scenario.
        overrides: Words that change it, as on the command line.
        version: Raised whenever the data change.
        discount_seconds: τ: a reward ``s`` seconds later counts exp(−s/τ).
        transitions: Decisions of a full dataset, at least.
        sample: Decisions of its sample, at least.
        tiers: For each tier the names of its behaviour policies, taken in turn, an episode each;
            ``search`` is a learner, see :mod:`toolkit.policies.search`.
        reference_seeds: Workloads that the reference scores of the card are measured on.
        licence: Of the data.
    """

    about: str
    scenario: str
    tiers: Mapping[str, Sequence[str]]
    discount_seconds: float
    overrides: Sequence[str] = ()
    version: int = 1
    transitions: int = 1_000_000
    sample: int = 2_000
    reference_seeds: int = 20
    licence: str = "CC0-1.0"

    def __post_init__(self) -> None:
        for tier, policies in self.tiers.items():
            if tier not in TIERS[:-1]:
                raise unknown("tier", tier, TIERS[:-1])
            require(len(policies) > 0, f"tier {tier!r} names no policy")
            require(
                SEARCH not in policies or len(policies) == 1,
                f"tier {tier!r}: a learner has a tier of its own",
            )
        require(self.discount_seconds > 0, "discount_seconds must be positive")
        require(self.version >= 1, f"version must be 1 or more, got {self.version}")
        require(
            1 <= self.sample <= self.transitions,
            f"sample must be from 1 to transitions, got {self.sample} of {self.transitions}",
        )
        require(self.reference_seeds >= 2, "reference_seeds must be 2 or more")

    def policies(self, tier: str) -> Sequence[str]:
        """Return the behaviour policies of a tier.

        Raises:
            NotFoundError: When it is not one of this benchmark.
        """
        if tier not in self.tiers:
            raise unknown("tier of this benchmark", tier, self.tiers)
        return self.tiers[tier]

    def ids(self, family: str, name: str) -> list[DatasetId]:
        """Return the ids of its datasets.

        Args:
            family: Of the decisions.
            name: Of the benchmark.
        """
        return [
            DatasetId(family=family, workload=name, tier=tier, version=self.version)
            for tier in self.tiers
        ]


def benchmarks() -> list[str]:
    """Return the names of all benchmarks."""
    return Catalogue(roots()).groups.get("benchmark", [])


def benchmark_of(name: str) -> Benchmark:
    """Return a benchmark of ``conf/benchmark``.

    Raises:
        NotFoundError: With the names that exist.
    """
    if name not in benchmarks():
        raise unknown("benchmark", name, benchmarks(), hint="toolkit dataset list")
    found: Benchmark = instantiate(Catalogue(roots()).read(f"benchmark/{name}"), _convert_="all")
    return found
