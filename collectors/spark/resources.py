"""Resources: what an application asks for each executor and each task."""

from __future__ import annotations

import re
from collections.abc import Mapping

from collectors.spark import events

MIB = float(1 << 20)
MOST_PROFILES = 100_000
"""Resource profiles of one application that are kept."""
_SIZES = {"": MIB, "b": 1.0, "k": 2.0**10, "m": MIB, "g": 2.0**30, "t": 2.0**40, "p": 2.0**50}


def memory_of(text: str) -> float | None:
    """Return the bytes that a setting like ``4g`` means, without a unit MiB; None if unclear."""
    match = re.fullmatch(r"\s*(\d{1,12})\s*([bkmgtp]?)(?:i?b)?\s*", text.lower())
    return float(match[1]) * _SIZES[match[2]] if match else None


class Resources:
    """Keeps the resource profiles, and the properties that hold where there are none."""

    def __init__(self) -> None:
        self.properties: Mapping[str, str] = {}
        """Settings of the application by name."""
        self._profiles: dict[int, events.ResourceProfileAdded] = {}

    def profile_added(self, e: events.ResourceProfileAdded) -> None:
        """Take a profile."""
        if len(self._profiles) < MOST_PROFILES:
            self._profiles[e.profile] = e

    def of_executor(self, profile: int | None) -> dict[str, float | None]:
        """Return the ``memory`` of an executor and its kinds beside it, in bytes.

        Only what the log has a word on.
        """
        found = self._profiles.get(profile) if profile is not None else None
        if found is None:
            told = self.properties.get("spark.executor.memory")
            return {"memory": memory_of(told) if told else None}
        needs: dict[str, float | None] = {}
        for kind, request in found.executor.items():
            amount = request.amount
            if amount is None or not 0 <= amount < 1e12:
                continue
            if kind == "memory":
                needs["memory"] = amount * MIB
            elif kind in ("memoryOverhead", "offHeap", "pyspark.memory"):
                needs[f"{kind}_bytes"] = amount * MIB
        return needs

    def of_task(self, profile: int | None) -> dict[str, float | None]:
        """Return the ``cpus`` and ``gpus`` of a task; only what the log has a word on."""
        found = self._profiles.get(profile) if profile is not None else None
        needs: dict[str, float | None] = {}
        if found is not None:
            for kind, request in found.task.items():
                if request.amount is not None and 0 <= request.amount < 1e9:
                    if kind == "cpus":
                        needs["cpus"] = request.amount
                    elif kind == "gpu":
                        needs["gpus"] = request.amount
        elif "spark.task.cpus" in self.properties:
            told = self.properties["spark.task.cpus"].strip()
            needs["cpus"] = float(told) if re.fullmatch(r"\d{1,9}", told) else None
        return needs
