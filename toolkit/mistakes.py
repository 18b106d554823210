"""What went wrong, in the user's words: every failure becomes one ``ToolkitError``."""

from __future__ import annotations

import difflib
import errno
import importlib
import inspect
import re
from collections.abc import Iterator

import yaml
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from toolkit.errors import (
    ConfigError,
    CorruptError,
    EngineError,
    NotFoundError,
    ResourceError,
    ToolkitError,
    unknown,
)
from toolkit.invocation import Invocation

_OURS = ("toolkit", "collectors", "evaluations", "leaderboard")
_EXTRAS = {"ray": "ray"}


class UnexpectedError(ToolkitError):
    """A failure nobody foresaw: a defect of ours, or of a library."""

    exit_code = 1


def explain(error: Exception, invocation: Invocation) -> ToolkitError:
    """Return the sentence for a failure, or the ``ToolkitError`` it was caused by.

    Args:
        error: What was caught.
        invocation: The command line it happened to.
    """
    for cause in _chain(error):
        if isinstance(cause, ToolkitError):
            return cause
    for cause in _chain(error):
        if isinstance(cause, MemoryError):
            return ResourceError("the machine has not enough memory", hint="try a smaller size")
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return ResourceError(f"the disk is full: {cause}", hint="free some space")
        if isinstance(cause, ModuleNotFoundError) and (package := _foreign_package(cause)):
            return _not_installed(package)
    match error:
        case MissingMandatoryValue():
            return missing_value(str(error.full_key), invocation)
        case InstantiationException():
            return _instantiation(error)
        case OverrideParseException():
            return _unreadable(error.override, invocation)
        case MissingConfigException():
            return _no_file(error, invocation)
        case ConfigAttributeError() | ConfigKeyError():
            return ConfigError(
                f"the configuration of toolkit {invocation.command} lacks {error.full_key!r}"
            )
        case InterpolationKeyError():
            return ConfigError(f"{error.full_key} refers to a setting that does not exist")
        case yaml.MarkedYAMLError():
            return _bad_yaml(error)
        case HydraException() | OmegaConfBaseException():
            return _composition(error, invocation)
    return UnexpectedError(
        f"unexpected error: {type(error).__name__}: {_first_line(error)}",
        hint="the same command with --traceback shows where",
    )


