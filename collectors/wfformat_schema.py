"""WfFormat's schema: what a file of each version must and may hold, said once and checked twice.

Coleman et al., "WfCommons: A framework for enabling scientific workflow research and
development", FGCS 2022, doi:10.1016/j.future.2021.09.043. Versions 1.3 and 1.4 hold one list of
tasks, 1.5 and 1.6 a ``specification`` and an ``execution``; a file of version 1.4 may do either.
The types below decode a file and thereby check it; ``json_schema`` states them as JSON Schema.
Only what is read is described: other fields may be there and may hold anything.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from toolkit.errors import CorruptError, SchemaError

T = TypeVar("T")
Text = Annotated[str, Meta(min_length=1)]
Some = Annotated[list[T], Meta(min_length=1)]
Number = float | None


class _Object(Struct, rename="camel", gc=False):
    """An object; a field that may be null may also be absent."""


class Command(_Object, kw_only=True):
    """What a task ran."""

    program: str | None = None


class Cpu(_Object, kw_only=True):
    """Processors of a machine; ``count`` and ``speed`` up to version 1.4."""

    core_count: Number = None
    count: Number = None
    speed_mhz: Number = field(default=None, name="speedInMHz")
    speed: Number = None
    vendor: str | None = None


class Machine(_Object, kw_only=True):
    """A machine; ``memory``, in kB, in version 1.3."""

    node_name: Text
    system: str | None = None
    architecture: str | None = None
    release: str | None = None
    memory_in_bytes: Number = None
    memory: Number = None
    cpu: Cpu | None = None


class System(_Object, kw_only=True):
    """The engine that ran the workflow."""

    name: str | None = None
    version: str | None = None


class _Measured(_Object, kw_only=True):
    """What was measured of a task, in every version."""

    command: Command | None = None
    executed_at: str | None = None
    machine: str | None = None
    machines: list[str] | None = None
    avg_cpu: Number = field(default=None, name="avgCPU")
    read_bytes: Number = None
    written_bytes: Number = None
    memory_in_bytes: Number = None
    priority: Number = None


class File(_Object, kw_only=True):
    """A file in the list of version 1.5 and later."""

    id: Text
    size_in_bytes: float


class Specified(_Object, kw_only=True):
    """A task as it was planned."""

    id: Text
    name: Text
    parents: list[str]
    children: list[str]
    input_files: list[str] | None = None
    output_files: list[str] | None = None
    category: str | None = None


class Executed(_Measured, kw_only=True):
    """A task as it ran."""

    id: Text
    runtime_in_seconds: float
    core_count: Number = None
    energy: Number = field(default=None, name="energyInKWh")
    avg_power: Number = field(default=None, name="avgPowerInW")


class Specification(_Object, kw_only=True):
    """The graph."""

    tasks: Some[Specified]
    files: list[File] | None = None


class Execution(_Object, kw_only=True):
    """The run."""

    makespan_in_seconds: float
    executed_at: Text
    tasks: Some[Executed]
    machines: list[Machine] | None = None


class Halves(_Object, kw_only=True):
    """A workflow of version 1.5 and later."""

    specification: Specification
    execution: Execution | None = None


class Linked(_Object, kw_only=True):
    """A file of a task up to version 1.4; ``size`` in version 1.3."""

    name: Text
    link: Text
    size_in_bytes: Number = None
    size: Number = None


class Task(_Measured, kw_only=True):
    """A task up to version 1.4; the names of version 1.3 are also met in 1.4."""

    name: Text
    id: str | None = None
    category: str | None = None
    parents: list[str] | None = None
    children: list[str] | None = None
    files: list[Linked] | None = None
    runtime_in_seconds: Number = None
    runtime: Number = None
    cores: Number = None
    bytes_read: Number = None
    bytes_written: Number = None
    memory: Number = None
    energy: Number = None
    avg_power: Number = None


class _List(_Object, kw_only=True):
    executed_at: Text
    tasks: Some[Task]
    machines: list[Machine] | None = None


class List13(_List, kw_only=True):
    """A workflow of version 1.3."""

    makespan: float


class List14(_List, kw_only=True):
    """A workflow of version 1.4."""

    makespan_in_seconds: float


class _Instance(_Object, kw_only=True):
    name: Text
    runtime_system: System | None = None
    wms: System | None = None


class V13(_Instance, kw_only=True):
    """A file of version 1.3."""

    schema_version: Literal["1.3"]
    workflow: List13


class V14(_Instance, kw_only=True):
    """A file of version 1.4."""

    schema_version: Literal["1.4"]
    workflow: List14


class V14Halves(_Instance, kw_only=True):
    """A file that says 1.4 and holds both halves."""

    schema_version: Literal["1.4"]
    workflow: Halves


class V15(_Instance, kw_only=True):
    """A file of version 1.5."""

    schema_version: Literal["1.5"]
    workflow: Halves


class V16(_Instance, kw_only=True):
    """A file of version 1.6."""

    schema_version: Literal["1.6"]
    workflow: Halves


Instance = V13 | V14 | V14Halves | V15 | V16
KINDS: dict[str, type[V13 | V14 | V15 | V16]] = {"1.3": V13, "1.4": V14, "1.5": V15, "1.6": V16}
"""What a file of each version decodes to; see :func:`decode` for 1.4."""

VERSIONS = tuple(KINDS)
"""Versions that are read."""


class _Inside(_Object, kw_only=True):
    specification: msgspec.Raw | UnsetType = UNSET


class _Head(_Object, kw_only=True):
    schema_version: Any = None
    workflow: _Inside | UnsetType = UNSET


_HEAD = msgspec.json.Decoder(_Head)
_DECODERS: dict[type[Instance], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (*KINDS.values(), V14Halves)
}


def is_instance(raw: bytes) -> bool:
    """Tell whether a file means to be WfFormat: its JSON, whole or damaged, has a ``workflow``."""
    try:
        return not isinstance(_HEAD.decode(raw).workflow, UnsetType)
    except msgspec.ValidationError as error:
        return "$.workflow" in str(error)
    except (msgspec.DecodeError, RecursionError):
        return b'"workflow"' in raw


def decode(raw: bytes, called: str) -> Instance:
    """Return the content of a file, checked against the schema of its version.

    Args:
        raw: JSON.
        called: Name of the file, for messages.

    Raises:
        CorruptError: When it is no JSON.
        SchemaError: When it is not WfFormat, of a version that is not read, or not as that
            version's schema says; the message names the place and what was expected there.
    """
    try:
        head = _HEAD.decode(raw)
        if isinstance(head.workflow, UnsetType):
            raise SchemaError(f"{called} is not WfFormat: it has no object 'workflow'")
        version = head.schema_version
        if not isinstance(version, str) or version not in KINDS:
            said = repr(version)[:40]
            raise SchemaError(
                f"{called}: WfFormat version {said} is not read, only {', '.join(VERSIONS)}",
                hint="tools/wfcommons-migrate-instance.py of wfcommons/WfFormat converts files",
            )
        halves = not isinstance(head.workflow.specification, UnsetType)
        kind: type[Instance] = V14Halves if version == "1.4" and halves else KINDS[version]
        found: Instance = _DECODERS[kind].decode(raw)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{called} is not as WfFormat's schema says: {error}") from None
    except RecursionError:
        raise CorruptError(f"{called} is nested too deeply to be a workflow") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise CorruptError(f"{called} is no JSON: {str(error)[:200]}") from None
    return found


def moment(text: str | None) -> datetime | None:
    """Return a date as ISO 8601 writes it; None for what is no such date."""
    if not text or len(text) > 64:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def json_schema(version: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a version that is read.

    Raises:
        KeyError: For another version.
    """
    if version != "1.4":
        return msgspec.json.schema(KINDS[version])
    (flat, halves), parts = msgspec.json.schema_components(
        [V14, V14Halves], ref_template="#/$defs/{name}"
    )
    split = {"properties": {"workflow": {"required": ["specification"]}}, "required": ["workflow"]}
    return {"if": split, "then": halves, "else": flat, "$defs": parts}
