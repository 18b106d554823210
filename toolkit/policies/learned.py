"""A trained network as a policy; its artefact is safetensors and JSON, never code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from toolkit.decision import Decision
from toolkit.errors import ConfigError, CorruptError, SchemaError, require, unknown
from toolkit.features.observe import FEATURISER, features_of
from toolkit.learning.alone import Alone
from toolkit.learning.networks import CandidateScorer, Ensemble, Shape
from toolkit.policies.policy import certain
from toolkit.policies.shipped import folders
from toolkit.store import Store, write_text
from toolkit.workload import Floats, Vector, Workload

SCHEMA = 2
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

    _alone: Alone = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_alone", Alone(self.scorer))

    def reset(self, workload: Workload) -> None:
        """Check that the workload speaks the language that the policy was taught.

        Raises:
            SchemaError: Naming the features that differ.
        """
        globals_, candidates = features_of(workload)
        self.check({"globals": globals_, "candidates": candidates, "featuriser": FEATURISER})

    def check(self, described: Mapping[str, Any]) -> None:
        """Check that decisions speak the language that the policy was taught.

        Args:
            described: ``globals`` and ``candidates``, pairs of name and unit, and the version
                ``featuriser``.

        Raises:
            SchemaError: Naming the features that differ.
        """
        told, now = (
            [tuple(f) for f in (*about["globals"], *about["candidates"])]
            for about in (self.about, described)
        )
        if self.about["featuriser"] != described["featuriser"] or told != now:
            gone = [n for n, _ in told if (n not in {m for m, _ in now})][:3]
            new = [n for n, _ in now if (n not in {m for m, _ in told})][:3]
            raise SchemaError(
                f"policy {self.name!r} was trained on {len(told)} features of version "
                f"{self.about['featuriser']}, this scenario has {len(now)} of version "
                f"{described['featuriser']}"
                + (f"; only there: {gone}" if gone else "")
                + (f"; only here: {new}" if new else ""),
                hint="train on a dataset of this scenario: toolkit train +algo=cql",
            )

    def scores(self, decision: Decision) -> Vector:
        """Return the network's score of each slot, shape [K]."""
        return self._alone.scores(decision.globals, decision.candidates, decision.mask)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the best slot, ties to the first; shape [K]."""
        return certain(self.act(decision), len(decision.mask))

    def act(self, shown: Decision | Mapping[str, Any]) -> int:
        """Return the best slot, ties to the first.

        Args:
            shown: A decision, or an observation of an environment: ``globals`` [G],
                ``candidates`` [K, F] and ``mask`` [K].
        """
        if isinstance(shown, Decision):
            return int(self.scores(shown).argmax())
        mask = np.asarray(shown["mask"]) > 0
        return int(self._alone.scores(shown["globals"], shown["candidates"], mask).argmax())


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
        "temperature": scorer.temperature,
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
        temperature = float(about["temperature"])
        scorer = Ensemble([CandidateScorer(shape) for _ in range(members)], temperature)
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


def found(where: str | Path) -> Learned:
    """Return the policy in a folder, or the stored or shipped one of an id.

    Raises:
        NotFoundError: When there is none; names those that exist.
        CorruptError: When it is damaged.
    """
    folder = Path(where)
    if (folder / "policy.json").is_file():
        return load(folder, folder.name)
    store, name = Store(), str(where)
    made, shipped = [p.id for p in store.list("policies")], folders()
    if name in made:
        return load(store.get("policies", name).path, name)
    if name in shipped:
        return load(shipped[name], name)
    raise unknown("trained policy", name, [*made, *shipped])
