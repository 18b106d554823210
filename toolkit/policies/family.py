"""Which family of decisions a policy is made for."""

from __future__ import annotations

from toolkit.errors import require
from toolkit.workload import FAMILIES, Workload

_FITTING = {
    "placement": "fifo, shortest_work, fifo_deft, linear, srpt_heft; random fits all",
    "allocation": "static, static_history, reactive, mheft; random fits all",
    "configuration": "largest, best_static, least_expected, model_greedy; random fits all",
}
"""Some policies of each family, to name where another one was tried."""


def require_family(policy: str, family: int, workload: Workload) -> None:
    """Refuse a workload of another family than a policy is made for.

    Args:
        policy: Name of the policy.
        family: ``PLACEMENT``, ``ALLOCATION`` or ``CONFIGURATION``.
        workload: What is to be scheduled.

    Raises:
        ConfigError: Naming policies that fit the workload.
    """
    given = FAMILIES[workload.family]
    require(
        workload.family == family,
        f"policy {policy!r} decides {FAMILIES[family]}; this scenario asks for {given}",
        hint=f"policies for {given}: {_FITTING[given]}",
    )
