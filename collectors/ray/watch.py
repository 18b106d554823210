"""Watch: a user's own Ray program, recorded as a trace.

    from collectors.ray import watch

    with watch("my-trace") as w:
        parts = [w.submit(load, i) for i in range(4)]
        print(ray.get(w.submit(merge, *parts)))

Ray itself records when tasks run and what they ask for; what it does not record - which results
a task takes, what it truly used, and what a policy was shown and chose - is noted by ``submit``
and by a probe in the workers. At the end of the block all of it becomes a trace in the store.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from collectors.ray.loopback import be_quiet, folder, on_loopback
from collectors.ray.noted import VERSION, Begun, Decided, Note, Submitted, line
from collectors.ray.probe import probed, size_of
from collectors.ray.reaper import guarded
from toolkit.errors import ConfigError, EngineError, ToolkitError, require
from toolkit.progress import say
from toolkit.store import Product, Store

if TYPE_CHECKING:
    from types import ModuleType

_EXPORT = {"RAY_enable_export_api_write": "1", "RAY_task_events_report_interval_ms": "250"}
_AGGREGATOR = ("RAY_enable_ray_event", "RAY_enable_core_worker_ray_event_to_aggregator")
_SOON, _FLUSHED = 1.0, 2.5
"""Seconds after which Ray has written what its processes know: at the interval above, and at its
own of a second."""
_PUT = 100_000_000
"""Index above which an object was put by a program rather than returned by a task."""
_INDEX = 4


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a policy chose for a task.

    Args:
        action: Which of its slots.
        slots: How many it chose among.
        options: Ray options that the action stands for, e.g. ``num_cpus``.
        propensity: The probability with which it chose so; None where it does not say.
    """

    action: int
    slots: int
    options: Mapping[str, Any] = field(default_factory=dict)
    propensity: float | None = None

    def __post_init__(self) -> None:
        require(0 <= self.action < self.slots, f"action {self.action} of {self.slots} slots")
        require(
            self.propensity is None or 0 < self.propensity <= 1,
            f"a propensity lies in (0, 1], got {self.propensity}",
        )


Decide = Callable[[Mapping[str, Any]], Choice]
"""A policy: given what is observed, how a task is run."""


