"""The only place that knows where configuration and data lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent


def conf_dir() -> Path:
    """Return the folder of the YAML files: inside a wheel, else that of the checkout."""
    shipped = _PACKAGE / "conf"
    return shipped if (shipped / "train.yaml").is_file() else _CHECKOUT / "conf"


def data_root() -> Path:
    """Return the folder that holds everything a user makes.

    ``$TOOLKIT_DATASETS`` wins; a checkout uses its own ``datasets/store``; an installed
    package uses ``~/.toolkit/datasets``. The folder need not exist yet.
    """
    named = os.environ.get("TOOLKIT_DATASETS")
    if named:
        return Path(named).expanduser().resolve()
    if (_CHECKOUT / "conf" / "train.yaml").is_file():
        return _CHECKOUT / "datasets" / "store"
    return Path.home() / ".toolkit" / "datasets"


def samples_dir() -> Path | None:
    """Return the folder of the small datasets that come with a checkout; a wheel has none."""
    folder = _CHECKOUT / "datasets" / "samples"
    return folder if folder.is_dir() else None


def cards_dir() -> Path | None:
    """Return the folder of the cards of the benchmark datasets; a wheel has none."""
    folder = _CHECKOUT / "datasets" / "cards"
    return folder if folder.is_dir() else None


def policies_dir() -> Path | None:
    """Return the folder of the trained policies that come with a checkout; a wheel has none."""
    folder = _CHECKOUT / "datasets" / "policies"
    return folder if folder.is_dir() else None
