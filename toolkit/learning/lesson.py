"""Lesson: training in one line of Python, for those who hold a dataset in their hands."""

from __future__ import annotations

from typing import Any

import torch
from hydra.utils import instantiate

from toolkit.catalogue import Catalogue
from toolkit.data.audit import check_files
from toolkit.data.dataset import Dataset
from toolkit.errors import ConfigError, unknown
from toolkit.learning.learner import Algorithm, Given, run, silence_gym
from toolkit.policies.learned import Taught, policy_of
from toolkit.progress import progress


def train(algo: str, dataset: Dataset, *, seed: int = 0, **settings: Any) -> Taught:
    """Return a policy that an offline algorithm learnt from a dataset; nothing is stored.

    Args:
        algo: A choice of ``conf/algo``.
        dataset: What is learnt from: its episodes that are for training.
        seed: Fixes initialisation and sampling.
        settings: Those of the YAML that shall differ.

    Raises:
        NotFoundError: When there is no such algorithm or setting; names near ones.
        ConfigError: When the algorithm plays a scenario instead.
    """
    catalogue = Catalogue()
    known = catalogue.groups.get("algo", [])
    if algo not in known:
        raise unknown("algorithm", algo, known)
    values = dict(catalogue.read(f"algo/{algo}"))
    for name in settings:
        if name not in values:
            raise unknown(f"setting of {algo}", name, [k for k in values if k != "_target_"])
    silence_gym()
    algorithm: Algorithm = instantiate({**values, **settings}, _convert_="all")
    if not algorithm.offline:
        raise ConfigError(
            f"{algo} plays a scenario and learns from no dataset",
            hint=f"toolkit train +algo={algo} dataset={dataset.id}",
        )
    check_files(dataset)
    data = dataset.transitions("train")
    given = Given(discount_seconds=dataset.card.discount_seconds, seed=seed, data=data)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same weights whatever the machine
    try:
        with progress(f"training {algo} on {dataset.id}", algorithm.n_steps, "steps") as bar:
            done = 0

            def on_metric(step: int, measured: Any) -> None:
                nonlocal done
                bar.update(step - done, f"loss {measured.get('loss', float('nan')):.3f}")
                done = step

            trained = run(algorithm, given, on_metric)
    finally:
        torch.set_num_threads(threads)
    about = {
        **data.described.to_dict(),
        "lineage": {
            "algo": algo,
            "settings": {**values, **settings},
            "seed": seed,
            "dataset": dataset.id,
            "dataset_digest": dataset.digest,
            "values": algorithm.values,
        },
    }
    return policy_of(trained.network, algo, about)
