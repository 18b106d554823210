"""Sizes: what all suites and experiments of several sizes ask and say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.errors import require, unknown


def require_size(size: str, sizes: Mapping[str, Any], first_seed: int, of: str = "suite") -> None:
    """Refuse a size that there is not, and workloads that trainings have met.

    Args:
        size: Which is asked for.
        sizes: Those that there are.
        first_seed: Seed of the first unseen workload.
        of: What the words of the command line begin with.

    Raises:
        NotFoundError: With the sizes that exist.
        ConfigError: When the first seed is one of a training's.
    """
    if size not in sizes:
        raise unknown("size", size, sizes, hint=f"e.g. {of}.size=quick")
    require(
        first_seed >= 10_000,
        f"{of}.first_seed must be 10000 or more: smaller ones are for training, got {first_seed}",
    )


def command_of(words: str, size: str, of: str = "suite") -> str:
    """Return what to type to get all of a size again.

    Args:
        words: What is typed for the full size, that every YAML names.
        size: Which of them.
        of: What the words of the command line begin with.
    """
    return words if size == "full" else f"{words} {of}.size={size}"
