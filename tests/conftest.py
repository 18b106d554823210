"""What every test may use; no test ever touches the user's own data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from toolkit import tracking_client, tracking_files

# Threads of torch wait for one another as long as they are not all on a core of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send everything the toolkit stores to a folder of this test."""
    store = tmp_path / "store"
    monkeypatch.setenv("TOOLKIT_DATASETS", str(store))
    monkeypatch.delenv("TOOLKIT_TRACEBACK", raising=False)
    return store


@pytest.fixture(scope="session")
def empty_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where MLflow's database lies as it is made, once it has been made; that takes 5 s."""
    return tmp_path_factory.mktemp("record") / "mlflow.db"


@pytest.fixture(autouse=True)
def quick_record(empty_record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let records of this process begin as copies of one empty database."""
    make = tracking_client._create

    def create(file: Path) -> None:
        if not empty_record.exists():
            make(empty_record)
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}.{os.getpid()}")
        shutil.copy(empty_record, aside)
        tracking_files.place(aside, file)
        aside.unlink(missing_ok=True)

    monkeypatch.setattr(tracking_client, "_create", create)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Return the folder of real logs and published instances that tests compare with."""
    named = os.environ.get("TOOLKIT_REFERENCE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("reference data are not here; name their folder in TOOLKIT_REFERENCE_DATA")
    return folder
