"""Which code is running: the commit of a checkout, else the released version."""

from __future__ import annotations

import subprocess
from pathlib import Path

from toolkit import __version__


def revision() -> str:
    """Return the short commit, with ``+`` when files differ from it, or ``v<version>``."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return f"v{__version__}"
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return f"v{__version__}"
    return commit + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
