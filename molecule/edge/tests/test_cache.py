"""Answers that are kept: asked for once, no longer than they may be, for nobody else, and not beyond a release."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import httpx
import pytest
from tests.stack import ROOT, Stack, eventually, play

names = count(time.time_ns())


@pytest.fixture
def page() -> str:
    """Return the address of a page that nobody has asked for yet; it is kept for 2 s, and used for 600 s after that."""
    return f"https://edge.test/news/{next(names)}"


def ask(stack: Stack, url: str, **more: object) -> tuple[str, int]:
    """Return whether the cache had an answer, and how often the application has made one."""
    answer = stack.get(url, **more)
    assert answer.status_code == 200, answer.text
    return answer.headers.get("X-Cache", ""), answer.json()["calls"]


def test_an_answer_is_kept_and_then_renewed_in_the_background(stack: Stack, page: str) -> None:
    assert ask(stack, page) == ("MISS", 1)
    assert ask(stack, page) == ("HIT", 1)
    time.sleep(3.2)  # Nginx counts whole seconds
    # The client who comes first gets the old one at once; the next the new one.
    assert ask(stack, page) == ("STALE", 1)
    assert eventually(lambda: ask(stack, page)[1] >= 2)


def test_what_many_ask_for_at_once_is_asked_of_the_application_once(
    stack: Stack, page: str
) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(stack, f"{page}?pause=1.5"), range(12)))
    assert {calls for _, calls in answers} == {1}


def test_pages_go_on_when_the_application_is_down(stack: Stack, page: str) -> None:
    assert ask(stack, page) == ("MISS", 1)
    slot = stack.run("basename $(readlink /srv/edge/live)").strip()
    stack.run(f"systemctl stop edge@{slot}")
    try:
        time.sleep(3.2)  # Nginx counts whole seconds
        for _ in range(3):
            assert ask(stack, page) == ("STALE", 1)
        assert stack.get(f"https://edge.test/news/{next(names)}").status_code == 502
    finally:
        stack.run(f"systemctl start edge@{slot}")
        assert eventually(lambda: stack.get("https://edge.test/up").status_code == 200, 30)


def test_a_failure_is_not_kept(stack: Stack, page: str) -> None:
    url = f"{page}?status=500"
    answer = stack.get(url)
    assert (answer.status_code, answer.headers["X-Cache"]) == (500, "MISS")
    assert stack.get(url).headers["X-Cache"] == "MISS", "a failure was kept"


@pytest.mark.parametrize(
    "header",
    [
        "Cache-Control: no-store",
        "Cache-Control: private, max-age=60",
        "Cache-Control: no-cache",
        "Set-Cookie: a=b",
        "Vary: *",
    ],
)
def test_what_the_application_keeps_for_itself_is_not_kept(
    stack: Stack, page: str, header: str
) -> None:
    url = str(httpx.URL(page, params={"header": header}))
    assert [ask(stack, url)[1] for _ in range(2)] == [1, 2]


def test_the_application_says_for_how_long(stack: Stack, page: str) -> None:
    url = str(httpx.URL(page, params={"header": "Cache-Control: max-age=60"}))
    assert ask(stack, url) == ("MISS", 1)
    time.sleep(3.2)  # Nginx counts whole seconds
    assert ask(stack, url) == ("HIT", 1)


def test_languages_are_told_apart(stack: Stack, page: str) -> None:
    url = str(httpx.URL(page, params={"header": "Vary: Accept-Language"}))
    for language in ("de", "en", "de", "en"):
        answer = stack.get(url, headers={"Accept-Language": language})
        assert answer.json()["language"] == language
    assert answer.headers["X-Cache"] == "HIT"


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer mine"}, {"Cookie": "session=mine"}], ids=str
)
def test_what_is_for_one_client_is_given_to_no_other(
    stack: Stack, page: str, headers: dict[str, str]
) -> None:
    assert ask(stack, page, headers=headers) == ("BYPASS", 1)
    assert ask(stack, page) == ("MISS", 2)
    assert ask(stack, page, headers=headers) == ("BYPASS", 3)
    assert ask(stack, page) == ("HIT", 2)


def test_what_nobody_has_asked_to_keep_is_not_kept(stack: Stack) -> None:
    url = f"https://edge.test/private/{next(names)}"
    assert [ask(stack, url) for _ in range(2)] == [("", 1), ("", 2)]


def test_maintenance_beats_the_cache(stack: Stack, page: str) -> None:
    assert ask(stack, page) == ("MISS", 1)
    folder = "/var/lib/slipway/maintenance/edge"
    stack.run(f"mkdir -p {folder} && touch {folder}/on && echo closed > {folder}/page.html")
    try:
        assert stack.get(page).status_code == 503
    finally:
        stack.run(f"rm -r {folder}")
    assert ask(stack, page)[1] == 1


def test_a_release_and_a_rollback_empty_the_cache(page: str, inventory: Path) -> None:
    stacks = [Stack(name, ROOT / f".slipway/edge/{name}.pem") for name in ("edge13", "edge12")]
    url = str(httpx.URL(page, params={"header": "Cache-Control: max-age=600"}))
    source = ROOT / ".slipway/edge/edge/main.py"
    first = source.read_text()

    def served(greeting: str) -> None:
        for stack in stacks:
            answers = [stack.get(url) for _ in range(2)]
            assert [answer.json()["greeting"] for answer in answers] == [greeting] * 2
            assert answers[1].headers["X-Cache"] == "HIT"

    def run(playbook: str) -> subprocess.CompletedProcess[str]:
        done = play(f"playbooks/{playbook}.yml", inventory, "-e", "app=edge")
        assert done.returncode == 0, done.stdout[-3000:]
        return done

    served("first")
    try:
        source.write_text(first.replace('"first"', '"second"'))
        run("deploy")
        served("second")
        run("rollback")
        served("first")
    finally:
        source.write_text(first)
