"""The catalogue in ``docs/datasets.md`` says what the published cards say.

``python -m tests.benchmarks.test_catalogue`` writes it anew.
"""

from pathlib import Path

import pytest

from toolkit.benchmarks.show import to_build
from toolkit.data.card import DatasetCard, DatasetId
from toolkit.data.dataset import shipped
from toolkit.paths import cards_dir

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "datasets.md"
BEGIN, END = "<!-- catalogue -->\n", "<!-- /catalogue -->"
MOST = 20_000_000


def cards():
    folder = cards_dir()
    files = sorted(folder.glob("*/*.yaml")) if folder else []
    return [DatasetCard.from_yaml(f.read_text("utf-8"), f.name) for f in files]


def catalogue():
    lines = [
        "| dataset | decisions | episodes | mean return | quality | random | static | HEFT "
        "| best | bound |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for card in cards():
        total = sum(b["episodes"] * b["return_mean"] for b in card.behaviour.values())
        known = [card.reference.get(r) for r in ("random", "static", "heft", "best", "bound")]
        shown = [f"{k['value']:.4g}" if k else "–" for k in known]
        if card.reference:
            shown[3] += f" ({card.reference['best']['policy']})"
        quality = card.coverage["trajectory_quality"]
        lines.append(
            f"| `{card.id}` | {card.transitions:,} | {card.episodes:,} | "
            f"{total / card.episodes:.4g} | {'–' if quality is None else f'{quality:.2f}'} | "
            + " | ".join(shown)
            + " |"
        )
    return "\n".join(lines) + "\n"


def test_the_page_says_what_the_cards_say():
    _, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    assert rest.partition(END)[0] == catalogue(), "python -m tests.benchmarks.test_catalogue"


def test_every_benchmark_dataset_has_a_card_and_a_sample():
    published = {c.id for c in cards()}
    generated = {name for name, _ in to_build()}
    assert generated <= published
    samples = {d.id for d in shipped()}
    assert {f"{name}-sample" for name in generated} <= samples
    assert published - generated <= samples, "recorded data are shipped whole"


def test_every_family_has_recorded_data():
    real = {DatasetId.parse(c.id).family for c in cards() if c.traces}
    assert real == {"placement", "allocation", "configuration"}


@pytest.mark.parametrize("card", cards(), ids=lambda c: c.id)
def test_full_datasets_have_a_million_decisions_and_scores_in_order(card):
    if not card.traces:
        assert card.transitions >= 1_000_000
    values = {role: told["value"] for role, told in card.reference.items()}
    assert values["random"] < values["best"] <= values["bound"]
    assert values["heft"] <= values["best"] and values["static"] <= values["best"]


def test_samples_stay_small():
    folder = ROOT / "datasets" / "samples"
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= MOST


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + catalogue() + END + rest.partition(END)[2], "utf-8")
