"""Names: the short type of a task, from what a kernel or an annotation is called."""

from __future__ import annotations

import re

LONGEST = 4096
"""Characters of a name that are read."""

LONG = 200
"""Characters of a type."""


def short(name: str) -> str:
    """Return the name of a kernel without return type, template and call arguments.

    ``void at::native::reduce_kernel<512, 1, ...>(at::native::ReduceOp<...>)`` becomes
    ``at::native::reduce_kernel``.
    """
    text = name[:LONGEST].replace("(anonymous namespace)", "").replace("->", "")
    kept, depth = [], 0
    for letter in text:
        if letter in "<([{":
            depth += 1
        elif letter in ">)]}":
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(letter)
    plain = re.sub(r"(?:::)+", "::", "".join(kept)).strip().removeprefix("void ")
    return plain.strip(" :")[:LONG] or name[:LONG]


def annotated(name: str) -> str:
    """Return the type in ``task:type=matmul,batch=8`` or ``task:matmul``, else the whole name."""
    if not name.startswith("task:"):
        return name[:LONG]
    parts = name[5:].split(",")
    typed = [p.partition("=")[2] for p in parts if p.strip().startswith("type=")]
    return (typed[0] if typed else parts[0]).strip()[:LONG]
