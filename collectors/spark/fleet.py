"""Fleet: the executors of one SparkContext, changed while it runs.

Order matters: the new target goes first and the kill after it. The other way round, the master
replaces the killed while the old target stands, and counts are off by some. What is there is read
from Spark's own store, profile included; nothing is guessed. These calls are public in the JVM
but no stable interface: they were tested with PySpark 4.3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectors.spark.session import Session
from toolkit.errors import EngineError

COLD, WARM_POOL = "cold", "warm_pool"
"""Regimes: executors of another shape are killed, so that each change is paid in full; or they
stay idle, holding memory but no task, and cost nothing when they are asked for again."""

_PERIOD = 0.03
_PATIENCE = 120.0

Shape = tuple[int, int]
"""Cores and MiB of an executor."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """An executor that is up.

    Args:
        id: Spark's.
        profile: Id of its resource profile.
        added: When it registered, s since 1970.
    """

    id: str
    profile: int
    added: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one change of the executors came to.

    Args:
        executors: Those that are to work, in the order of the slots.
        started: Of these, those that were started for it.
        killed: Ids of those that are gone.
        idle: Number of those of other shapes that are up.
        exact: Whether as many of the shape are up as were asked for, and in the cold regime
            nobody else.
        seconds: That it took.
    """

    executors: tuple[Live, ...]
    started: tuple[str, ...]
    killed: tuple[str, ...]
    idle: int
    exact: bool
    seconds: float


class Fleet:
    """Changes the executors of a session.

    Args:
        session: A Spark that runs.
        regime: ``COLD`` or ``WARM_POOL``.
        pool: Most executors that stay idle; the shape that was used longest ago goes first.
    """

    def __init__(self, session: Session, regime: str, pool: int) -> None:
        self.regime, self._pool = regime, pool
        self._session = session
        self._scala = session.context._jsc.sc()
        self._profiles: dict[Shape, Any] = {}
        self._order: list[Shape] = []

    def profile(self, shape: Shape) -> Any:
        """Return the ``ResourceProfile`` of a shape; there is one each."""
        from pyspark.resource import (
            ExecutorResourceRequests,
            ResourceProfileBuilder,
            TaskResourceRequests,
        )

        if shape not in self._profiles:
            cores, memory = shape
            builder = ResourceProfileBuilder()
            builder.require(ExecutorResourceRequests().cores(cores).memory(f"{memory}m"))
            builder.require(TaskResourceRequests().cpus(1))
            made = builder.build
            self._scala.resourceProfileManager().addResourceProfile(made._java_resource_profile)
            self._profiles[shape] = made
        return self._profiles[shape]

    def live(self) -> list[Live]:
        """Return the executors that are up, in the order in which they registered."""
        found = self._scala.statusStore().executorList(True)
        up = []
        for i in range(found.size()):
            one = found.apply(i)
            if one.id() != "driver":
                up.append(
                    Live(
                        id=one.id(),
                        profile=one.resourceProfileId(),
                        added=one.addTime().getTime() / 1000,
                    )
                )
        return sorted(up, key=lambda e: (e.added, int(e.id)))

    def change(
        self,
        shape: Shape,
        count: int,
        first: Sequence[str] = (),
        see: Callable[[Live], None] = lambda _: None,
    ) -> Change:
        """Bring the executors of a shape to a number, and wait until they are.

        Args:
            shape: Of those that are to work.
            count: How many.
            first: Those that stay before others do.
            see: Told of each executor that is to work as soon as it is up.

        Raises:
            EngineError: When the number is not reached in time.
        """
        begun = time.monotonic()
        wanted = self.profile(shape).id
        before = self.live()
        rank = {e: i for i, e in enumerate(first)}
        mine = sorted(
            (e for e in before if e.profile == wanted),
            key=lambda e: (rank.get(e.id, len(rank)), e.added),
        )
        stay, doomed = mine[:count], mine[count:]
        self._order = [s for s in self._order if s != shape] + [shape]
        idle = self._idle(before, shape)
        doomed += [e for e in before if e.profile != wanted and e not in idle]
        killed = tuple(e.id for e in doomed)
        seen = {e.id for e in stay}
        for e in stay:
            see(e)
        if len(stay) < count or doomed:
            targets = {self.profile(s).id: 0 for s in self._order}
            for e in idle:
                targets[e.profile] += 1
            self._aim({**targets, wanted: count})
        if doomed:
            self._kill(killed)
        end = begun + _PATIENCE
        while True:
            up = self.live()
            now = [e for e in up if e.profile == wanted]
            for e in now:
                if e.id not in seen and e.id not in killed:
                    seen.add(e.id)
                    see(e)
            gone = not any(e.id in killed for e in up)
            if len(now) == count and gone:
                break
            if time.monotonic() > end:
                raise EngineError(
                    f"{len(now)} of {count} executors of {shape[0]} cores and {shape[1]} MiB came "
                    f"up within {_PATIENCE:.0f} s",
                    hint="ask for fewer or smaller ones, or look into the workers' logs",
                )
            self._session.master.check()
            time.sleep(_PERIOD)
        kept = {e.id for e in stay}
        now.sort(key=lambda e: (rank.get(e.id, len(rank)), e.added, int(e.id)))
        others = [e for e in up if e.profile != wanted]
        return Change(
            executors=tuple(now),
            started=tuple(e.id for e in now if e.id not in kept),
            killed=killed,
            idle=len(others),
            exact=len(now) == count and len(others) == len(idle),
            seconds=time.monotonic() - begun,
        )

    def let_go(self) -> None:
        """Ask for no executor any more; those that are up stay until they end by themselves."""
        self._aim({self.profile(s).id: 0 for s in self._order})

    def clear(self) -> None:
        """Kill every executor and wait until none is up."""
        self.let_go()
        end = time.monotonic() + _PATIENCE
        while up := self.live():
            self._kill([e.id for e in up])
            if time.monotonic() > end:
                raise EngineError(f"{len(up)} executors could not be stopped")
            time.sleep(_PERIOD)

    def _idle(self, up: Sequence[Live], shape: Shape) -> list[Live]:
        """Return the executors of other shapes that may stay."""
        if self.regime == COLD:
            return []
        idle: list[Live] = []
        for other in reversed(self._order[:-1]):
            idle += [e for e in up if e.profile == self.profile(other).id]
        return idle[: self._pool]

    def _aim(self, targets: Mapping[int, int]) -> None:
        jvm = self._session.context._jvm
        nothing = jvm.PythonUtils.toScalaMap({})
        wanted = jvm.PythonUtils.toScalaMap(dict(targets))
        self._scala.schedulerBackend().requestTotalExecutors(wanted, nothing, nothing)

    def _kill(self, ids: Sequence[str]) -> None:
        names = self._session.context._jvm.PythonUtils.toSeq(list(ids))
        self._scala.schedulerBackend().killExecutors(names, False, False, True)
