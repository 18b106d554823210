"""What a command body returns: one document for scripts, one text for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """The result of a command; ``cli`` prints one of its two faces.

    Args:
        document: JSON-able mapping, printed whole by ``format=json``.
        text: What a person reads on a terminal.
        value: What a search over settings optimises, where there is something.
    """

    document: Mapping[str, Any]
    text: str
    value: float | None = None


def to_json(document: Any) -> str:
    """Serialise to strict JSON; NaN and infinities become ``null``."""
    return json.dumps(_plain(document), indent=2, sort_keys=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
