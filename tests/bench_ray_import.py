"""Figures of the import of Ray's records, each a ratio measured side by side in one run."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from pathlib import Path

from collectors.completeness import Completeness
from collectors.ray.export_events import read_export_events
from collectors.ray.http_events import read_http_events
from collectors.ray.importer import RayImporter
from collectors.run_writer import RunWriter
from collectors.streams import Limits

SAMPLES = Path(__file__).parent / "collectors" / "samples" / "ray"
ROUNDS, TASKS = 5, 4000


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and the values of five rounds."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_rows(Path(folder))]


def _rows(folder: Path) -> list[tuple[str, str, list[float]]]:
    export, http = folder / "export.jsonl", folder / "http.jsonl"
    export.write_text(_many((SAMPLES / "export_events.jsonl").read_text("utf-8").splitlines()))
    events = [
        json.dumps(e)
        for line in (SAMPLES / "http_events.jsonl").read_text("utf-8").splitlines()
        for e in json.loads(line)
    ]
    http.write_text(_many(events))
    found = []
    for label, file, read in (
        ("Ray export events", export, read_export_events),
        ("Ray HTTP events", http, read_http_events),
    ):
        plain, folded, whole = [], [], []
        for k in range(ROUNDS):
            plain.append(_seconds(lambda f=file: [json.loads(x) for x in f.open("rb")]))
            folded.append(_seconds(lambda f=file, r=read: r([f], Limits(), Completeness())))
            whole.append(_seconds(lambda f=file, n=k: _import(f, folder / f"{f.stem}-{n}")))
        ratio = [p / f for p, f in zip(plain, folded, strict=True)]
        found.append((f"{label}: json.loads of the lines / reading them folded", "x", ratio))
        ratio = [p / w for p, w in zip(plain, whole, strict=True)]
        found.append((f"{label}: json.loads of the lines / whole import to Parquet", "x", ratio))
        found.append((f"{label}: attempts imported per second", "1/s", [TASKS / w for w in whole]))
    return found


def _many(lines: list[str]) -> str:
    """Repeat the lines about one plain task for many tasks; the others stay as they are."""
    first = next(x for x in lines if '"merge"' in x and "PENDING" not in x)
    data = json.loads(first)
    data = data.get("event_data") or data["taskDefinitionEvent"]
    name = data.get("task_id") or data["taskId"]
    mine = [x for x in lines if name in x and '"type":' not in x]
    told = [x for x in lines if name not in x]
    for k in range(TASKS):
        new = base64.b64encode(k.to_bytes(20, "big") + b"\x01\0\0\0").decode()
        told += [x.replace(name, new) for x in mine]
    return "\n".join(told) + "\n"


def _import(file: Path, folder: Path) -> None:
    importer = RayImporter()
    writer = RunWriter(folder, 0, importer.extra)
    [log] = importer.find(file)
    importer.read(log, writer, Limits())
    writer.close()


def _seconds(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    for label, unit, values in rows():
        print(f"{label:<75} {sorted(values)[len(values) // 2]:10.2f} {unit}")
