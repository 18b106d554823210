"""What lies in ``conf/``, read without Hydra: groups, choices, keys and their descriptions.

``toolkit --help``, shell completion and ``toolkit list`` must answer at once, so this file
parses YAML and Python sources and imports none of what they name.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import CorruptError
from toolkit.paths import conf_dir

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESERVED = ("hydra",)
_KEY = re.compile(r"^(\s*)([\w-]+):(?:\s+[^#]*?)?(?:(?<=\s)#\s*(.*))?$")


class Catalogue:
    """The configuration folders of one command line.

    Args:
        roots: Folders in the order of search, the first file of a name winning; by default
            only the folder that is shipped.
    """

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self.roots = list(roots) or [conf_dir()]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Every group with the names of its choices, both sorted."""
        found: dict[str, set[str]] = {}
        for root in self.roots:
            for path in root.glob("*/**/*.yaml"):
                group = path.parent.relative_to(root).as_posix()
                if group.split("/")[0] not in _RESERVED:
                    found.setdefault(group, set()).add(path.stem)
        return {group: sorted(found[group]) for group in sorted(found)}

    def file(self, name: str) -> Path | None:
        """Return the file of a primary (``train``) or a choice (``algo/cql``)."""
        return next((p for r in self.roots if (p := r / f"{name}.yaml").is_file()), None)

    def read(self, name: str) -> dict[str, Any]:
        """Return the parsed YAML of ``name``; an absent or empty file is an empty mapping.

        Raises:
            CorruptError: When the file is not YAML or not a mapping.
        """
        path = self.file(name)
        if path is None:
            return {}
        try:
            values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CorruptError(
                f"{path} is not valid YAML: {' '.join(str(error).split())}"
            ) from error
        if values is not None and not isinstance(values, dict):
            raise CorruptError(f"{path} must hold 'key: value' lines")
        return values or {}

    def defaults(self, primary: str, chosen: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the groups in the defaults list of ``primary`` and their choices.

        Args:
            primary: Name of the command's YAML.
            chosen: Groups picked on the command line. A picked file of package ``_global_``
                (an experiment) brings its own defaults list along.
        """
        chosen = chosen or {}
        found = dict(_entries(self.read(primary)))
        for group, choice in {**found, **chosen}.items():
            if self.is_global(group, choice):
                found.update(_entries(self.read(f"{group}/{choice}")))
        return {**found, **{g: c for g, c in chosen.items() if g in found}}

    def is_global(self, group: str, choice: str) -> bool:
        """Tell whether a choice writes to the top level of the configuration."""
        path = self.file(f"{group}/{choice}")
        return path is not None and "# @package _global_" in path.read_text(encoding="utf-8")

    def used_by(self, primary: str) -> list[str]:
        """Return the groups a command reads: those in its defaults list or among its keys."""
        keys = {*self.defaults(primary), *self.read(primary)}
        return [group for group in self.groups if group in keys]

    def settings(self, primary: str, chosen: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the dotted keys a command understands with their defaults.

        Args:
            primary: Name of the command's YAML.
            chosen: Groups picked on the command line; their keys are added.
        """
        flat = flatten(self._own(primary))
        for group, choice in {**self.defaults(primary, chosen), **(chosen or {})}.items():
            flat.pop(group, None)
            package = "" if self.is_global(group, choice) else group.replace("/", ".")
            flat |= self._nested(f"{group}/{choice}", package)
        return flat

    def notes(self, name: str) -> dict[str, str]:
        """Return the comments of a file: for each dotted key the one beside or above it."""
        path = self.file(name)
        found: dict[str, str] = {}
        above: list[str] = []
        trail: list[tuple[int, str]] = []
        for line in path.read_text(encoding="utf-8").splitlines() if path else ():
            if line.lstrip().startswith("#"):
                above.append(line.strip("# "))
                continue
            if match := _KEY.match(line):
                indent, key, beside = len(match[1]), match[2], match[3]
                trail = [(i, k) for i, k in trail if i < indent] + [(indent, key)]
                found[".".join(k for _, k in trail)] = beside or " ".join(above)
            above = []
        return {key: note for key, note in found.items() if note}

    def _own(self, name: str) -> dict[str, Any]:
        values = self.read(name).items()
        return {k: v for k, v in values if k != "defaults" and not str(k).startswith("_")}

    def _nested(self, name: str, package: str) -> dict[str, Any]:
        """Flatten a choice and, below it, the choices of its own defaults list."""
        prefix = f"{package}." if package else ""
        flat = flatten(self._own(name), prefix)
        for key, choice in _entries(self.read(name)) if package else ():
            group, _, place = key.partition("@")
            parent = name.rpartition("/")[0]
            own = f"{parent}/{group}/{choice}"
            inner = own if self.file(own) else f"{group}/{choice}"
            flat |= self._nested(inner, prefix + (place or group.replace("/", ".")))
        return flat

    def summary(self, name: str) -> str:
        """Return one line about a choice: its leading comment, else its target's docstring."""
        path = self.file(name)
        if path is None:
            return ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            if not line.startswith("# @package") and line.strip("# "):
                return line.lstrip("# ").strip()
        target = self.read(name).get("_target_")
        return docstring(str(target)).partition("\n")[0] if target else ""


def _entries(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in values.get("defaults") or ():
        if not isinstance(entry, dict):
            continue
        for key, choice in entry.items():
            group = str(key).split()[-1].removeprefix("/")
            if group.split("/")[0] not in _RESERVED:
                yield group, choice if isinstance(choice, str) else "null"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as dotted keys: ``{"algo": {"n": 1}}`` becomes ``{"algo.n": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def docstring(target: str) -> str:
    """Return the docstring of ``package.module.Name``, found in its source by parsing it.

    Args:
        target: Dotted path, or ``package.module:name``. Unknown targets give ``""``.
    """
    module, _, name = target.replace(":", ".").rpartition(".")
    path = _source(module)
    if path is None:
        return ""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return ""
    for node in tree.body:
        kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, kinds) and node.name == name:
            return ast.get_docstring(node) or ""
    return ""


def _source(module: str) -> Path | None:
    """Return the source file of a module; only its top-level package is looked up."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for path in (base.with_name(base.name + ".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None
