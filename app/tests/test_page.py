"""The page is right and safe without JavaScript."""

from datetime import UTC, datetime, timedelta

import pytest

from board.deployments import Deployment, Filters, Page
from board.page import duration, render

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
)


def page(*items: Deployment, next: int | None = None) -> Page:
    return Page(items=list(items), next=next)


def test_row() -> None:
    html = render(page(DEPLOYMENT), Filters(), "r1")
    assert '<tr data-id="7" data-status="rolled_back">' in html
    assert ">rolled back<" in html
    assert '<time data-field="started_at" datetime="2026-01-02T03:04:05+00:00">' in html
    assert "1 min 30 s" in html
    assert "notice" not in html
    assert "Older" not in html


def test_whatever_was_stored_is_escaped() -> None:
    evil = "<script>alert('x')</script>\"$release"
    fields = dict.fromkeys(("app", "host", "release", "version", "message"), evil)
    html = render(page(DEPLOYMENT.model_copy(update=fields)), Filters(), "r1")
    assert "<script>" not in html
    assert "alert(&#x27;x&#x27;)" in html
    assert html.count("$release") == len(fields)


def test_nothing_inline_for_a_strict_policy() -> None:
    html = render(page(DEPLOYMENT), Filters(), "r1")
    assert "<style" not in html
    assert "style=" not in html
    assert " on" not in html.replace(" one", "")
    assert html.count("<script") == html.count("<script src=") == 1


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
