"""Table: every number of the board as CSV (RFC 4180), for a spreadsheet or a script."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from leaderboard.row import Row
from leaderboard.section import Section

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table(sections: Sequence[Section]) -> str:
    """Return a header and a line per row shown; numbers in full, empty where not measured.

    Texts that a spreadsheet would run as a formula begin with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    names = [f.name for f in fields(Row)]
    writer.writerow(["board", "rank", *names])
    for number, section in enumerate(sections, 1):
        for rank, row in enumerate(section.rows, 1):
            writer.writerow([number, rank, *(_cell(getattr(row, n)) for n in names)])
    return out.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else ""
    text = str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
