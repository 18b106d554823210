"""DatasetCard: what a dataset is, how it was made, and how good a policy may hope to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import CorruptError
from toolkit.store import write_text


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """The card of a transition dataset.

    Args:
        id: Name of the dataset.
        family: Decision family.
        scenario: What was scheduled.
        trace: Id and digest of the trace.
        calibration: Id of the calibration and its held-out errors.
        behaviour: Transitions per behaviour policy.
        episodes: Number of episodes.
        transitions: Number of decisions.
        splits: Runs of each split; a run is never divided.
        reward: Weights of the reward's components.
        discount_seconds: τ: a reward ``s`` seconds later counts exp(−s/τ).
        coverage: Share of allowed (agent, slot) pairs that were taken, least share of any
            agent's allowed slot, and the share of rows whose features equal those shown live.
        invalid: Share of rows that the mask forbids; they are kept out of training.
        returns: Mean return of each behaviour policy in the recording.
        reference: Mean return of reference policies in the calibrated replay.
        licence: Of the data.
        command: The command that makes it again.
    """

    id: str
    family: str
    scenario: str
    trace: Mapping[str, str]
    calibration: Mapping[str, Any]
    behaviour: Mapping[str, int]
    episodes: int
    transitions: int
    splits: Mapping[str, Sequence[int]]
    reward: Mapping[str, float]
    discount_seconds: float
    coverage: Mapping[str, float]
    invalid: float
    returns: Mapping[str, float]
    reference: Mapping[str, float]
    licence: str
    command: str

    def save(self, folder: Path) -> None:
        """Write ``card.yaml``."""
        text = yaml.safe_dump(dataclasses.asdict(self), sort_keys=False, allow_unicode=True)
        write_text(folder / "card.yaml", text)

    @staticmethod
    def load(folder: Path) -> DatasetCard:
        """Read what :meth:`save` wrote.

        Raises:
            CorruptError: When the card is missing or damaged.
        """
        try:
            return DatasetCard(**yaml.safe_load((folder / "card.yaml").read_text("utf-8")))
        except (OSError, TypeError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise CorruptError(
                f"{folder / 'card.yaml'} is missing or damaged",
                hint="make it again: toolkit build force=true",
            ) from error
