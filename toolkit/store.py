"""Where everything a user makes lies: written aside, committed by a manifest that comes last.

A product (trace, calibration, dataset, policy) is a folder ``<root>/<kind>/<id>`` with a
``manifest.json`` that names the SHA-256 of every file. While it is made it is a hidden folder
that no listing shows; an interrupted step finds its partial work there and goes on.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit import __version__
from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError, unknown
from toolkit.paths import data_root
from toolkit.progress import say

KINDS = ("traces", "calibrations", "datasets", "policies", "predictions")
SCHEMA = 1
"""Version of the manifest; one number for the layout of all products."""

_WORD = r"[a-z0-9][a-z0-9._-]{0,99}"
_ID = re.compile(rf"{_WORD}\Z")
_NESTED = re.compile(rf"{_WORD}(/{_WORD})?\Z")
"""Ids of datasets: ``family/workload-tier-vN``."""
_MAKE = {
    "traces": "toolkit collect",
    "calibrations": "toolkit calibrate",
    "datasets": "toolkit dataset build",
    "policies": "toolkit train +algo=cql",
    "predictions": "toolkit evaluate +suite=real_ray",
}


@dataclass(frozen=True, kw_only=True)
class Product:
    """A finished product.

    Args:
        kind: One of ``KINDS``.
        id: Unique within its kind.
        path: Its folder.
        manifest: What it is made of and from.
    """

    kind: str
    id: str
    path: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 over the names and digests of all files."""
        return digest_of(self.manifest)


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the names and digests of all files of a manifest."""
    lines = [f"{n} {f['sha256']}" for n, f in sorted(manifest["files"].items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def fingerprint(*values: Any) -> str:
    """Return eight hex digits that change whenever a JSON-able value does."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Store:
    """The folder of all products.

    Args:
        root: Its place; ``toolkit.paths.data_root()`` when absent.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or data_root()

    def list(self, kind: str) -> list[Product]:
        """Return the finished products of a kind, the newest last."""
        folder = self.root / kind
        found = []
        for manifest in [*folder.glob("*/manifest.json"), *folder.glob("*/*/manifest.json")]:
            path = manifest.parent
            if _legal(kind, path.relative_to(folder).as_posix()):
                found.append(self._read(kind, path))
        return sorted(found, key=lambda p: (str(p.manifest.get("created", "")), p.id))

    def exists(self, kind: str, name: str) -> bool:
        """Return whether a finished product has this id."""
        return (self._path(kind, name) / "manifest.json").is_file()

    def get(
        self,
        kind: str,
        name: str = "latest",
        serves: Callable[[Product], bool] = lambda product: True,
    ) -> Product:
        """Return a product by id, or the newest one.

        Args:
            kind: One of ``KINDS``.
            name: Its id, or ``latest``.
            serves: Of which the newest is sought.

        Raises:
            NotFoundError: When there is none; names near ones and the command that makes one.
            SchemaError: When it was written by another layout version.
        """
        singular = kind[:-3] + "y" if kind.endswith("ies") else kind[:-1]
        if name == "latest":
            products = [p for p in self.list(kind) if serves(p)]
            if not products:
                raise NotFoundError(
                    f"there is no {singular} yet under {self.root / kind}",
                    hint=f"make one: {_MAKE[kind]}",
                )
            return self._checked(products[-1])
        path = self._path(kind, name)
        if not (path / "manifest.json").is_file():
            raise unknown(
                singular,
                name,
                [p.id for p in self.list(kind)],
                hint=f"see what is there: toolkit list what={kind}; make one: {_MAKE[kind]}",
            )
        return self._checked(self._read(kind, path))

    def partial(self, kind: str, name: str) -> Path:
        """Return the hidden folder in which a product is being made; it may hold earlier work."""
        path = self._path(kind, name)
        aside = path.with_name(f".{path.name}.partial")
        aside.mkdir(parents=True, exist_ok=True)
        return aside

    @contextmanager
    def alone(self, kind: str, name: str) -> Iterator[None]:
        """Wait until no other process makes or changes a product, and keep others waiting."""
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process is at work on {name}; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def discard(self, kind: str, name: str) -> None:
        """Remove a product and its partial work, if there are any."""
        path = self._path(kind, name)
        for folder in (path, path.with_name(f".{path.name}.partial")):
            if folder.is_dir():
                doomed = folder.with_name(f".{path.name}.{os.getpid()}.removed")
                folder.rename(doomed)
                shutil.rmtree(doomed)

    def commit(
        self,
        kind: str,
        name: str,
        *,
        inputs: Mapping[str, str],
        about: Mapping[str, Any],
        views: Sequence[str] = (),
        digests: Mapping[str, str] | None = None,
    ) -> Product:
        """Turn the partial folder into a finished product.

        Args:
            kind: One of ``KINDS``.
            name: Its id.
            inputs: Ids of the products it was made from, by kind.
            about: What else the manifest should say; JSON-able.
            views: Files that only show what others say; the manifest does not name them.
            digests: SHA-256 of files that have just been read for it, by name.
        """
        aside = self.partial(kind, name)
        files = [
            str(f.relative_to(aside))
            for f in sorted(aside.rglob("*"))
            if f.is_file() and f.name not in ("manifest.json", *views)
        ]
        known = {
            f: {"bytes": (aside / f).stat().st_size, "sha256": digest}
            for f, digest in (digests or {}).items()
        }
        manifest = self._manifest(kind, name, aside, files, inputs, about, known)
        path = self._path(kind, name)
        if not path.exists():
            os.replace(aside, path)
        elif exchange(aside, path):
            shutil.rmtree(aside)
        else:
            shutil.rmtree(path)
            os.replace(aside, path)
        return Product(kind=kind, id=name, path=path, manifest=manifest)

    def revise(self, product: Product, files: Sequence[str], about: Mapping[str, Any]) -> Product:
        """Let a product consist of other files: those it keeps and new ones, written before.

        No file is ever changed: who still reads by the former manifest finds all that it names.
        To be called by who is :meth:`alone` with the product.

        Args:
            product: As it is now.
            files: Names of the files that it is to have.
            about: What the manifest is to say.
        """
        manifest = self._manifest(
            product.kind, product.id, product.path, files, product.manifest["inputs"], about,
            product.manifest["files"],
        )  # fmt: skip
        return Product(kind=product.kind, id=product.id, path=product.path, manifest=manifest)

    def _manifest(
        self,
        kind: str,
        name: str,
        folder: Path,
        files: Sequence[str],
        inputs: Mapping[str, str],
        about: Mapping[str, Any],
        known: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        found = {f: dict(known[f]) for f in files if known and f in known}
        for f in files:
            if f not in found:
                file = folder / f
                found[f] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
        manifest = {
            "kind": kind,
            "id": name,
            "schema": SCHEMA,
            "toolkit": __version__,
            "created": datetime.now(UTC).isoformat(timespec="microseconds"),
            "inputs": dict(inputs),
            "about": dict(about),
            "bytes": sum(int(f["bytes"]) for f in found.values()),
            "files": dict(sorted(found.items())),
        }
        write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
        return manifest

    def verify(self, product: Product) -> None:
        """Read every file again and compare it with the manifest.

        Raises:
            CorruptError: On a missing or changed file.
        """
        for name, expected in product.manifest["files"].items():
            file = product.path / name
            if not file.is_file():
                raise CorruptError(f"{product.id}: file {name} is missing", hint=_again(product))
            if sha256(file) != expected["sha256"]:
                raise CorruptError(
                    f"{product.id}: file {name} is not what was written "
                    "(its SHA-256 differs from the manifest's)",
                    hint=_again(product),
                )

    def _path(self, kind: str, name: str) -> Path:
        if kind not in KINDS:
            raise unknown("kind of product", kind, KINDS)
        if not _legal(kind, name):
            raise ConfigError(
                f"{name[:80]!r} cannot be an id: use lower-case letters, digits, '.', '_', '-'"
            )
        return self.root / kind / name

    def _read(self, kind: str, path: Path) -> Product:
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            if not isinstance(manifest["files"], dict) or not isinstance(manifest["id"], str):
                raise TypeError
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptError(
                f"{path / 'manifest.json'} cannot be read",
                hint=f"remove the folder and make it again: {_MAKE[kind]}",
            ) from error
        name = path.relative_to(self.root / kind).as_posix()
        return Product(kind=kind, id=name, path=path, manifest=manifest)

    def _checked(self, product: Product) -> Product:
        schema = product.manifest.get("schema")
        if schema != SCHEMA:
            raise SchemaError(
                f"{product.kind[:-1]} {product.id!r} has layout version {schema!r}; this release "
                f"reads {SCHEMA}",
                hint=_again(product),
            )
        return product


def _legal(kind: str, name: str) -> bool:
    return bool((_NESTED if kind == "datasets" else _ID).match(name))


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, so that no reader ever finds neither; False where not known."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchanged = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(swap(here, os.fsencode(one), here, os.fsencode(other), exchanged) == 0)


def _again(product: Product) -> str:
    if product.kind == "traces":
        return "restore it from a copy, or record again: toolkit collect force=true"
    return f"make it again: {_MAKE[product.kind]} force=true"


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file aside and rename it, so that it is never seen half-written."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, path)
