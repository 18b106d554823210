"""Where a row leads: to its run on a server, to the card of its dataset."""

import pytest

from leaderboard.links import card_link, run_link
from toolkit.paths import cards_dir, data_root


def test_a_run_is_linked_where_a_server_keeps_it():
    assert run_link("http://127.0.0.1:5000", "abc") == "http://127.0.0.1:5000/#/runs/abc"
    assert run_link("https://a:b@h/x/", "abc") == "https://h/x/#/runs/abc"
    assert run_link("https://h", "a/b?c#d") == "https://h/#/runs/a%2Fb%3Fc%23d"


@pytest.mark.parametrize(
    "server", ["sqlite:////tmp/mlflow.db", "javascript:alert(1)", "", "databricks"]
)
def test_no_server_no_link(server):
    assert run_link(server, "abc") == ""


def test_a_card_is_linked_from_where_the_page_lies():
    card = data_root() / "datasets" / "placement" / "x-v1" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("# card")
    page = data_root() / "boards" / "leaderboard.html"
    link = card_link("placement/x-v1", page)
    assert link == "../datasets/placement/x-v1/README.md"
    assert (page.parent / link).resolve() == card.resolve()


def test_a_card_of_the_checkout_is_linked_from_inside_it_only(tmp_path):
    name = "placement/workflows-8-stream-mixed-v1"
    inside = cards_dir().parent / "store" / "boards" / "b.html"
    assert card_link(name, inside) == f"../../cards/{name}.yaml"
    assert card_link(name, tmp_path / "elsewhere.html") == ""


@pytest.mark.parametrize(
    "name", ["", "../../etc", "placement/none-v9", "/etc/passwd", "a/../b", "A b"]
)
def test_what_is_no_dataset_is_not_linked(name):
    assert card_link(name, data_root() / "boards" / "b.html") == ""
