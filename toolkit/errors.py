"""The exception tree: every message says what was wrong and what to type next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ToolkitError(Exception):
    """A mistake or a condition that a person can mend.

    Args:
        message: What was wrong and what was expected, as one sentence.
        hint: What to type next; printed on a line of its own.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigError(ToolkitError):
    """A value in the configuration or on the command line cannot be used."""


class NotFoundError(ToolkitError):
    """Something named by the user does not exist."""


class SchemaError(ToolkitError):
    """Data are whole but of another schema or version than this release reads."""


class CorruptError(ToolkitError):
    """A file is damaged, truncated or not what its name says."""


class EngineError(ToolkitError):
    """A real engine (Ray, a server) failed or could not be started."""

    exit_code = 3


class ResourceError(EngineError):
    """The machine lacks memory, disk or a free port for what was asked."""


def require(condition: bool, message: str, *, hint: str = "") -> None:
    """Raise :class:`ConfigError` unless ``condition`` holds.

    Raises:
        ConfigError: With ``message`` when the condition is false.
    """
    if not condition:
        raise ConfigError(message, hint=hint)


def unknown(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> NotFoundError:
    """Build the error for a name that does not exist, with the nearest names.

    Args:
        kind: What the name stands for, e.g. ``"policy"``.
        name: What the user wrote.
        known: The names that exist.
        hint: What to type next, when it is not evident from the choices.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    message = f"there is no {kind} {name[:80]!r}"
    if near:
        message += f"; did you mean {' or '.join(repr(n) for n in near)}?"
    elif choices:
        message += f"; choose from: {', '.join(choices[:20])}"
        message += ", …" if len(choices) > 20 else ""
    else:
        message += "; there is none yet"
    return NotFoundError(message, hint=hint)
