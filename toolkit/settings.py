"""Settings: values of a command line that must be of one kind; YAML takes ``no`` for a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.errors import require

if TYPE_CHECKING:
    from omegaconf import DictConfig


def flag(cfg: DictConfig, name: str) -> bool:
    """Return a setting that is true or false.

    Raises:
        ConfigError: When it is neither.
    """
    value = cfg[name]
    require(isinstance(value, bool), f"{name} must be true or false, got {value!r}")
    return bool(value)


def number(cfg: DictConfig, name: str) -> float | None:
    """Return a setting that is a number or null.

    Raises:
        ConfigError: When it is neither.
    """
    value = cfg[name]
    kind = isinstance(value, int | float) and not isinstance(value, bool)
    require(value is None or kind, f"{name} must be a number or null, got {value!r}")
    return None if value is None else float(value)
