"""A trained network as a policy; its artefact is safetensors and JSON, never code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from toolkit.decision import Decision
from toolkit.errors import ConfigError, CorruptError, SchemaError, require
from toolkit.features.observe import FEATURISER, features_of
from toolkit.learning.networks import CandidateScorer, Ensemble, Shape
from toolkit.policies.policy import certain
from toolkit.store import write_text
from toolkit.workload import Floats, Workload

SCHEMA = 1
_AGAIN = "train it again: toolkit train +algo=<name> force=true"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Chooses the allowed slot that the network scores highest.

    Args:
        name: Name of the policy.
        scorer: The network, in evaluation mode.
        about: Schema, features, family and lineage.
    """

    name: str
    scorer: Ensemble
    about: Mapping[str, Any]

    def reset(self, workload: Workload) -> None:
        """Check that the workload speaks the language that the policy was taught.

        Raises:
            SchemaError: Naming the features that differ.
        """
        told = [tuple(f) for f in self.about["globals"]] + [
            tuple(f) for f in self.about["candidates"]
        ]
        globals_, candidates = features_of(workload)
        now = globals_ + candidates
        if self.about["featuriser"] != FEATURISER or told != now:
            gone = [n for n, _ in told if (n not in {m for m, _ in now})][:3]
            new = [n for n, _ in now if (n not in {m for m, _ in told})][:3]
            raise SchemaError(
                f"policy {self.name!r} was trained on {len(told)} features of version "
                f"{self.about['featuriser']}, this scenario has {len(now)} of version "
                f"{FEATURISER}"
                + (f"; only there: {gone}" if gone else "")
                + (f"; only here: {new}" if new else ""),
                hint="train on a dataset of this scenario: toolkit train +algo=cql",
            )

    def scores(self, decision: Decision) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the network's score of each slot, shape [K]."""
        flat = np.concatenate(
            [decision.globals, decision.candidates.reshape(-1), decision.mask.astype(np.float32)]
        )
        with torch.inference_mode():
            scores, _ = self.scorer(torch.from_numpy(flat).unsqueeze(0))
        return np.asarray(scores[0].numpy())

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the best slot, ties to the first; shape [K]."""
        return certain(int(np.argmax(self.scores(decision))), len(decision.mask))


def save(scorer: Ensemble, about: Mapping[str, Any], folder: Path) -> None:
    """Write ``policy.safetensors`` and then ``policy.json``.

    Args:
        scorer: The network.
        about: The dataset's description of its features, and the lineage; JSON-able.
        folder: Where; must exist.
    """
    tensors = {k: v.detach().contiguous().cpu() for k, v in scorer.state_dict().items()}
    aside = folder / ".policy.safetensors.tmp"
    save_file(tensors, aside)
    aside.replace(folder / "policy.safetensors")
    document = {
        **about,
        "policy_schema": SCHEMA,
        "shape": dataclasses.asdict(scorer.shape),
        "members": len(scorer.members),
    }
    write_text(folder / "policy.json", json.dumps(document, indent=1))


def load(folder: Path, name: str) -> Learned:
    """Read what :func:`save` wrote; nothing in it is executed.

    Raises:
        CorruptError: When a file is missing, damaged or of other sizes than declared.
        SchemaError: When it is of another version.
    """
    try:
        about = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        version = about["policy_schema"]
        if version != SCHEMA:
            raise SchemaError(
                f"policy {name!r} has schema version {version!r}; this release reads {SCHEMA}",
                hint=_AGAIN,
            )
        shape, members = Shape(**about["shape"]), int(about["members"])
        require(1 <= members <= 64, f"members must be 1 to 64, got {members}")
        scorer = Ensemble([CandidateScorer(shape) for _ in range(members)])
        scorer.load_state_dict(load_file(folder / "policy.safetensors"), strict=True)
        if not isinstance(about["globals"], list) or not isinstance(about["candidates"], list):
            raise TypeError("feature names are missing")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        SafetensorError,
        ConfigError,
    ) as error:
        raise CorruptError(f"the policy in {folder} cannot be read", hint=_AGAIN) from error
    scorer.eval()
    return Learned(name=name, scorer=scorer, about=about)
