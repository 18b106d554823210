"""Callable policy: any function of a user's own as a policy, by ``module:function``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ConfigError, NotFoundError
from toolkit.policies.named import Named, named
from toolkit.policies.policy import Policy, certain
from toolkit.store import Store
from toolkit.workload import Floats, Workload

Chooser = Callable[[Decision], Any]
"""Takes a decision and returns a slot, or a probability for each, shape [K]."""


@dataclass(frozen=True, kw_only=True)
class CallablePolicy:
    """A function that answers decisions.

    Args:
        name: ``module:function``.
        function: What answers.
    """

    name: str
    function: Chooser

    def reset(self, workload: Workload) -> None:
        """Do nothing: a function has no memory. A class with ``reset`` is a policy by itself."""

    def probabilities(self, decision: Decision) -> Floats:
        """Return the probability of each slot, shape [K]."""
        answer = self.function(decision)
        if np.ndim(answer) == 0:
            return certain(int(answer), len(decision.mask))
        return np.asarray(answer, dtype=np.float64)


def policy_of(name: str, store: Store) -> Named:
    """Return a policy by its name, or made of a user's own code where the name has a colon.

    Args:
        name: As for :func:`toolkit.policies.named.named`, or ``module:function`` for something
            importable from the current folder: a function, a class that makes a policy, or a
            policy.
        store: Where trained policies lie.

    Raises:
        NotFoundError: When there is no such module or nothing of that name in it.
        ConfigError: When it is no policy.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        return named(name, store)
    policy = as_policy(_imported(module_name, attribute, name), name)
    return Named(policy=policy, learned=False, key=[name, _digest(module_name)])


def as_policy(found: Any, name: str = "") -> Policy:
    """Return a policy, a class that makes one, or a function of a decision as a policy.

    Args:
        found: One of these.
        name: Of a function; its own when empty.

    Raises:
        ConfigError: When it is none of them.
    """
    if inspect.isclass(found):
        found = found()
    if hasattr(found, "probabilities") and hasattr(found, "reset"):
        policy: Policy = found
        return policy
    if callable(found):
        return CallablePolicy(name=name or getattr(found, "__name__", "function"), function=found)
    raise ConfigError(
        f"{name or found!r} is {type(found).__name__}, and no policy",
        hint="name a function of a decision that returns a slot or probabilities, "
        "or a class with reset and probabilities",
    )


def _imported(module: str, attribute: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise NotFoundError(
            f"policy {name!r}: {error}", hint="run it from the folder where the module lies"
        ) from error
    found = getattr(loaded, attribute, None)
    if found is None:
        raise NotFoundError(f"policy {name!r}: {module} has no {attribute!r}")
    return found


def _digest(module: str) -> str:
    """Return what changes with the module's own file; what it imports is not looked at."""
    file = getattr(sys.modules[module], "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
