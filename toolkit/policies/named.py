"""Policies by name: a YAML of ``conf/policy``, a trained artefact, or a mix ``name~0.3``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from toolkit.catalogue import Catalogue
from toolkit.errors import ConfigError, unknown
from toolkit.policies.mixture import Mixture
from toolkit.policies.policy import Policy
from toolkit.policies.shipped import digest, folders
from toolkit.store import Product, Store


@dataclass(frozen=True, kw_only=True)
class Named:
    """A policy with what identifies it.

    Args:
        policy: The policy.
        learned: Whether it was trained.
        key: Changes whenever the policy's behaviour may: its YAML or its artefact's digest.
        product: The artefact, for a trained one.
    """

    policy: Policy
    learned: bool
    key: Any
    product: Product | None = None


def named(name: str, store: Store) -> Named:
    """Return the policy of this name.

    Args:
        name: A choice of ``conf/policy``; the name of a trained policy that is shipped; the id of
            one that was trained here, or the name of an algorithm for the newest policy that it
            trained; each with ``~epsilon`` for an ε-mix.
        store: Where trained policies lie.

    Raises:
        NotFoundError: With the names that exist.
    """
    if "~" in name:
        inner, _, share = name.partition("~")
        try:
            epsilon = float(share)
        except ValueError as error:
            raise ConfigError(f"{name!r}: after '~' comes a number, as in 'static~0.3'") from error
        base = named(inner, store)
        return Named(
            policy=Mixture(of=base.policy, epsilon=epsilon),
            learned=base.learned,
            key=[base.key, epsilon],
            product=base.product,
        )
    catalogue = Catalogue(roots())
    heuristics = catalogue.groups.get("policy", [])
    if name in heuristics:
        values = catalogue.read(f"policy/{name}")
        return Named(policy=instantiate(values), learned=False, key=values)
    if name in (shipped := folders()):
        from toolkit.policies.learned import load

        folder = shipped[name]
        return Named(policy=load(folder, name), learned=True, key=digest(folder))
    trained = store.list("policies")
    matching = [p for p in trained if p.id == name or p.manifest["about"].get("algo") == name]
    if not matching:
        known = {*heuristics, *shipped, *(p.id for p in trained)}
        known |= {str(p.manifest["about"].get("algo")) for p in trained}
        raise unknown(
            "policy", name, known, hint="train one: toolkit train +algo=cql; list: toolkit list"
        )
    from toolkit.policies.learned import load

    newest = store.get("policies", matching[-1].id)
    return Named(policy=load(newest.path, name), learned=True, key=newest.digest, product=newest)


def roots() -> list[Path]:
    """Return the configuration folders of this command line, a user's own ones included."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    return [Path(s.path) for s in sources if s.schema == "file" and s.path]
