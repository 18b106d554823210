"""Suite: which policies meet which workloads, and what their scores are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import require


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Policies judged on the same unseen workloads.

    The normalised score of a cell is its return above that of ``floor`` on the same workload,
    in hundredths of the mean distance from ``floor`` to ``reference``: the floor scores 0, the
    reference 100 in the mean. Both are part of every evaluation.

    Args:
        name: Name of the suite and of its MLflow experiment.
        engine: ``simulator``: unseen workloads in the calibrated replay; ``recorded``: the
            runs of a trace as they really happened.
        policies: Names of the policies; on ``recorded`` those of the trace when empty.
        first_seed: Seed of the first workload; recordings use small seeds, so that these are
            unseen.
        seeds: Number of workloads.
        floor: Policy that scores 0.
        reference: Policy that scores 100 in the mean.
    """

    name: str
    engine: str
    policies: Sequence[str]
    first_seed: int
    seeds: int
    floor: str
    reference: str

    def __post_init__(self) -> None:
        require(
            self.engine in ("simulator", "recorded"),
            f"suite.engine must be 'simulator' or 'recorded', got {self.engine!r}",
        )
        require(self.seeds >= 2, f"suite.seeds must be at least 2, got {self.seeds}")
        require(
            self.first_seed >= 1000,
            f"suite.first_seed must be 1000 or more, got {self.first_seed}: smaller seeds are "
            "those of recordings",
        )
        require(self.floor != self.reference, "suite.floor and suite.reference must differ")
