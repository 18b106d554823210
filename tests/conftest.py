"""What every test may use; no test ever touches the user's own data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send everything the toolkit stores to a folder of this test."""
    store = tmp_path / "store"
    monkeypatch.setenv("TOOLKIT_DATASETS", str(store))
    monkeypatch.delenv("TOOLKIT_TRACEBACK", raising=False)
    return store


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Return the folder of real logs and published instances that tests compare with."""
    named = os.environ.get("TOOLKIT_REFERENCE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("reference data are not here; name their folder in TOOLKIT_REFERENCE_DATA")
    return folder
