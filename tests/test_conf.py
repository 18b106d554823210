"""``conf/`` is the registry: every file in it composes, names a real type and builds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from toolkit.catalogue import Catalogue
from toolkit.cli import COMMANDS
from toolkit.invocation import Invocation, with_plus_signs
from toolkit.paths import conf_dir

CATALOGUE = Catalogue()
PRIMARIES = sorted(path.stem for path in conf_dir().glob("*.yaml"))
CHOICES = [(group, name) for group, names in CATALOGUE.groups.items() for name in names]
EXTRAS = {"ray"}
"""Packages that need not be installed."""


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def composed(group: str, choice: str) -> DictConfig:
    """Return a choice as a command that reads it sees it, else by itself."""
    for primary in PRIMARIES:
        if group in CATALOGUE.used_by(primary):
            words = with_plus_signs(
                Invocation(command=primary, options={}, overrides=[f"{group}={choice}"])
            )
            return OmegaConf.select(compose(primary, words), group.replace("/", "."))
    config = compose(f"{group}/{choice}")
    if CATALOGUE.is_global(group, choice):
        return config
    return OmegaConf.select(config, group.replace("/", "."))


def targets(node: Any) -> Iterator[DictConfig]:
    """Yield every mapping with a ``_target_`` in a configuration, the innermost first."""
    if isinstance(node, DictConfig):
        for key in node:
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from targets(node[key])
        if "_target_" in node:
            yield node
    elif isinstance(node, ListConfig):
        for item in node:
            yield from targets(item)


@pytest.mark.parametrize("primary", PRIMARIES)
def test_primary_composes(primary: str) -> None:
    config = compose(primary)
    assert primary.replace("_", " ") in COMMANDS
    assert config.format == "text"


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids="/".join)
def test_choice_composes(group: str, choice: str) -> None:
    assert composed(group, choice) is not None


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids="/".join)
def test_choice_is_described(group: str, choice: str) -> None:
    assert CATALOGUE.summary(f"{group}/{choice}")


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids="/".join)
def test_keys_are_the_fields_of_a_frozen_dataclass(group: str, choice: str) -> None:
    for node in targets(composed(group, choice)):
        target = _type(node["_target_"])
        fields = {field.name: field for field in dataclasses.fields(target) if field.init}
        assert target.__dataclass_params__.frozen, f"{target.__name__} must be frozen"
        assert all(f.kw_only for f in fields.values()), f"{target.__name__} must be keyword-only"
        keys = {str(key) for key in node if not str(key).startswith("_")}
        needed = {
            field.name
            for field in fields.values()
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        }
        assert keys <= fields.keys()
        assert needed <= keys


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids="/".join)
def test_choice_builds(group: str, choice: str) -> None:
    config = composed(group, choice)
    if not isinstance(config, DictConfig) or "_target_" not in config:
        return
    if OmegaConf.missing_keys(config):
        pytest.skip("has values that only the user can give")
    built = instantiate(config)
    assert type(built) is _type(config["_target_"])


def _type(target: str) -> Any:
    try:
        return get_class(target)
    except (ImportError, InstantiationException) as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name in EXTRAS:
            pytest.skip(f"needs {error.__cause__.name}")
        raise
