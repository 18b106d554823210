"""Decisions: the steps of a recorded episode as rows of a trace."""

from __future__ import annotations

from typing import Any

from toolkit.live import Episode


def decision_rows(run: int, episode: Episode, policy: str) -> list[dict[str, Any]]:
    """Return the decisions of an episode, each with its propensity, as rows of ``decisions``."""
    return [
        {
            "run": run,
            "decision": number,
            "epoch": step.epoch,
            "agent": step.decision.agent,
            "at": step.decision.time,
            "action": step.action,
            "key": int(step.decision.keys[step.action]),
            "slots": len(step.decision.keys),
            "propensity": step.propensity,
            "policy": policy,
            "digest": step.decision.digest(),
            "inferred": False,
            "invalid": False,
        }
        for number, step in enumerate(episode.steps)
    ]
