"""One command line, read but not yet run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from toolkit.catalogue import Catalogue
from toolkit.errors import ConfigError, NotFoundError, require, unknown
from toolkit.paths import conf_dir

_FLAGS = ("--help", "--multirun", "--run", "--resolve", "--hydra-help", "--traceback")
_CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_VALUED = ("--config-dir", "--config-path", "--config-name", "--package")
_SHORT = {
    "-h": "--help",
    "-m": "--multirun",
    "-r": "--run",
    "-c": "--cfg",
    "-i": "--info",
    "-p": "--package",
    "-cd": "--config-dir",
    "-cp": "--config-path",
    "-cn": "--config-name",
}
OPTIONS = (*_FLAGS, *_CHOICES, *_VALUED)
GROUP_CHOICE = re.compile(r"^(\+?)([\w/-]+)=(.*)$", re.DOTALL)


def formats(command: str) -> tuple[str, ...]:
    """Return the values of ``format`` that a command can print."""
    more = {"leaderboard": ("markdown", "csv"), "leaderboard compare": ("markdown",)}
    return ("text", "json", *more.get(command, ()))


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """A command with its options and overrides.

    Args:
        command: Name of the command.
        options: Options with their values by long name; a flag has the value ``""``.
        overrides: The ``key=value`` words as they were typed.
    """

    command: str
    options: Mapping[str, str]
    overrides: Sequence[str]

    @property
    def primary(self) -> str:
        """Name of the YAML that the configuration starts from."""
        own = self.command.replace(" ", "_")
        return self.options.get("--config-name", own).removesuffix(".yaml")

    @property
    def sweeps(self) -> bool:
        """Whether the command runs once for every combination of values."""
        return "--multirun" in self.options or "hydra.mode=MULTIRUN" in self.overrides

    @property
    def shows_only(self) -> bool:
        """Whether Hydra prints something instead of running the command."""
        return any(option in self.options for option in ("--hydra-help", *_CHOICES))

    @cached_property
    def catalogue(self) -> Catalogue:
        """The configuration folders of this command line.

        Raises:
            NotFoundError: When a folder given by an option does not exist.
        """
        return Catalogue(list(self._roots()))

    def _roots(self) -> Iterator[Path]:
        for option in ("--config-dir", "--config-path"):
            if option in self.options:
                folder = Path(self.options[option]).expanduser().resolve()
                if not folder.is_dir():
                    raise NotFoundError(f"there is no folder {str(folder)!r} for {option}")
                yield folder
        if "--config-path" not in self.options:
            yield conf_dir()

    @cached_property
    def chosen(self) -> dict[str, str]:
        """The groups picked by the overrides; of several values the first."""
        found = (GROUP_CHOICE.match(word) for word in self.overrides)
        return {m[2]: m[3].split(",")[0] for m in found if m and m[2] in self.catalogue.groups}


def read(words: Sequence[str], commands: Iterable[str]) -> Invocation:
    """Read a command line without running anything.

    Args:
        words: The words after the program's name, the command first.
        commands: The commands that exist.

    Raises:
        NotFoundError: When the command or an option does not exist.
        ConfigError: When an option lacks its value.
    """
    command, rest = command_of(words, commands)
    hint = f"toolkit {command} --help"
    options: dict[str, str] = {}
    overrides: list[str] = []
    rest.reverse()
    while rest:
        word = rest.pop()
        if not word.startswith("-"):
            overrides.append(word)
            continue
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name not in OPTIONS:
            raise unknown("option", name, OPTIONS, hint=hint)
        if name not in _FLAGS:
            choices = _CHOICES.get(name, ())
            if not equals and rest and (rest[-1] in choices or name != "--info"):
                value = rest.pop()
            value = value or ("all" if name == "--info" else "")
            require(bool(value), f"{name} needs a value", hint=hint)
            if choices and value not in choices:
                raise unknown(f"{name} of", value, choices, hint=hint)
        options[name] = value
    modes = [name for name in options if name in ("--multirun", "--run", *_CHOICES)]
    require(len(modes) < 2, f"{' and '.join(modes)} cannot be used together", hint=hint)
    require("--resolve" not in options or "--cfg" in options, "--resolve needs --cfg", hint=hint)
    return Invocation(command=command, options=options, overrides=tuple(overrides))


def command_of(words: Sequence[str], commands: Iterable[str]) -> tuple[str, list[str]]:
    """Return the command, of one word or two, and the words after it.

    Raises:
        NotFoundError: When there is no such command.
    """
    known = list(commands)
    command, *rest = words
    seconds = members(command, known)
    second = rest[0] if rest else ""
    if second in seconds:
        return f"{command} {second}", rest[1:]
    # A command of one word may be the first of others too; its own words are settings or options.
    alone = command in known and (not second or "=" in second or second[0] in "-+~")
    if seconds and not alone:
        raise unknown(f"command {command}", second, seconds, hint=f"toolkit {command} --help")
    if command not in known:
        raise unknown("command", command, known, hint="toolkit --help")
    return command, rest


def members(first: str, commands: Iterable[str]) -> list[str]:
    """Return the second words of the commands of two words that begin with ``first``."""
    return [c.partition(" ")[2] for c in commands if c.startswith(f"{first} ")]


def with_plus_signs(invocation: Invocation) -> list[str]:
    """Return the overrides, each ``group=choice`` with the plus sign that Hydra wants.

    Hydra wants ``algo=cql`` for groups in the defaults list and ``+algo=cql`` for all others;
    here both work for both. Words that are not a plain choice of a group stay as they are.

    Raises:
        ConfigError: When a group is given twice, or the command has no use for it.
    """
    command, catalogue = invocation.command, invocation.catalogue
    listed = catalogue.defaults(invocation.primary, invocation.chosen)
    own = catalogue.read(invocation.primary)
    useful = {*listed, *own}
    given: dict[str, str] = {}
    words = []
    for word in invocation.overrides:
        match = GROUP_CHOICE.match(word)
        if not match or match[2] not in catalogue.groups:
            words.append(word)
            continue
        plus, group, choice = match.groups()
        if group in given:
            raise ConfigError(
                f"{group} is given twice: {given[group]} and {choice}",
                hint=f"to run both: toolkit {command} -m {group}={given[group]},{choice}",
            )
        given[group] = choice
        if isinstance(own.get(group), dict) and list(own[group]) == ["name"]:
            # The command wants a name, be it of a file here or of something that was trained;
            # Hydra takes a mapping for a value where a word would be a choice of the group.
            words.append(f"{group}={{name:'{choice}'}}")
            continue
        finds_its_place = catalogue.is_global(group, choice.split(",")[0])
        if not (plus or group in useful or finds_its_place):
            reads = ", ".join(catalogue.used_by(invocation.primary)) or "no group"
            raise ConfigError(f"toolkit {command} has no use for {word!r}; it reads: {reads}")
        words.append(f"{group}={choice}" if group in listed else f"+{group}={choice}")
    return words
