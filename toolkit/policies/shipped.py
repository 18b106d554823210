"""Shipped: the trained policies that come with a checkout, each a folder with its card."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from toolkit.paths import policies_dir

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")


def folders() -> dict[str, Path]:
    """Return the folders of the policies by name."""
    root = policies_dir()
    if root is None:
        return {}
    return {
        p.parent.name: p.parent
        for p in sorted(root.glob("*/policy.json"))
        if _NAME.match(p.parent.name)
    }


def digest(folder: Path) -> str:
    """Return what changes whenever the policy in a folder may behave otherwise."""
    h = hashlib.sha256()
    for name in ("policy.json", "policy.safetensors"):
        h.update((folder / name).read_bytes())
    return h.hexdigest()
