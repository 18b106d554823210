"""A trained network as a policy; its artefact is safetensors and JSON, never code."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from toolkit.decision import Decision
from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError, unknown
from toolkit.features.observe import FEATURISER, features_of, sizes_of
from toolkit.networks.alone import Alone
from toolkit.networks.networks import Ensemble, Network
from toolkit.policies.policy import Policy, certain
from toolkit.policies.shipped import folders
from toolkit.store import Store, write_text
from toolkit.workload import Floats, Vector, Workload

SCHEMA = 3
_READS = (2, SCHEMA)
_AGAIN = "train it again: toolkit train +algo=<name> force=true"

KINDS: Mapping[str, tuple[str, str]] = {
    "scorer": ("toolkit.networks.networks:Ensemble", "toolkit.policies.learned:Learned"),
    "transformer": (
        "toolkit.learning.transformer:Transformer",
        "toolkit.policies.transformer:Conditioned",
    ),
    "graph": (
        "toolkit.networks.graph_network:GraphScorer",
        "toolkit.policies.graph_deft:GraphDeft",
    ),
    "agents": ("toolkit.networks.agents:Agents", "toolkit.policies.agents:Together"),
}
"""What an artefact may hold: its network, and the policy that acts by it."""


@runtime_checkable
class Taught(Policy, Protocol):
    """A policy that acts by a network.

    Attributes:
        network: The network.
        about: Schema, features, family and lineage.
    """

    network: Any
    about: Mapping[str, Any]

    def check(self, described: Mapping[str, Any]) -> None:
        """Raise SchemaError where decisions speak another language than it was taught."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Chooses the allowed slot that the network scores highest.

    Args:
        name: Name of the policy.
        network: Scores the slots; in evaluation mode.
        about: Schema, features, family and lineage.
    """

    name: str
    network: Ensemble
    about: Mapping[str, Any]

    _alone: Alone = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_alone", Alone(self.network))

    def reset(self, workload: Workload) -> None:
        """Check that the workload speaks the language that the policy was taught.

        Raises:
            SchemaError: Naming what differs.
        """
        check_workload(self.name, self.about, workload)
        slots, known = sizes_of(workload)[1], self.network.shape.slots
        if known not in (0, slots):
            raise SchemaError(
                f"policy {self.name!r} is a fully connected network for {known} slots, "
                f"this scenario has {slots}",
                hint="train one that takes any number: toolkit train +algo=<name> "
                "network=candidates",
            )

    def check(self, described: Mapping[str, Any]) -> None:
        """Check that decisions speak the language that the policy was taught."""
        check(self.name, self.about, described)

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


def check_workload(name: str, about: Mapping[str, Any], workload: Workload) -> None:
    """Check that a workload speaks the language that a policy was taught.

    Raises:
        SchemaError: Naming the features that differ.
    """
    globals_, candidates = features_of(workload)
    described = {"globals": globals_, "candidates": candidates, "featuriser": FEATURISER}
    check(name, about, described)


def check(name: str, about: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Check that decisions speak the language that a policy was taught.

    Args:
        name: Of the policy.
        about: What its artefact says.
        described: ``globals`` and ``candidates``, pairs of name and unit, and the version
            ``featuriser``.

    Raises:
        SchemaError: Naming the features that differ.
    """
    told, now = (
        [tuple(f) for f in (*each["globals"], *each["candidates"])] for each in (about, described)
    )
    if about["featuriser"] != described["featuriser"] or told != now:
        gone = [n for n, _ in told if (n not in {m for m, _ in now})][:3]
        new = [n for n, _ in now if (n not in {m for m, _ in told})][:3]
        raise SchemaError(
            f"policy {name!r} was trained on {len(told)} features of version "
            f"{about['featuriser']}, this scenario has {len(now)} of version "
            f"{described['featuriser']}"
            + (f"; only there: {gone}" if gone else "")
            + (f"; only here: {new}" if new else ""),
            hint="train on a dataset of this scenario: toolkit train +algo=cql",
        )


def policy_of(network: Network, name: str, about: Mapping[str, Any]) -> Taught:
    """Return the policy that acts by a network.

    Args:
        network: In evaluation mode.
        name: Of the policy.
        about: Features, family and lineage.
    """
    found: Taught = _class(KINDS[network.kind][1])(name=name, network=network, about=about)
    return found


def save(network: Network, about: Mapping[str, Any], folder: Path) -> None:
    """Write ``policy.safetensors`` and then ``policy.json``.

    Args:
        network: What was learnt.
        about: The description of its features, and the lineage; JSON-able.
        folder: Where; must exist.
    """
    tensors = {k: v.detach().contiguous().cpu() for k, v in network.state_dict().items()}
    aside = folder / ".policy.safetensors.tmp"
    save_file(tensors, aside)
    aside.replace(folder / "policy.safetensors")
    document = {
        **about,
        "policy_schema": SCHEMA,
        "kind": network.kind,
        "sizes": network.sizes(),
    }
    write_text(folder / "policy.json", json.dumps(document, indent=1))


def load(folder: Path, name: str) -> Taught:
    """Read what :func:`save` wrote; nothing in it is executed.

    Raises:
        CorruptError: When a file is missing, damaged or of other sizes than declared.
        SchemaError: When it is of another version.
    """
    try:
        about = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        version = about["policy_schema"]
        if version not in _READS:
            raise SchemaError(
                f"policy {name!r} has schema version {version!r}; this release reads {SCHEMA}",
                hint=_AGAIN,
            )
        # Version 2 knew scorers only, whose sizes lay beside all else.
        kind, sizes = about.get("kind", "scorer"), about.get("sizes", about)
        network: Network = _class(KINDS[kind][0]).of(sizes)
        network.load_state_dict(load_file(folder / "policy.safetensors"), strict=True)
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
        NotFoundError,
    ) as error:
        raise CorruptError(f"the policy in {folder} cannot be read", hint=_AGAIN) from error
    return policy_of(network.eval(), name, about)


def _class(where: str) -> Any:
    """Return a class of the table of kinds, imported when it is needed."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def found(where: str | Path) -> Taught:
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
