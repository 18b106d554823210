"""Lachesis: Decima's way of learning over features that know unequal devices and data.

Zhou, Li, Luo, Yuan, Zeng and Yao, Learning to Optimize DAG Scheduling in Heterogeneous
Environment, IEEE MDM 2022, doi:10.1109/MDM55031.2022.00040, arXiv 2103.06980. A graph network
selects, DEFT allocates and is part of the environment in which is learnt. The network and the way
it learns are taken from Decima, which the paper builds on; which features it sees is decided in
:mod:`toolkit.features.graph`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolkit.learning.decima import Decima


@dataclass(frozen=True, kw_only=True)
class Lachesis(Decima):
    """Hyper-parameters of Lachesis, those of Decima."""

    title: ClassVar[str] = "lachesis"
