"""Scene: state, workload and truth of an episode behind one handle for compiled code.

Compiled functions that pass seventy arrays to one another spend their time passing arrays. They
pass one reference to a struct of them instead; the struct shares the arrays with the tuples that
Python sees, so a change in one is a change in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.extending import infer_getattr, lower_getattr_generic, lower_setattr_generic
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import AttributeTemplate
from numba.experimental import structref

from toolkit.simulator.compiled import njit
from toolkit.simulator.scratch import Scratch, scratch
from toolkit.simulator.state import State
from toolkit.simulator.world import World, unknown
from toolkit.workload import Workload, WorkloadArrays

FIELDS = (*State._fields, *WorkloadArrays._fields, *World._fields, *Scratch._fields)


class _HandleType(types.StructRef):
    def preprocess_fields(self, fields: Any) -> Any:
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


register_default(_HandleType)(models.StructRefModel)


@infer_getattr
class _Fields(AttributeTemplate):
    key = _HandleType

    def generic_resolve(self, kind: Any, name: str) -> Any:  # type: ignore[override]
        return kind.field_dict.get(name)


@lower_getattr_generic(_HandleType)  # type: ignore[untyped-decorator]
def _read(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
    """Load a field; the struct is found without asking for a runtime that lean functions lack."""
    reference = cgutils.create_struct_proxy(kind)(context, builder, value=value)
    # numba's MemInfo: reference count, destructor, its argument, pointer to the data.
    words = builder.bitcast(reference.meminfo, ir.IntType(8).as_pointer().as_pointer())
    data = builder.load(builder.gep(words, [ir.Constant(ir.IntType(32), 3)]))
    payload = kind.get_data_type()
    model = context.data_model_manager[payload].get_value_type()
    struct = cgutils.create_struct_proxy(payload)(
        context, builder, ref=builder.bitcast(data, model.as_pointer())
    )
    return impl_ret_borrowed(context, builder, kind.field_dict[name], getattr(struct, name))


@lower_setattr_generic(_HandleType)  # type: ignore[untyped-decorator]
def _write(context: Any, builder: Any, sig: Any, args: Any, name: str) -> None:
    """Set a field of a new handle."""
    kind, _ = sig.args
    reference = cgutils.create_struct_proxy(kind)(context, builder, value=args[0])
    payload = kind.get_data_type()
    model = context.data_model_manager[payload].get_value_type()
    data = context.nrt.meminfo_data(builder, reference.meminfo)
    struct = cgutils.create_struct_proxy(payload)(
        context, builder, ref=builder.bitcast(data, model.as_pointer())
    )
    context.nrt.incref(builder, sig.args[1], args[1])
    setattr(struct, name, args[1])


class Handle(structref.StructRefProxy):
    """What compiled functions take as ``s``: every array of state, workload and world by name."""


structref.define_proxy(Handle, _HandleType, list(FIELDS))


@njit
def _bundle(parts: Any) -> Any:
    return Handle(*parts)


def bundle(state: State, arrays: WorkloadArrays, world: World) -> Any:
    """Return a handle that shares the arrays of its arguments and has a scratch pad of its own."""
    return _bundle((*state, *arrays, *world, *scratch(arrays)))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An episode at one moment.

    Args:
        workload: What arrives.
        state: What is known.
        world: The truth, where a simulator knows it.
    """

    workload: Workload
    state: State
    world: World

    @cached_property
    def handle(self) -> Any:
        """State, workload and truth, for the engine's own compiled code."""
        return bundle(self.state, self.workload.arrays, self.world)

    @cached_property
    def known(self) -> Any:
        """State and workload without the truth, for compiled policies and features."""
        return bundle(self.state, self.workload.arrays, unknown())

    @cached_property
    def view(self) -> State:
        """The state behind arrays that cannot be written; it goes on with the state."""
        return self.state.read_only()

    def __del__(self) -> None:
        """Give back what lean functions took: each call keeps a reference and counts none."""
        for name in ("handle", "known"):
            bundled = self.__dict__.get(name)
            if bundled is not None:
                owner = bundled._meminfo
                for _ in range(owner.refcount - 1):
                    owner.release()

    def copy(self) -> Scene:
        """Return an independent copy; the workload is shared."""
        return Scene(workload=self.workload, state=self.state.copy(), world=self.world.copy())
