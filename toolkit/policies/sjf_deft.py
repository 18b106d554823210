"""SJF-DEFT: the shortest job first, each task to the node where it finishes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolkit.policies.deft import SHORTEST_JOB, Deft


@dataclass(frozen=True, kw_only=True)
class SjfDeft(Deft):
    """Selects an executable task of the job with least remaining work; DEFT allocates it.

    After a baseline of Lachesis (doi:10.1109/MDM55031.2022.00040); by estimated work that is
    left, within a job by upward rank, ties to the lowest task.
    """

    RULE: ClassVar[int] = SHORTEST_JOB
    NAME: ClassVar[str] = "sjf_deft"
