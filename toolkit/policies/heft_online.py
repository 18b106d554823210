"""HEFT over the jobs present, planned again before every choice of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolkit.policies.heft_merged import HeftMerged
from toolkit.policies.planned import INSTANT


@dataclass(frozen=True, kw_only=True)
class HeftOnline(HeftMerged):
    """HEFT of all jobs present as one graph, planned again at every epoch.

    As ``heft_merged``, but what has finished early or late changes the plan at once. A running
    task that has outlived its estimate is expected to finish now.
    """

    WHEN: ClassVar[int] = HeftMerged.WHEN | INSTANT

    @property
    def name(self) -> str:
        """``heft_online``."""
        return "heft_online"
