"""Recording: runs of an engine that an evaluation makes for itself where there are none yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.utils import instantiate

from toolkit.catalogue import Catalogue
from toolkit.envs.registration import settings_of
from toolkit.errors import require, unknown
from toolkit.policies.named import Named, named, roots
from toolkit.recording import record
from toolkit.store import Product, Store, fingerprint


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What is recorded, and by whom.

    Args:
        collector: A choice of ``conf/collector`` that records.
        plays: Name of the scenario, and overrides.
        collect: Settings of the collector that differ from its YAML.
        seed: Workload k has ``seed + k``.
    """

    collector: str
    plays: Sequence[str]
    collect: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        catalogue = Catalogue(roots())
        known = catalogue.groups.get("collector", [])
        if self.collector not in known:
            raise unknown("collector", self.collector, known)
        require(len(self.plays) > 0, "a recording must name a scenario")
        require(
            "behaviours" in catalogue.read(f"collector/{self.collector}"),
            f"{self.collector} only imports; take a collector that records, e.g. ray",
        )

    def made(self, store: Store) -> Product:
        """Return the trace; it is recorded where there is none of the same settings."""
        settings = settings_of(self.plays[0], self.plays[1:])
        told = Catalogue(roots()).read(f"collector/{self.collector}") | dict(self.collect)
        behaviours = [named(b, store) for b in told["behaviours"]]
        identity = fingerprint(told, settings, self.seed, [b.key for b in behaviours])
        name = f"{self.plays[0].replace('_', '-')}-{self.collector}-{identity}"
        with store.alone("traces", name):
            if store.exists("traces", name):
                return store.get("traces", name)
            return recorded(store, name, told, settings, behaviours, self.seed)


def recorded(
    store: Store,
    name: str,
    collector: Mapping[str, Any],
    scenario: Mapping[str, Any],
    behaviours: Sequence[Named],
    seed: int,
) -> Product:
    """Record a trace on an engine of this machine.

    Args:
        store: Where it comes to lie.
        name: Its id.
        collector: Settings of the collector.
        scenario: Those of the scenario.
        behaviours: Who decides, in turn.
        seed: Of the workloads.
    """
    # Where the YAML points to settings of the command, the engine is one of this machine.
    told = {
        k: None if isinstance(v, str) and v.startswith("${") else v for k, v in collector.items()
    }
    told |= {"store_memory": 256} if "store_memory" in told else {}
    return record(
        store,
        name,
        instantiate(told, _convert_="all"),
        instantiate(dict(scenario), _convert_="all"),
        behaviours,
        seed,
        fingerprint(told, name),
    )