class Watched:
    """A program while it is watched; see :func:`watch`."""

    def __init__(self, trace: str, decide: Decide | None, policy: str) -> None:
        self.product: Product | None = None
        """The trace, after the block."""
        self.session: Path | None = None
        """Folder of Ray's session, once Ray runs."""
        self._trace, self._decide, self._policy = trace, decide, policy
        self._notes: IO[bytes] | None = None
        self._decisions = 0
        self._probed: dict[tuple[int, int], tuple[Any, Any]] = {}

    def submit(self, function: Any, *args: Any, **options: Any) -> Any:
        """Hand a task to Ray and note what it takes.

        With a policy, this waits until the results among the arguments are there, so that the
        policy sees the load at the time when the task can run.

        Args:
            function: A remote function; or a method of an actor, which runs where its actor is,
                so that there is nothing to choose, and which is not probed.
            args: Its arguments.
            options: Of Ray, e.g. ``num_cpus``; those that the policy chooses win.

        Returns:
            What ``function.remote(...)`` returns.
        """
        import ray

        if self.session is None:
            self.find()
        taken = [a for a in args if isinstance(a, ray.ObjectRef)]
        decision = None
        if self._decide is not None and _is_function(function):
            if taken:
                ray.wait(taken, num_returns=len(taken), fetch_local=False)
            decision, chosen = self._ask(function, args, options)
            options = {**options, **chosen}
        remote = self._remote(function, options)
        result = (remote.options(**options) if options else remote).remote(*args)
        task = _task_of(result)
        if task is not None:
            takes = [t.hex() for t in taken]
            takes = [t for t in takes if _number(t) < _PUT]
            self._note(Submitted(task=task, takes=takes, decision=decision))
        return result

    def _remote(self, function: Any, options: Mapping[str, Any]) -> Any:
        """Return a remote function with the probe in it; each is wrapped once."""
        import ray

        if not _is_function(function):
            return function
        settings = dict(function._default_options)
        returns = options.get("num_returns", settings.get("num_returns", 1))
        count = returns if isinstance(returns, int) else 1
        key = (id(function), count)
        if key not in self._probed:
            wrapped = probed(function._function, count)
            remote = ray.remote(**settings)(wrapped) if settings else ray.remote(wrapped)
            self._probed[key] = (function, remote)
        return self._probed[key][1]

    def _ask(
        self, function: Any, args: Sequence[Any], options: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, Any]]:
        import ray

        assert self._decide is not None
        free, whole = ray.available_resources(), ray.cluster_resources()
        values = [size_of(a) for a in args if not isinstance(a, ray.ObjectRef)]
        observation = {
            "function": _name_of(function),
            "arguments": len(args),
            "bytes": sum(v for v in values if v is not None),
            "options": {k: v for k, v in options.items() if isinstance(v, (int, float, str))},
            **{f"free_{r.lower()}": free.get(r, 0.0) for r in ("CPU", "memory", "GPU")},
            **{f"all_{r.lower()}": whole.get(r, 0.0) for r in ("CPU", "memory", "GPU")},
        }
        digest = hashlib.blake2b(
            msgspec.json.encode(observation, order="deterministic"), digest_size=8
        ).hexdigest()
        at = time.time()
        choice = self._decide(observation)
        number = self._decisions
        self._decisions += 1
        self._note(
            Decided(
                decision=number,
                agent=str(observation["function"]),
                at=at,
                action=choice.action,
                slots=choice.slots,
                propensity=choice.propensity,
                policy=self._policy,
                digest=digest,
            )
        )
        return number, choice.options

    def _note(self, note: Note) -> None:
        if self._notes is None:
            place = self.find() / "logs" / "export_events"
            place.mkdir(parents=True, exist_ok=True)
            file = place / f"toolkit_notes_{os.getpid()}.jsonl"
            # Unbuffered: what was noted is there when the program crashes.
            self._notes = file.open("ab", buffering=0)
            self._notes.write(line(Begun(version=VERSION, trace=self._trace, policy=self._policy)))
        self._notes.write(line(note))

    def find(self) -> Path:
        """Return the folder of Ray's session.

        Raises:
            EngineError: When Ray does not run, or does not record.
        """
        import ray

        if not ray.is_initialized():
            ray.init()
        self.session = Path(folder())
        _check_records(self.session)
        return self.session

    def close(self) -> None:
        """Close the notes."""
        if self._notes is not None:
            self._notes.close()


def _is_function(function: Any) -> bool:
    return hasattr(function, "_function") and hasattr(function, "_default_options")


def _task_of(result: Any) -> str | None:
    """Return the id of the task that makes a result, or several, in hex."""
    first = result[0] if isinstance(result, list) and result else result
    first = getattr(first, "_generator_ref", first)
    return str(first.task_id().hex()) if hasattr(first, "task_id") else None


def _number(result: str) -> int:
    return int.from_bytes(bytes.fromhex(result)[-_INDEX:], "little")


def _name_of(function: Any) -> str:
    return str(function._function.__qualname__)[:200]


def _check_records(session: Path) -> None:
    nodes = session / "logs" / "export_events" / "event_EXPORT_NODE.log"
    # The head writes of a node as soon as it is there.
    for _ in range(20):
        if nodes.is_file() and nodes.stat().st_size > 0:
            return
        time.sleep(0.1)
    raise EngineError(
        "this Ray does not record its events, so that there is nothing to watch",
        hint="enter watch(...) before Ray is started, or start the cluster with the environment "
        "variable RAY_enable_export_api_write=1",
    )


