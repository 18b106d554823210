"""Schedules: episodes as the page's script reads them, to draw two beside each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from leaderboard.evidence import Episode, Evidence, pictured
from leaderboard.row import Group, brief

_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def schedules(group: Group, evidence: Evidence) -> list[dict[str, Any]]:
    """Return the episodes of a group in the order of its rows."""
    rows = [r for r in pictured(group) if r.run_id in evidence.episodes]
    return [
        {"policy": brief(r.policy, 36), "learned": r.learned, **_told(evidence.episodes[r.run_id])}
        for r in rows
    ]


def _told(episode: Episode) -> Mapping[str, Any]:
    return {
        "workload": f"{brief(episode.task, 60)}, seed {episode.seed}".lstrip(", "),
        "unit": brief(episode.unit, 8),
        "places": [brief(p, 40) for p in episode.places],
        "types": [brief(t, 40) for t in episode.types],
        "jobs": episode.jobs,
        "bars": episode.bars,
        "left_out": episode.left_out,
        "choices": None
        if episode.choices is None
        else asdict(episode.choices) | {"name": brief(episode.choices.name, 40)},
    }


def inline(value: Any) -> str:
    """Return strict JSON that may stand inside an element of a page, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)
