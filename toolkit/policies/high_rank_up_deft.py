"""HighRankUp-DEFT: the highest upward rank first, to the node where the task finishes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolkit.policies.deft import UPWARD_RANK, Deft


@dataclass(frozen=True, kw_only=True)
class HighRankUpDeft(Deft):
    """Selects the executable task of highest upward rank, whatever its job; DEFT allocates it.

    A baseline of Lachesis (doi:10.1109/MDM55031.2022.00040); ranks as HEFT has them, ties to the
    lowest task.
    """

    RULE: ClassVar[int] = UPWARD_RANK
    NAME: ClassVar[str] = "high_rank_up_deft"
