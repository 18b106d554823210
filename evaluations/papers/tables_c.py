"""Tables of paper C."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from scipy import stats

from evaluations.cells import BOUND
from evaluations.papers.findings_c import gain_of, gains
from evaluations.verdicts.report import Table, interval
from toolkit.seeding import generator
from toolkit.statistics import bootstrap, mean


def gains_table(batches: Mapping[int, pd.DataFrame], policy: str, heft: Mapping[int, str]) -> Table:
    """Return what each policy's makespan is below HEFT's, and at most could be."""
    rows = []
    for m, frame in batches.items():
        for n in dict.fromkeys([policy, *(p for p in frame["policy"] if p != heft[m])]):
            ways = gains(frame, n, heft[m])
            g = gain_of(ways)
            t, p = (float(v) for v in stats.ttest_1samp(-ways["log"], 0.0))
            bound = n == BOUND
            rows.append(
                {
                    "devices": m,
                    "policy": "(no policy beyond)" if bound else n,
                    "below HEFT [95 % CI]": interval(g.value, g.low, g.high),
                    "paired t": "–" if bound else f"{t:.1f}",
                    "p": "–" if bound else f"{p:.2g}",
                    "n": len(ways),
                }
            )
    return Table(
        caption="Reduction of the makespan against HEFT, 1 − geometric mean of ratios over all "
        "batches; below 0: longer.",
        frame=pd.DataFrame(rows),
    )


def dags_table(
    kinds: Mapping[str, Mapping[int, pd.DataFrame]], policy: str, heft: Mapping[int, str]
) -> Table:
    """Return means on single workflows and on streams."""
    rows = []
    for kind, by_devices in kinds.items():
        for m, frame in by_devices.items():
            for n, own in frame.groupby("policy", sort=False):
                if n == BOUND:
                    continue
                row = {"workloads": f"{kind}, {m} devices", "policy": n}
                for metric in ("latency_mean", "makespan", "slr", "speedup", "decision_ms"):
                    row[metric] = float(own[metric].mean())
                rows.append(row)
    return Table(
        caption="Mean completion time and makespan, s; schedule length ratio; speedup; ms of a "
        "decision (measured).",
        frame=pd.DataFrame(rows),
    )


def transfer_table(transfer: pd.DataFrame) -> Table:
    """Return the advantage over HEFT where the policy was trained and elsewhere."""
    rows = []
    for name, own in transfer.groupby("ground", sort=False):
        g = bootstrap(own["gain"].to_numpy(), generator(0, "transfer"), statistic=mean)
        rows.append(
            {
                "streams": name,
                "HEFT": own["heft"].iloc[0],
                "advantage [95 % CI]": interval(g.value, g.low, g.high),
                "n": len(own),
            }
        )
    return Table(
        caption="Advantage in mean completion time, (HEFT − policy)/HEFT, without fine-tuning.",
        frame=pd.DataFrame(rows),
    )
