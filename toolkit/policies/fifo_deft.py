"""FIFO-DEFT: the earliest-arrived job first, each task to the node where it finishes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolkit.policies.deft import FIFO, Deft


@dataclass(frozen=True, kw_only=True)
class FifoDeft(Deft):
    """Selects an executable task of the earliest-arrived job; DEFT allocates it.

    A baseline of Lachesis (doi:10.1109/MDM55031.2022.00040). Ties go to the lowest task.
    """

    RULE: ClassVar[int] = FIFO
    NAME: ClassVar[str] = "fifo_deft"
