"""The page as people meet it: in a real Chromium, with names that mean harm."""

import itertools
import os
import re

import pytest

from leaderboard.evidence import Evidence
from leaderboard.page import page, write
from leaderboard.row import Group
from leaderboard.section import Section
from tests.leaderboard.boards import EVIL, board, row
from tests.leaderboard.browser import Browser, chromium

SERVER = "https://somebody:secret@mlflow.example/base"
SCHEDULES = ".schedules"
VISIBLE = "[...document.querySelectorAll('.board tbody tr')].filter(r => r.offsetParent)"
NAMES = f"{VISIBLE}.map(r => r.cells[0].dataset.sort)"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    both = [
        board(calibration="cal-1", calibration_error=0.162, simulator="3", schema="2"),
        board("genomics_open", seeds=6, simulator="3", schema="2"),
    ]
    target = tmp_path_factory.mktemp("page") / "board.html"
    sections, evidence = zip(*both, strict=True)
    write(page(sections, evidence, target=target, server=SERVER), target)
    return target


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or name one in $CHROMIUM")
    try:
        opened = Browser(program, tmp_path_factory.mktemp("profile"))
    except EOFError:
        if os.getuid() == 0:
            raise
        pytest.skip(f"{program} does not start here; its sandbox may need more rights")
    yield opened
    opened.close()


@pytest.fixture
def shown(browser, file):
    browser.open(file)
    return browser


def value(browser, query, text):
    """Choose an option by its text, as a person does."""
    browser.run(
        f"(s => {{ s.selectedIndex = [...s.options].findIndex(o => o.text === {text!r});"
        f" s.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
        f"(document.querySelector({query!r}))"
    )


@pytest.mark.parametrize(("width", "dark"), [*itertools.product((360, 1280), (False, True))])
def test_nothing_is_asked_for_nothing_complains_and_no_name_runs(browser, file, width, dark):
    browser.open(file, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]
    assert browser.run("window.ran") is None
    assert browser.run("document.images.length") == 0
    told = browser.run("document.body.innerText")
    assert EVIL[:40] in told
    assert "\x1b" not in told


def test_what_a_name_would_smuggle_in_is_refused(shown):
    shown.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=window.ran=3>');"
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.ran = 4'}))"
    )
    shown.run("new Promise(done => setTimeout(done, 50))")
    assert shown.run("window.ran") is None
    assert any("Content Security Policy" in str(c) for c in shown.complaints())


def test_rows_sort_by_mouse_and_by_keyboard(shown):
    head = "document.querySelectorAll('.board thead th')[3]"
    keys = "[...document.querySelector('.board').tBodies[0].rows].map(r => r.cells[3].dataset.sort)"
    shown.run(f"{head}.querySelector('button').click()")
    found = shown.run(keys)
    assert found[:-1] == sorted(found[:-1], key=float, reverse=True)
    assert shown.run(f"{head}.getAttribute('aria-sort')") == "descending"
    shown.run(f"{head}.querySelector('button').focus()")
    shown.press("Enter", text="\r")
    found = shown.run(keys)
    assert found[:-1] == sorted(found[:-1], key=float)
    assert found[-1] == ""  # what failed stays last
    assert shown.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    shown.run("document.querySelector('.board thead button').click()")
    assert shown.run(NAMES)[-1] == "tdca"


def test_rows_are_filtered_by_words_kind_and_suite(shown):
    assert shown.run("document.querySelector('#count').value") == "16 of 16 rows"
    shown.press("/", text="/")
    shown.type("heft sr")
    assert shown.run(NAMES) == ["srpt_heft", "srpt_heft"]
    assert shown.run("document.querySelector('#count').value") == "2 of 16 rows"
    shown.press("Escape")
    assert len(shown.run(NAMES)) == 16
    shown.run("document.querySelector('[value=learned]').click()")
    assert set(shown.run(NAMES)) == {"cql", "iql", shown.run(NAMES)[-1]}
    value(shown, "#suite", "genomics_open")
    assert len(shown.run(NAMES)) == 3
    assert shown.run("document.querySelector('#count').value") == "3 of 16 rows"
    shown.run("document.querySelector('#words').focus()")
    shown.type("mheft")
    assert shown.run(NAMES) == []
    assert "No row matches" in shown.run("document.body.innerText")
    shown.run("document.querySelector('#clear').click()")
    assert len(shown.run(NAMES)) == 16