@contextmanager
def watch(
    trace: str,
    *,
    decide: Decide | None = None,
    policy: str = "own",
    min_complete: float = 0.99,
    force: bool = False,
) -> Iterator[Watched]:
    """Record the Ray program of the block as a trace of this name.

    A Ray that the block starts runs on loopback and is stopped at its end; one that it joins must
    record its events, and is left running. When the program fails, what Ray recorded is made a
    trace all the same; whatever happens, the files remain and can be imported again.

    Args:
        trace: Id of the trace.
        decide: A policy that chooses the options of every task that ``submit`` is given.
        policy: Name of that policy.
        min_complete: Least share of complete rows.
        force: Make the trace again where there is one.

    Raises:
        ConfigError: When the trace exists, or Ray's events are sent elsewhere.
        EngineError: When Ray runs already and does not record.
    """
    import ray

    store = Store()
    if store.exists("traces", trace) and not force:
        raise ConfigError(
            f"trace {trace!r} exists",
            hint="choose another name, or make it again: watch(..., force=True)",
        )
    for name in _AGGREGATOR:
        require(
            os.environ.get(name, "0").lower() not in ("1", "true"),
            f"{name} is set: Ray sends its events to the aggregator and leaves its files empty",
            hint=f"unset {name}",
        )
    watched = Watched(trace, decide, policy if decide is not None else "")
    joined = ray.is_initialized()
    if joined:
        watched.find()
    failed = True
    try:
        with _recording(ray, watched):
            try:
                yield watched
                failed = False
            finally:
                if ray.is_initialized():
                    watched.find()
                    if joined:
                        time.sleep(_FLUSHED)
                    else:
                        ray.shutdown()
                watched.close()
    finally:
        _make(watched, trace, min_complete, store, failed)


def _make(watched: Watched, trace: str, least: float, store: Store, failed: bool) -> None:
    """Make the trace; where the program failed, its own error is the one that is seen."""
    if watched.session is None:
        if not failed:
            raise ConfigError("Ray was never started while it was watched")
        return
    try:
        watched.product = _import(watched.session, trace, least, store)
        say(f"trace {trace}: {watched.product.path}")
    except ToolkitError as error:
        say(
            f"no trace was made; Ray's record remains: toolkit collect +collector=ray "
            f"collector.path={watched.session} trace={trace}"
        )
        if not failed:
            raise
        say(str(error))


@contextmanager
def _recording(ray: ModuleType, watched: Watched) -> Iterator[None]:
    """Let what starts Ray in the block record, on loopback, and keep what it knows at its end."""
    constants = ray._private.ray_constants
    before = {name: os.environ.get(name) for name in _EXPORT}
    reachable = constants.ENABLE_RAY_CLUSTER
    start, stop = ray.init, ray.shutdown

    guards = ExitStack()

    def init(*args: Any, **kwargs: Any) -> Any:
        answer = start(*args, **kwargs)
        guards.enter_context(guarded(folder()))
        watched.find()
        return answer

    def shutdown(*args: Any, **kwargs: Any) -> None:
        if ray.is_initialized():
            time.sleep(_SOON)
        stop(*args, **kwargs)

    be_quiet()
    os.environ.update(_EXPORT)
    constants.ENABLE_RAY_CLUSTER = False  # a Ray that is started here has the address 127.0.0.1
    ray.init, ray.shutdown = init, shutdown
    try:
        with guards, on_loopback():
            yield
    finally:
        ray.init, ray.shutdown = start, stop
        constants.ENABLE_RAY_CLUSTER = reachable
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old


def _import(session: Path, trace: str, min_complete: float, store: Store) -> Product:
    from collectors import importing
    from collectors.ray.importer import RayImporter
    from collectors.streams import Limits

    importer = RayImporter()
    logs = importing.logs_of(importer, str(session))
    settings = importing.Settings(
        min_complete=min_complete, executor="processes", workers=1, limits=Limits()
    )
    return importing.keep(importer, logs, settings, store, trace)
