"""What ``--help`` prints; composed from docstrings and YAML files, without Hydra."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from toolkit.catalogue import docstring
from toolkit.invocation import Invocation

_WIDTH = 100
_SECTION = re.compile(r"\n\n(?:Args|Returns|Raises|Example)s?:")
_OVERVIEW = """\
toolkit <command> [setting=value ...] [group=choice ...]

Record what a cluster did, learn from it offline, prove it in a calibrated replay.

commands:
{commands}

toolkit <command> --help    what a command does, its settings and its choices
toolkit --version
"""

_OPTIONS = """\
options:
  -m                 run once for every combination of values: setting=1,2 group=a,b
  format=json        print one JSON document on stdout; all else goes to stderr
  --cfg job          print the configuration instead of running
  --config-dir DIR   add a folder with YAML files of your own
  --traceback        show where an error arose
  --hydra-help       the options of Hydra, which composes the configuration"""


def overview(commands: Mapping[str, str]) -> str:
    """Return the text of ``toolkit --help``.

    Args:
        commands: Name and one line about each command.
    """
    return _OVERVIEW.format(commands=table(commands.items())).rstrip()


def group_help(first: str, commands: Mapping[str, str]) -> str:
    """Return the text of ``toolkit <first> --help``, for commands of two words.

    Args:
        first: Their first word.
        commands: Name and one line about each command.
    """
    own = {name: line for name, line in commands.items() if name.startswith(f"{first} ")}
    head = f"toolkit {first} <command> [setting=value ...]"
    return f"{head}\n\n{table(own.items())}\n\ntoolkit {first} <command> --help    more about one"


def command_help(invocation: Invocation, target: str) -> str:
    """Return the text of ``toolkit <command> --help``.

    Args:
        invocation: The command line; groups chosen on it show their settings too.
        target: Where the body of the command is, ``module:function``.
    """
    catalogue, primary = invocation.catalogue, invocation.primary
    defaults = catalogue.defaults(primary, invocation.chosen)
    about = _SECTION.split(docstring(target))[0]
    parts = [f"toolkit {invocation.command} [setting=value ...] [group=choice ...]", about]
    groups = [
        (group, f"{' | '.join(catalogue.groups[group])}   {_default(defaults.get(group))}".rstrip())
        for group in catalogue.used_by(primary)
    ]
    if groups:
        parts.append(f"groups (toolkit list what=<group> describes the choices):\n{table(groups)}")
    notes = catalogue.notes(primary)
    for group, choice in {**defaults, **invocation.chosen}.items():
        package = "" if catalogue.is_global(group, choice) else group.replace("/", ".") + "."
        notes |= {package + k: v for k, v in catalogue.notes(f"{group}/{choice}").items()}
    settings = [
        (f"{key}={shown(value)}", notes.get(key, ""))
        for key, value in catalogue.settings(primary, invocation.chosen).items()
        if key not in catalogue.groups
    ]
    if settings:
        parts.append(f"settings and their defaults:\n{table(settings)}")
    return "\n\n".join(part for part in (*parts, _OPTIONS) if part)


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Lay out names with a description beside each, indented by two and wrapped."""
    lines = list(rows)
    width = min(max((len(name) for name, _ in lines), default=0), 34)
    indent = " " * (width + 4)
    texts = []
    for name, about in lines:
        wrapped = f"\n{indent}".join(textwrap.wrap(about, _WIDTH - len(indent)))
        texts.append(f"  {name:<{width}}  {wrapped}".rstrip())
    return "\n".join(texts)


def shown(value: Any) -> str:
    """Write a value the way it is typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(shown(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}:{shown(v)}' for k, v in value.items())}}}"
    return str(value)


def _default(choice: str | None) -> str:
    if choice in (None, "null", "???"):
        return "(none by default)"
    return f"(default: {choice})"
