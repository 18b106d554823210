"""Earlier: a recording whose estimates policies are told again, so that none are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit import trace as traces
from toolkit.errors import require
from toolkit.store import Product, Store, fingerprint

_HINT = "see what is there: toolkit list what=traces; measure anew: collector.estimates=null"


def earlier(name: str, source: str, scenario: Mapping[str, Any]) -> Product:
    """Return a recording of the same scenario, with estimates.

    Args:
        name: Its id.
        source: What it must come from.
        scenario: What it must be of, as its recorder describes it.

    Raises:
        ConfigError: When it comes from elsewhere, or is of another scenario.
        NotFoundError: When there is none of this id.
    """
    product = Store().get("traces", name)
    told = traces.read_provenance(product.path)
    has = "without" if told["estimates"] is None else "with"
    require(
        told["source"] == source and has == "with",
        f"collector.estimates needs a recording from {source} with estimates; trace "
        f"{product.id!r} comes from {told['source']}, {has} estimates",
        hint=_HINT,
    )
    found = told["scenario"] or told["engine"]["scenario"]
    # A fingerprint takes a tuple for the list that JSON has made of it.
    other = [
        k
        for k in sorted({*found, *scenario})
        if fingerprint(found.get(k)) != fingerprint(scenario.get(k))
    ]
    require(
        not other,
        f"collector.estimates needs a recording of this very scenario, {scenario['name']!r}; "
        f"trace {product.id!r} is of {found['name']!r} and differs in {', '.join(other)}",
        hint=_HINT,
    )
    return product