def missing_value(key: str, invocation: Invocation) -> ConfigError:
    """Return the error for a setting that has no default and was not given."""
    command = invocation.command
    choices = invocation.catalogue.groups.get(key.replace(".", "/"))
    if choices:
        article = "an" if key[0] in "aeiou" else "a"
        return ConfigError(
            f"choose {article} {key}: toolkit {command} +{key}=<{'|'.join(choices)}>",
            hint=f"toolkit list what={key} says what each of them is",
        )
    return ConfigError(
        f"{key} needs a value: toolkit {command} {key}=<value>",
        hint=f"toolkit {command} --help",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else "no message"


def _foreign_package(error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    return "" if package in _OURS else package


def _not_installed(package: str) -> EngineError:
    extra = _EXTRAS.get(package)
    wanted = f"'offline-scheduling-toolkit[{extra}]'" if extra else package
    return EngineError(
        f"the Python package {package!r} is not installed",
        hint=f"in a checkout: make setup; else: pip install {wanted}",
    )


def _instantiation(error: InstantiationException) -> ConfigError | NotFoundError:
    text = str(error)
    place = _found(r"full_key: (\S+)", text) or "the configuration"
    target = _found(r"target '([^']+)'", text) or "its _target_"
    cause = error.__cause__
    reason = str(cause) if cause else _first_line(error)
    if "locating target" in text:
        return NotFoundError(f"the _target_ of {place} cannot be imported: {target}")
    if extra := _found(r"unexpected keyword argument '(\w+)'", reason):
        return unknown(f"setting of {place}", extra, _parameters(target))
    if lacking := _found(r"missing \d+ required .*?: (.*)", reason):
        return ConfigError(f"{place} lacks {lacking.replace(chr(39), '')}")
    kind = f"{type(cause).__name__}: " if cause else ""
    return ConfigError(f"{place} cannot be used: {kind}{reason.splitlines()[0]}")


def _parameters(target: str) -> list[str]:
    module, _, name = target.rpartition(".")
    try:
        return list(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return []


def _bad_yaml(error: yaml.MarkedYAMLError) -> CorruptError:
    mark = error.problem_mark
    place = f"{mark.name}, line {mark.line + 1}" if mark else "a configuration file"
    return CorruptError(f"{place}: not valid YAML: {error.problem or error.context}")


def _unreadable(word: str, invocation: Invocation) -> ConfigError:
    command = invocation.command
    if re.fullmatch(r"[\w./-]+", word):
        hint = f"write setting=value; toolkit {command} --help lists the settings"
        if command == "list":
            hint = f"toolkit list what={word}"
        return ConfigError(f"cannot read {word!r}: there is no '=' in it", hint=hint)
    key, _, value = word.partition("=")
    quoted = f"'{value}'"
    if value.startswith("[") and value.endswith("]"):
        plain = re.compile(r"[\w.+-]*")
        parts = (part.strip() for part in value[1:-1].split(","))
        quoted = f"[{','.join(p if plain.fullmatch(p) else repr(p) for p in parts)}]"
    return ConfigError(
        f"cannot read {word!r}",
        hint=f'quote special characters twice: "{key}={quoted}"; lists are {key}=[1,2]',
    )


def _no_file(error: MissingConfigException, invocation: Invocation) -> NotFoundError | ConfigError:
    name = error.missing_cfg_file or ""
    group, _, choice = name.rpartition("/")
    groups = invocation.catalogue.groups
    if group in groups:
        return unknown(group, choice, groups[group])
    folders = ", ".join(str(root) for root in invocation.catalogue.roots)
    return NotFoundError(f"there is no {name}.yaml in {folders}")


def _composition(error: Exception, invocation: Invocation) -> ToolkitError:
    text, command = str(error), invocation.command
    if word := _found(r"Ambiguous value for argument '([^']*)", text):
        key, _, value = word.partition("=")
        return ConfigError(
            f"{key} has several values: {value}",
            hint=f"to run each of them: toolkit {command} -m {word}; for a list: {key}=[{value}]",
        )
    if key := _found(r"Could not (?:override|delete|delete from config\.) '([^']+)'", text):
        return _no_setting(key, invocation)
    if key := _found(r"An item is already at '([^']+)'", text):
        return ConfigError(f"{key} exists already", hint=f"write {key}=<value>, without the plus")
    if word := _found(r"Override (\S+) looks like a config group", text):
        return unknown("group", word.lstrip("+~").partition("@")[0], invocation.catalogue.groups)
    return ConfigError(_first_line(error), hint=f"toolkit {command} --help")


def _no_setting(key: str, invocation: Invocation) -> ConfigError:
    command, head = invocation.command, key.partition(".")[0]
    catalogue = invocation.catalogue
    settings = catalogue.settings(invocation.primary, invocation.chosen)
    if head != key and settings.get(head) == "???" and head in catalogue.groups:
        return missing_value(head, invocation)
    names = {*settings, *catalogue.used_by(invocation.primary)}
    if key in names:
        return ConfigError(f"{key} cannot be removed", hint=f"write {key}=null")
    if any(name.startswith(f"{key}.") for name in names):
        return ConfigError(
            f"{key} has no entry of that name", hint=f"to add one: '++{key}={{...: ...}}'"
        )
    near = sorted(name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2])
    near = near or difflib.get_close_matches(key, sorted(names), n=1, cutoff=0.6)
    guess = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    return ConfigError(
        f"toolkit {command} has no setting {key!r}{guess}",
        hint=f"toolkit {command} --help lists the settings",
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""
