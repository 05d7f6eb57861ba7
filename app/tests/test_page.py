"""The page is right and safe without JavaScript."""

import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from conftest import ROOT

from board import assets
from board.deployments import (
    Deployment,
    DetailedDeployment,
    Figures,
    Filters,
    Page,
    Place,
    Sample,
    Serving,
    Step,
    Summary,
)
from board.page import duration, noticed, render, render_deployment
from board.plot import ticks

sys.path.append(str(ROOT))
import hash_static

DEPLOYMENT = Deployment(
    id=7,
    app="board",
    host="app1",
    release="0a1b",
    version="v1",
    status="rolled_back",
    message=None,
    started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    finished_at=datetime(2026, 1, 2, 3, 5, 35, tzinfo=UTC),
    probe=Figures(requests=12480, failed=3, p50_ms=2, p99_ms=12.34, worst_ms=40),
    log_bytes=1234,
    revision=9,
)
DETAILED = DetailedDeployment(
    **DEPLOYMENT.model_dump(),
    steps=[Step(name="unpack", seconds=3), Step(name="start", seconds=1.5, status="failed")],
    latency=[Sample(at=at, p50_ms=2, p99_ms=at + 9, failed=3 if at == 2 else 0) for at in range(5)],
)


def place(app: str, host: str, version: str | None, status: str = "succeeded") -> Place:
    serving = Serving(id=7, release=f"r{version}", version=version, since=DEPLOYMENT.started_at)
    return Place(
        app=app, host=host, serving=serving if version else None, latest=7, status=status,
        recent=1, recent_failed=0, median_seconds=90,
    )  # fmt: skip


def page(*items: Deployment, next: int | None = None) -> Page:
    return Page(items=list(items), next=next)


def test_row() -> None:
    html = render(page(DEPLOYMENT), Filters(), "r1")
    assert '<tr data-id="7" data-status="rolled_back">' in html
    assert ">rolled back<" in html
    assert '<time data-field="started_at" datetime="2026-01-02T03:04:05+00:00">' in html
    assert "1 min 30 s" in html
    assert "3 of 12,480 failed, p99 12.3 ms" in html
    assert 'href="/deployments/7"' in html
    assert 'class="notice"' not in html
    assert "Older" not in html


def test_whatever_was_stored_is_escaped() -> None:
    evil = "<script>alert('x')</script>\"$release"
    fields = dict.fromkeys(("app", "host", "release", "version", "message"), evil)
    html = render(page(DEPLOYMENT.model_copy(update=fields)), Filters(), "r1")
    assert "<script>" not in html
    assert "alert(&#x27;x&#x27;)" in html
    assert html.count("$release") == len(fields)
    html = render_deployment(
        DETAILED.model_copy(update=fields | {"steps": [Step(name=evil[:30], seconds=1)]}), "r1"
    )
    assert "<script>" not in html and "alert('" not in html
    places = [place(evil, evil, evil)]
    html = render(page(), Filters(), "r1", summary=Summary(places=places, revision=9))
    assert "<script>" not in html and "alert('" not in html


def test_nothing_inline_for_a_strict_policy() -> None:
    for html in (render(page(DEPLOYMENT), Filters(), "r1"), render_deployment(DETAILED, "r1")):
        assert "<style" not in html
        assert "style=" not in html
        assert not re.search(r"<[^>]* on\w+=", html)
        assert html.count("<script") == html.count("<script src=") == 1


def test_files_have_names_by_what_is_in_them() -> None:
    static = ROOT / "static"
    names = {hash_static.key(path): hash_static.hashed(path) for path in static.iterdir()}
    assert names == assets.NAMES, "run: python hash_static.py"
    assert set(names.values()) == {path.name for path in static.iterdir()}
    assert hash_static.module(names) == (ROOT / "src/board/assets.py").read_text()
    for html in (render(page(), Filters(), "r1"), render_deployment(DETAILED, "r1")):
        assert set(re.findall(r"/static/([^\"]+)", html)) == set(names.values())


def test_what_runs_where_says_a_release_once_and_the_most_common_first() -> None:
    places = [
        place("shop", "app1", "v1"),
        place("shop", "app2", "v2"),
        place("shop", "app3", "v2", "failed"),
        place("tills", "app1", None, "running"),
    ]
    html = render(page(), Filters(), "r1", summary=Summary(places=places, revision=9))
    assert html.count("<h3>") == 2
    assert html.index("<b>v2</b>") < html.index("<b>v1</b>")
    assert "2 hosts" in html and "nothing yet" in html
    assert ">app3 (failed)<" in html
    assert 'data-last="9"' in html


def test_the_page_of_a_deployment_says_in_words_what_it_draws() -> None:
    html = render_deployment(DETAILED, "r1")
    assert "p99 at most 13 ms, after 4 s" in html
    assert html.count("<polyline") == 2
    assert html.count('class="failed"') == 1
    assert '<span class="lost">failed</span>' in html  # what that line is
    assert "1.5 s (failed)" in html
    assert "<dt>Requests</dt><dd>12,480</dd>" in html
    assert 'href="/api/deployments/7/log"' in html
    bare = DETAILED.model_copy(update={"latency": [], "steps": [], "log_bytes": None})
    html = render_deployment(bare, "r1")
    assert "<svg" not in html and "/log" not in html and "Steps" not in html


@pytest.mark.parametrize("largest", [0, 1e-6, 0.3, 1, 4.9, 5, 99, 1e9])
def test_ticks_are_round_and_reach_beyond(largest: float) -> None:
    found = ticks(largest)
    assert found[0] == 0 and found[-1] >= largest
    assert 2 <= len(found) <= 7


def test_noticed() -> None:
    assert noticed(None) == ""
    assert noticed(Figures(requests=1234, failed=0)) == "0 of 1,234 failed"


def test_links_keep_the_filters() -> None:
    html = render(page(DEPLOYMENT, next=7), Filters(app="board", host="app1"), "r1")
    assert '<a rel="next" href="/?app=board&amp;host=app1&amp;before=7">' in html
    assert '<a href="/?host=app1" aria-label="Remove the filter app board">' in html


@pytest.mark.parametrize(
    ("filters", "notice"),
    [(Filters(), "No deployments yet."), (Filters(app="x"), "Nothing matches.")],
)
def test_empty(filters: Filters, notice: str) -> None:
    assert notice in render(page(), filters, "r1")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (90061, "25 h 1 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text
