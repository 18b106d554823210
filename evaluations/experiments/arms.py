"""Arm: an algorithm as an experiment trains it, and what became of its trainings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluations.cells import REPLAY
from evaluations.experiments.offline_to_online import merged
from toolkit.catalogue import Catalogue
from toolkit.envs.registration import settings_of
from toolkit.errors import CorruptError, require, unknown
from toolkit.learning.train import several
from toolkit.learning.watch import WATCHED
from toolkit.policies.named import roots
from toolkit.statistics import Floats
from toolkit.store import Product, Store

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Arm:
    """An algorithm as an experiment trains it.

    Args:
        algo: A choice of ``conf/algo``.
        settings: Those that differ from its YAML.
        plays: Name of the scenario that is played, and overrides, or ``REPLAY`` and the id of a
            calibration; where it learns from a dataset, what it is watched on.
        dataset: What is learnt from; "" where it plays.
        init: Policy that is gone on from, or another arm, whose training of the same seed is; ""
            for none.
        drift: What is played before, see ``curriculum`` of ``toolkit train``.
        discount_seconds: τ; None leaves it to the dataset or the scenario.
    """

    algo: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    plays: Sequence[str] = ()
    dataset: str = ""
    init: str = ""
    drift: Sequence[Mapping[str, Any]] = ()
    discount_seconds: float | None = None

    def __post_init__(self) -> None:
        known = Catalogue(roots()).groups.get("algo", [])
        if self.algo not in known:
            raise unknown("algorithm", self.algo, known)
        require(
            bool(self.plays) or bool(self.dataset),
            f"an arm of {self.algo} must play a scenario or learn from a dataset",
        )

    def words(self, seed: int, watch: int, init: str, cfg: DictConfig) -> DictConfig:
        """Return the words of ``toolkit train``.

        Args:
            seed: Of the training.
            watch: Training workloads that are played at every point of its curve.
            init: Id of the policy that is gone on from; "" for none.
            cfg: Of the command that asks; tells executor, workers and whether to train again.
        """
        from omegaconf import OmegaConf

        usual = {k: v for k, v in Catalogue(roots()).read("train").items() if k != "defaults"}
        told = {k: cfg[k] for k in ("executor", "workers", "ray", "force") if k in cfg}
        scenario, played, trace = None, list[str](), "latest"
        plays, watched = list(self.plays), None
        if self.dataset:
            plays, watched = [], (plays or None) if watch else None
        if plays and plays[0] == REPLAY:
            trace = Store().get("calibrations", plays[1]).manifest["inputs"]["trace"]
        elif plays:
            scenario = settings_of(plays[0], plays[1:])
            played = [f"scenario={plays[0]}", *plays[1:]]
        return OmegaConf.create(
            {
                **usual,
                **told,
                "algo": merged(Catalogue(roots()).read(f"algo/{self.algo}"), self.settings),
                "dataset": self.dataset or "latest",
                "scenario": scenario,
                "trace": trace,
                "words": played,
                "curriculum": [dict(d) for d in self.drift],
                "discount_seconds": self.discount_seconds,
                "init": init or None,
                "seed": seed,
                "watch": watch,
                "watch_on": watched,
            }
        )


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What a training gave that was watched.

    Args:
        policy: Its id in the store.
        decisions: Taken until each point of the curve, shape [n]; gradient steps where it learns
            from a dataset.
        returns: Mean return of the policy on the same training workloads at each, shape [n].
        worth: What the states of the probes are thought to be worth at each, in the unit of
            returns, shape [n, S]; None where no values are learnt.
        probes: What these states were worth to draws among the allowed slots, shape [S].
        seconds: That it took.
    """

    policy: str
    decisions: Floats
    returns: Floats
    worth: Floats | None
    probes: Floats
    seconds: float

    @property
    def values(self) -> Floats:
        """What states are thought to be worth in the end, shape [S]; NaN where nothing is."""
        found: Floats = np.full(len(self.probes), np.nan) if self.worth is None else self.worth[-1]
        return found


def followed(product: Product) -> Followed:
    """Return what was seen of a training that was watched.

    Raises:
        CorruptError: When nothing was written, or it is damaged.
    """
    try:
        told = json.loads((product.path / WATCHED).read_text(encoding="utf-8"))
        points = told["points"]
        worth = [p["worth"] for p in points]
        return Followed(
            policy=product.id,
            decisions=np.array([p["decisions"] for p in points], dtype=np.float64),
            returns=np.array([p["played"] for p in points], dtype=np.float64),
            worth=None if None in worth else np.array(worth, dtype=np.float64),
            probes=np.array(told["returns"], dtype=np.float64),
            seconds=float(product.manifest["about"]["seconds"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"what was seen of the training of {product.id} cannot be read",
            hint="train it again: force=true",
        ) from error


def trained(
    arms: Mapping[str, Arm], seeds: Mapping[str, Sequence[int]], watch: int, cfg: DictConfig
) -> dict[str, list[Product]]:
    """Return the policies of arms, one for each seed; what was trained already is not again.

    Args:
        arms: By name; those that others go on from may stand anywhere.
        seeds: Of the trainings of each.
        watch: See :meth:`Arm.words`.
        cfg: See there.

    Raises:
        ConfigError: When arms go on from one another in a circle.
    """
    found: dict[str, list[Product]] = {}
    left = dict(arms)
    while left:
        ready = [n for n, a in left.items() if a.init not in arms or a.init in found]
        require(len(ready) > 0, f"arms go on from one another in a circle: {', '.join(left)}")
        words = []
        for name in ready:
            arm = left.pop(name)
            before = {int(p.manifest["about"]["seed"]): p.id for p in found.get(arm.init, [])}
            words += [arm.words(s, watch, before.get(s, arm.init), cfg) for s in seeds[name]]
        made = several(words, cfg)
        for name in ready:
            found[name] = [made.pop(0) for _ in seeds[name]]
    return {name: found[name] for name in arms}