def test_the_whole_page_is_reached_by_keyboard(shown):
    shown.run("document.activeElement.blur()")
    met = set()
    for _ in range(60):
        shown.press("Tab")
        met.add(shown.run("(e => e.id || e.className || e.localName)(document.activeElement)"))
    assert {"words", "suite", "theme", "summary", "button", "panel"} <= met
    shown.run("document.querySelector('.board summary').focus()")
    shown.press("Enter", text="\r")
    told = shown.run("document.querySelector('.board tbody th').innerText")
    assert "toolkit evaluate suite=workflows_8_stream policies=[cql]" in told
    assert "a" * 40 in told


CONTRAST = """
(() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (c !== "rgba(0, 0, 0, 0)" && c !== "transparent") return c;
    }
  };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !e.offsetParent) continue;
    const [a, b] = [getComputedStyle(e).color, ground(e)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([e.localName, e.className, e.textContent.slice(0, 30), ratio]);
  }
  return bad;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_in_light_and_dark(browser, file, dark):
    browser.open(file, dark=dark)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = browser.run(ground)
    assert (int(re.findall(r"\d+", before)[0]) < 128) == dark
    assert browser.run(CONTRAST) == []
    browser.run("document.querySelector('#theme').click()")
    assert (int(re.findall(r"\d+", browser.run(ground))[0]) < 128) != dark
    assert browser.run(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 360, 768, 1024, 1920])
def test_no_width_makes_the_page_scroll_sideways(browser, file, width):
    browser.open(file, width=width)
    for button in ("[data-more]", ".board summary"):
        browser.run(f"document.querySelectorAll({button!r}).forEach(b => b.click())")
    assert browser.run("document.documentElement.scrollWidth") <= width
    out = (
        "[...document.querySelectorAll('h2, h3, .verdicts li, .badges li, .area, .track, dd, "
        "select, .keys')].filter(e => e.offsetParent && !e.closest('.scroll') && "
        "(e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0))"
        ".map(e => e.className || e.localName)"
    )
    assert browser.run(out) == []


def test_more_measures_come_on_demand_and_wall_clock_is_marked(shown):
    head = "document.querySelector('.board thead').innerText"
    assert "p99" not in shown.run(head)
    shown.run("document.querySelector('[data-more]').click()")
    told = shown.run(head)
    assert "p99" in told
    assert re.search(r"decision\s+ms, measured", told)


def test_what_failed_is_shown_as_failed(shown):
    told = shown.run("document.querySelector('tr.failed').innerText")
    assert "failed" in told
    assert "on 3 workloads" in told
    assert "no slot is allowed" in told
    assert shown.run("document.querySelector('tr.failed .bar')") is None


def test_another_calibration_stands_apart_with_its_error(shown):
    told = "[...document.querySelectorAll('.badges .error')].map(e => e.innerText)"
    assert [" ".join(t.split()) for t in shown.run(told)] == [
        "calibration error 16.2 %",
        "calibration error unknown",
    ]
    assert shown.run("document.querySelectorAll('.board').length") == 2


def test_two_schedules_stand_beside_each_other_on_one_scale(shown):
    heads = f"[...document.querySelectorAll('{SCHEDULES} h4')].slice(0, 2).map(h => h.innerText)"
    boxes = f"[...document.querySelector('{SCHEDULES}').querySelectorAll('.track svg')]"
    scales = f"new Set({boxes}.map(s => s.viewBox.baseVal.width)).size"
    paths = f"{boxes}.map(s => s.innerHTML).join()"
    assert [h.split()[0] for h in shown.run(heads)] == ["cql", "srpt_heft"]
    before = shown.run(paths)
    assert shown.run(scales) == 1
    value(shown, f"{SCHEDULES} [data-side='1']", "random")
    assert [h.split()[0] for h in shown.run(heads)] == ["cql", "random"]
    assert shown.run(paths) != before
    assert shown.run(scales) == 1
    legend = f"document.querySelector('{SCHEDULES} .types').innerText.split('\\n')"
    assert shown.run(legend) == [f"job {i}" for i in range(1, 7)]
    value(shown, f"{SCHEDULES} [data-by]", "by type")
    assert shown.run(legend) == ["quality", "trim", "align", "merge", "call"]
    places = f"[...document.querySelectorAll('{SCHEDULES} .place')].map(e => e.textContent)"
    assert any(p.startswith("cores chosen") for p in shown.run(places))


def test_executions_of_a_place_never_cover_each_other(shown):
    covered = f"""
    [...document.querySelectorAll('{SCHEDULES} .track:not(.strip) svg')].some(svg => {{
      const lanes = new Map();
      for (const path of svg.querySelectorAll('path')) {{
        const boxes = path.getAttribute('d').matchAll(/M([\\d.]+) ([\\d.]+)H([\\d.]+)/g);
        for (const [, a, y, b] of boxes)
          lanes.set(y, [...(lanes.get(y) ?? []), [+a, +b]]);
      }}
      return [...lanes.values()].some(bars => bars.sort((p, q) => p[0] - q[0])
        .some((bar, i) => i && bar[0] < bars[i - 1][1] - 1e-9));
    }})"""
    assert shown.run(covered) is False


def test_an_execution_tells_what_it_is_to_mouse_and_keyboard(shown):
    panel = f"document.querySelector('{SCHEDULES} .panel')"
    readout = f"{panel}.querySelector('.readout').textContent"
    assert shown.run(readout).startswith("120 executions drawn, 12 left out")
    shown.run(f"{panel}.focus()")
    shown.press("ArrowRight")
    first = shown.run(readout)
    assert re.match(r"\w+ of job \d at .+, [\d.]+ to [\d.]+ s$", first)
    shown.press("ArrowRight")
    assert shown.run(readout) != first
    shown.press("ArrowLeft")
    assert shown.run(readout) == first
    shown.run(f"{panel}.scrollIntoView()")
    place = shown.run(
        f"(r => [r.left + r.width * .1, r.top + r.height * .25])"
        f"({panel}.querySelector('.track svg').getBoundingClientRect())"
    )
    shown.point(0, 0)
    shown.point(*place)
    assert " of job " in shown.run(readout)
    assert "at node-a" in shown.run(readout)


def test_profiles_and_curves_are_drawn_and_a_metric_is_chosen(shown):
    lines = "[...document.querySelectorAll('.profile polyline')].map(l => l.getAttribute('points'))"
    found = shown.run(lines)
    assert len(found) == 14
    for line in found:
        heights = [float(p.split(",")[1]) for p in line.split()]
        assert heights == sorted(heights)  # a share above a level never grows with the level
        assert heights[0] == 0
        assert heights[-1] == 100
    metric = "[...document.querySelectorAll('.curves figure')].filter(f => f.offsetParent).length"
    assert shown.run(metric) == 2  # one of each board
    told = "document.querySelector('.curves').innerText"
    assert "19,750" in shown.run(told)
    before = shown.run(told)
    value(shown, "[data-metric]", "score")
    assert shown.run(metric) == 2
    assert shown.run(told) != before


def test_a_row_leads_to_its_run_and_no_password_is_told(shown, file):
    links = "[...document.querySelectorAll('.board dd a')].map(a => a.href)"
    assert shown.run(links)[0] == ("https://mlflow.example/base/#/runs/workflows_8_stream-run-0")
    assert "secret" not in file.read_text("utf-8")


def test_without_scripts_the_page_still_tells_everything(browser, file):
    browser.scripts(allowed=False)
    try:
        browser.open(file)
        told = browser.run("document.body.innerText")
        assert browser.run("document.querySelector('.tools').offsetParent") is None
        assert browser.run("document.querySelectorAll('.curves figure').length") == browser.run(
            "[...document.querySelectorAll('.curves figure')].filter(f => f.offsetParent).length"
        )
    finally:
        browser.scripts(allowed=True)
    for phrase in (
        "cql beats srpt_heft by",
        "calibration cal-1: held-out makespan error 16.2 %",
        "p99",
        "no slot is allowed",
        "rank by mean score",
        "the schedules of 7 policies are drawn here",
    ):
        assert phrase in told


def test_a_thousand_rows_stay_usable(browser, tmp_path):
    rows = tuple(
        row(policy=f"policy-{i:04d}", run_id=f"r{i}", score=1000.0 - i, ci_low=990.0 - i,
            ci_high=1010.0 - i, learned=i % 2 == 0, engine="simulator", failed=0.0)
        for i in range(1000)
    )  # fmt: skip
    target = tmp_path / "many.html"
    section = Section(group=Group(rows), verdicts=[], limit=1000)
    write(page([section], [Evidence()], target=target, server=""), target)
    assert target.stat().st_size < 3_000_000
    browser.open(target)
    assert browser.complaints() == []
    assert len(browser.run(NAMES)) == 1000
    browser.press("/", text="/")
    browser.type("policy-0990")
    assert browser.run(NAMES) == ["policy-0990"]
