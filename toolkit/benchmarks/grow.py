"""Grow: episodes are appended to a dataset as new parts, while others read it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from toolkit.benchmarks.publish import Story, card_of, check_invalid, told, view
from toolkit.data.card import DatasetId
from toolkit.data.dataset import opened
from toolkit.data.place import Place
from toolkit.data.transitions import Description
from toolkit.data.writer import Writer, write_index
from toolkit.errors import ConfigError, require, unknown
from toolkit.store import Product, Store, fingerprint, write_text


def grow(
    store: Store,
    name: str,
    described: Description,
    write: Callable[[Writer], object],
    origin: Mapping[str, Any] | None = None,
    identity: str = "",
) -> Product:
    """Let a dataset grow by episodes.

    Episodes keep the split that they have; new workloads are divided among the splits as those of
    a fresh dataset are, but that what comes after what was held out as later is held out with it.

    Args:
        store: Where it lies.
        name: Its id.
        described: Of the episodes that are to be added.
        write: Adds them to the writer that it is given.
        origin: The trace that they come from.
        identity: Fingerprint of where they come from.

    Raises:
        NotFoundError: When there is no such dataset.
        ConfigError: When the episodes have other columns, come from a trace that is in it already,
            or are in it already.
    """
    with store.alone("datasets", name):
        if not store.exists("datasets", name):
            raise unknown("dataset", name, [p.id for p in store.list("datasets")])
        product = store.get("datasets", name)
        data = opened(Place(product.path))
        if data.described != described:
            raise ConfigError(
                f"the episodes have other columns than {name}: another scenario, reward or version",
                hint="see both: toolkit dataset show; build a dataset of their own instead",
            )
        if origin is not None:
            require(
                len(data.card.traces) > 0,
                f"{name} is generated; a trace would make it another dataset",
                hint="build a dataset of the trace: toolkit dataset build trace=<id>",
            )
            known = [t["digest"] for t in data.card.traces]
            require(origin["digest"] not in known, f"{name} holds trace {origin['id']} already")
        aside = product.path / ".append"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for left in product.path.glob("part-*.parquet"):
            if left.name not in data.parts:
                left.unlink()  # of a growth that was cut short
        before = data.episodes
        writer = Writer(
            aside,
            described,
            discount_seconds=data.card.discount_seconds,
            first_episode=len(before),
            first_part=1 + max(int(p[5:10]) for p in data.parts),
        )
        write(writer)
        added = writer.close()
        check_invalid(added)
        twice = set(before["digest"].to_pylist()) & set(added["digest"].to_pylist())
        require(len(twice) == 0, f"{len(twice)} of the episodes are in {name} already")
        number = _revision(str(product.manifest["about"]["card"])) + 1
        index_name, card_name = f"episodes-{number}.parquet", f"card-{number}.yaml"
        index = write_index(
            aside, index_name, pa.concat_tables([before, added]), before["split"].to_pylist()
        )
        # Measured aside, beside the parts that are there: some read every part that they find.
        for part in data.parts:
            os.link(product.path / part, aside / part)
        story = Story.of(data.card, product.manifest["inputs"].get("calibration", ""))
        story = _longer(story, origin)
        files = [*data.parts, *writer.parts, index_name]
        card, covered = card_of(DatasetId.parse(name), aside, files, described, index, story)
        write_text(product.path / card_name, card.to_yaml())
        for file in [index_name, *writer.parts]:
            (aside / file).replace(product.path / file)
        shutil.rmtree(aside)
        about = product.manifest["about"]
        identity = fingerprint(str(about["identity"]), identity)
        grown = store.revise(
            product,
            [*files, card_name],
            told(card, card_name, index_name, identity, str(about["tier"])),
        )
        view(product.path, card, index, covered)
        return grown


def _longer(story: Story, origin: Mapping[str, Any] | None) -> Story:
    """Return the story of a dataset to which a trace was added."""
    if origin is None:
        return story
    values = {k: v for k, v in vars(story).items() if k not in ("traces", "command")}
    added = f"toolkit dataset build trace={origin['id']} id=<id> append=true"
    return Story(
        **values,
        traces=[*story.traces, origin],
        command=f"{story.command}; {added}",
    )


def _revision(card: str) -> int:
    found = re.match(r"card-(\d+)\.yaml\Z", card)
    return int(found[1]) if found else 1
