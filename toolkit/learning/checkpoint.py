"""Checkpoint: all that decides how a training goes on, in one file that executes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from toolkit.errors import CorruptError

_NUMBERS = "numbers"
_AGAIN = "remove it, and the training begins again"


@dataclass(frozen=True, kw_only=True)
class State:
    """A training between two steps.

    Args:
        tensors: Weights, moments of the optimisers, states of torch's generators.
        numbers: Counters and states of NumPy's generators; JSON-able.
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Any]


def packed(
    modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]
) -> dict[str, Tensor]:
    """Return the tensors of modules and optimisers by name, as they are now."""
    tensors = {
        f"{name}.{key}": value.detach().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    for name, optimiser in optimisers.items():
        for i, parameter in enumerate(_parameters(optimiser)):
            for key, value in optimiser.state.get(parameter, {}).items():
                tensors[f"{name}.{i}.{key}"] = torch.as_tensor(value).detach().clone()
    return tensors


def unpack(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
) -> None:
    """Put back what :func:`packed` returned.

    Raises:
        CorruptError: When tensors are missing or of other sizes.
    """
    try:
        for name, module in modules.items():
            start = f"{name}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            module.load_state_dict(own)
        for name, optimiser in optimisers.items():
            fused = any(group.get("fused") for group in optimiser.param_groups)
            for i, parameter in enumerate(_parameters(optimiser)):
                start = f"{name}.{i}."
                own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
                for key, value in own.items():
                    # Adam counts its steps on the CPU, unless it is fused.
                    there = fused or value.shape == parameter.shape
                    optimiser.state[parameter][key] = value.to(
                        parameter.device if there else value.device
                    )
    except RuntimeError as error:
        raise CorruptError("a checkpoint is of another network", hint=_AGAIN) from error


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [p for group in optimiser.param_groups for p in group["params"]]


def state_of(rng: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator, JSON-able."""
    return dict(rng.bit_generator.state)


def save(file: Path, state: State) -> None:
    """Write a state aside, then move it into place."""
    aside = file.with_name(f".{file.name}.tmp")
    tensors = {k: v.contiguous().cpu() for k, v in state.tensors.items()}
    save_file(tensors, aside, metadata={_NUMBERS: json.dumps(dict(state.numbers))})
    aside.replace(file)


def load(file: Path) -> State:
    """Read what :func:`save` wrote.

    Raises:
        CorruptError: When the file is damaged.
    """
    try:
        with safe_open(file, "pt") as opened:
            numbers = json.loads(opened.metadata()[_NUMBERS])
            return State(
                tensors={k: opened.get_tensor(k) for k in opened.keys()},  # noqa: SIM118
                numbers=numbers,
            )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptError(f"the checkpoint {file} cannot be read", hint=_AGAIN) from error
