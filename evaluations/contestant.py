"""Contestant: who is judged, what it was made from, and where its artefact lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.policies.callable_policy import policy_of
from toolkit.policies.shipped import folders
from toolkit.store import Product, Store


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A policy as the record keeps it.

    Args:
        name: As it was asked for.
        learned: Whether it was trained.
        key: Changes whenever its decisions may.
        artefact: Id of a trained policy that lies in the store; "" for others.
        folder: Of its artefact; None where nothing was learnt, or it is not here any more.
        lineage: What the artefact says of its making.
    """

    name: str
    learned: bool
    key: Any
    artefact: str = ""
    folder: Path | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)


def contestant_of(name: str, store: Store) -> Contestant:
    """Return a policy that is to be played.

    Args:
        name: As for :func:`toolkit.policies.callable_policy.policy_of`.
        store: Where trained policies lie.
    """
    found = policy_of(name, store)
    product, shipped = found.product, folders().get(name.partition("~")[0])
    return Contestant(
        name=name,
        learned=found.learned,
        key=found.key,
        artefact="" if product is None else product.id,
        folder=shipped if product is None else product.path,
        lineage=_lineage(found.policy),
    )


def contestant_in(name: str, artefact: Product | None) -> Contestant:
    """Return a policy that a trace tells of; its name may be anybody's.

    Args:
        name: As the trace has it.
        artefact: What decided, where the trace says and it is here.
    """
    return Contestant(
        name=name,
        learned=artefact is not None or name.partition("~")[0] in folders(),
        key=name,
        artefact="" if artefact is None else artefact.id,
        folder=None if artefact is None else artefact.path,
        lineage={} if artefact is None else artefact.manifest["about"],
    )


def _lineage(policy: Any) -> Mapping[str, Any]:
    inner = getattr(policy, "of", policy)
    return dict(getattr(inner, "about", {}).get("lineage", {}))
