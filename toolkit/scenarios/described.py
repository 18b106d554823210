"""Described: scenarios and rewards as plain values, and back again without trusting anybody.

What a trace says of itself may have been written by anyone. Only dataclasses of this toolkit that
fit where they are named are made of it, and only of values of the types of their fields.
"""

from __future__ import annotations

import dataclasses
import math
import pkgutil
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from toolkit import scenarios, workflows
from toolkit.errors import CorruptError

TARGET = "_target_"
ENDLESS = "inf"
"""How an endless number is written: JSON has none."""


def described(value: Any) -> Any:
    """Return a scenario or reward as plain values, with the type of each part."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        fields = {f.name: described(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {
            TARGET: f"{kind.__module__}.{kind.__qualname__}",
            **{k: v for k, v in fields.items() if v is not None},
        }
    if isinstance(value, Mapping):
        return {str(k): described(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [described(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return ENDLESS if value > 0 else None
    return value


class _MismatchError(CorruptError):
    """A value is of another type than is wanted."""


def rebuilt(told: Any, wanted: Any, where: str = "scenario") -> Any:
    """Return what :func:`described` was given.

    Args:
        told: Plain values, perhaps from a stranger. The type of a part need not be named where
            only one fits.
        wanted: Its type as in an annotation: a dataclass, a protocol, a union of them, …
        where: What it is, for messages.

    Raises:
        CorruptError: When it names an unknown or unfitting type, or values are missing, too many
            or of other types.
    """
    origin, args = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return _one_of(told, args, where)
    if origin is Sequence:
        if not isinstance(told, list):
            raise _mismatch(where, "a list", told)
        return [rebuilt(v, args[0], f"{where}[{i}]") for i, v in enumerate(told)]
    if origin is Mapping:
        if not isinstance(told, dict):
            raise _mismatch(where, "a mapping", told)
        return {str(k): rebuilt(v, args[1], f"{where}.{k}") for k, v in told.items()}
    if wanted is types.NoneType:
        if told is not None:
            raise _mismatch(where, "nothing", told)
        return None
    if wanted is float:
        if told == ENDLESS and isinstance(told, str):
            return math.inf
        if isinstance(told, bool) or not isinstance(told, (int, float)) or math.isnan(told):
            raise _mismatch(where, "a number", told)
        return told
    if wanted in (int, str, bool):
        if type(told) is not wanted:
            raise _mismatch(where, f"of type {wanted.__name__}", told)
        return told
    return _object(told, wanted, where)


def _one_of(told: Any, wanted: Sequence[Any], where: str) -> Any:
    """Return a value of the first type that fits."""
    for kind in wanted:
        try:
            return rebuilt(told, kind, where)
        except _MismatchError:
            continue
    raise _mismatch(where, "of another type", told)


def _object(told: Any, wanted: type, where: str) -> Any:
    """Return an instance of a dataclass of this toolkit."""
    if not isinstance(told, dict):
        raise _mismatch(where, f"a {wanted.__name__}", told)
    kind = _named(told[TARGET], where) if TARGET in told else wanted
    if not dataclasses.is_dataclass(kind) or not issubclass(kind, wanted):
        raise _mismatch(where, f"a {wanted.__name__}", told.get(TARGET, "no type"))
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    values = {str(k): v for k, v in told.items() if k != TARGET}
    strange = sorted(values.keys() - fields.keys())
    if strange:
        raise CorruptError(f"{where}: {kind.__name__} has no {strange[0][:80]!r}")
    for name, f in fields.items():
        optional = (
            f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        )
        if name not in values and not optional:
            raise CorruptError(f"{where}: {kind.__name__} lacks {name!r}")
    parts = {name: rebuilt(v, hints[name], f"{where}.{name}") for name, v in values.items()}
    try:
        return kind(**parts)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CorruptError(f"{where} is no {kind.__name__}: {error}") from error


def _named(name: Any, where: str) -> type:
    """Return a class of this toolkit by its full name."""
    module, _, leaf = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    if module in _modules():
        found = getattr(import_module(module), leaf, None)
        if isinstance(found, type) and found.__module__ == module:
            return found
    raise CorruptError(
        f"{where} is said to be of type {str(name)[:100]!r}, which nobody knows here"
    )


@cache
def _modules() -> frozenset[str]:
    """Return the modules of which classes may be made."""
    return frozenset(
        f"{package.__name__}.{module.name}"
        for package in (scenarios, workflows)
        for module in pkgutil.iter_modules(package.__path__)
    ) | {"toolkit.reward"}


def _mismatch(where: str, wanted: str, told: Any) -> _MismatchError:
    return _MismatchError(f"{where} must be {wanted}, got {str(told)[:80]!r}")
