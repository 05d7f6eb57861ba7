"""Between on and off clients get a page that says so, and nothing else: no error, no answer that was lost."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from tests.stack import STYLE, Stack, changes, play

Switch = Callable[..., subprocess.CompletedProcess[str]]
PLAYBOOK = "playbooks/maintenance.yml"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def switch(stack: Stack, inventory: Path) -> Iterator[Switch]:
    """Return what switches the maintenance of the board, which is off at the end."""

    def run(state: str, **more: object) -> subprocess.CompletedProcess[str]:
        given = json.dumps({"app": "board", "state": state, **more})
        done = play(PLAYBOOK, inventory, "--limit", stack.name, "-e", given)
        assert done.returncode == 0, done.stdout[-3000:]
        return done

    yield run
    run("off")


@dataclass
class Load:
    """Clients that ask, each on a connection that it keeps or on a new one each time, and note what they get."""

    stack: Stack
    seen: list[str] = field(default_factory=list)
    stop: Event = field(default_factory=Event)

    def ask(self, keep: bool) -> None:
        """Ask, ten times a second, until told to stop."""
        url = httpx.URL("https://board.test/readyz").copy_with(host=self.stack.address)
        more = {"headers": {"Host": "board.test"}, "extensions": {"sni_hostname": "board.test"}}

        def client() -> httpx.Client:
            return httpx.Client(verify=self.stack.context(), timeout=10)

        kept = client()
        while not self.stop.wait(0.1):
            try:
                if keep:
                    answer = kept.get(url, **more)  # type: ignore[arg-type]
                else:
                    with client() as fresh:
                        answer = fresh.get(url, **more)  # type: ignore[arg-type]
                page = "Down for maintenance" in answer.text
                self.seen.append("page" if page else str(answer.status_code))
            except httpx.HTTPError as error:
                self.seen.append(repr(error))
        kept.close()

    def __enter__(self) -> Load:
        """Begin."""
        self.threads = [Thread(target=self.ask, args=(number % 2 == 0,)) for number in range(4)]
        for thread in self.threads:
            thread.start()
        return self

    def since(self, count: int) -> set[str]:
        """Return what was seen since there were so many answers, once there are some more."""
        while len(self.seen) < count + 20:
            self.stop.wait(0.1)
        return set(self.seen[count:])

    def __exit__(self, *_: object) -> None:
        """End."""
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_on_and_off_lose_nothing_under_load(stack: Stack, switch: Switch) -> None:
    with Load(stack) as load:
        assert load.since(0) == {"200"}
        switch("on")
        assert load.since(len(load.seen) + 4) == {"page"}  # four may have been under way
        switch("off")
        assert load.since(len(load.seen) + 4) == {"200"}
    assert set(load.seen) == {"200", "page"}


def test_nginx_is_neither_reloaded_nor_restarted(stack: Stack, switch: Switch) -> None:
    processes = stack.run("ps -C nginx -o pid=")
    switch("on")
    assert stack.get("https://board.test/").status_code == 503
    assert stack.run("ps -C nginx -o pid=") == processes


def test_a_browser_gets_a_page_and_a_program_a_problem(stack: Stack, switch: Switch) -> None:
    switch("on", message="Back at 14:00 <script>")
    page = stack.get("https://board.test/?a=b", headers=BROWSER)
    assert page.status_code == 503
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    assert int(page.headers["Retry-After"]) > 0
    assert page.headers["X-Request-ID"]
    assert "Back at 14:00 &lt;script&gt;" in page.text

    problem = stack.get(
        "https://board.test/api/deployments", headers={"Accept": "application/json"}
    )
    assert problem.status_code == 503
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert problem.headers["Cache-Control"] == "no-store"
    assert problem.json()["status"] == 503
    assert problem.json()["detail"] == "Down for maintenance. Back at 14:00 <script>"


def test_whatever_is_asked_of_it_is_answered_so(stack: Stack, switch: Switch) -> None:
    switch("on")
    for path in ("/", STYLE, "/api/deployments"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            # By HTTP/1.1, since httpx sends a body by HTTP/2 to its end before it looks for an answer.
            more = {"content": b"x" * 100_000, "http2": False} if method in ("POST", "PUT") else {}
            answer = stack.request(method, f"https://board.test{path}", **more)
            assert answer.status_code == 503, (method, path)
            assert ("Down for maintenance" in answer.text) == (method != "HEAD"), (method, path)


def test_others_are_not_touched_and_it_goes_on_running(stack: Stack, switch: Switch) -> None:
    switch("on")
    assert stack.get("https://notes.test/up").status_code == 200
    slot = stack.run("readlink /srv/board/live").strip().removeprefix("slots/")
    assert stack.host.service(f"board@{slot}").is_running
    assert (
        stack.run(
            "curl -s --unix-socket /srv/board/live/app.sock -o /dev/null -w '%{http_code}' http://board.test/readyz"
        )
        == "200"
    )
    # The page is no path of its own.
    assert stack.get("https://notes.test/.slipway/maintenance/board/page.html").status_code == 404


def test_a_request_that_has_begun_ends_as_it_would_have(stack: Stack, switch: Switch) -> None:
    body = json.dumps(
        {
            "app": "board",
            "host": "h",
            "release": "0123456789ab",
            "version": None,
            "started_at": "2026-01-01T00:00:00Z",
        }
    ).encode()
    head = f"POST /api/nothing HTTP/1.1\r\nHost: board.test\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with (
        socket.create_connection((stack.address, 443), timeout=20) as connection,
        stack.context().wrap_socket(connection, server_hostname="board.test") as tls,
    ):
        tls.sendall(head.encode() + body[:10])
        switch("on")
        assert stack.get("https://board.test/").status_code == 503
        tls.sendall(body[10:])
        # The application's own answer to a path that it doesn't have.
        assert tls.makefile("rb").readline().split()[1] == b"404"


def test_those_who_are_let_pass_see_the_application(stack: Stack, switch: Switch) -> None:
    mine = stack.get("https://notes.test/seen").json()["client"]
    network = ".".join(mine.split(".")[:3]) + ".0/24"
    for allow, status in (
        (mine, 200),
        (f"203.0.113.7,{network}", 200),
        ("203.0.113.7, 2001:db8::/32", 503),
        ("", 503),
    ):
        switch("on", allow=allow)
        for path in ("/readyz", STYLE):
            assert stack.get(f"https://board.test{path}").status_code == status, allow


def test_root_alone_may_switch_it(stack: Stack, switch: Switch) -> None:
    switch("on", allow="203.0.113.7")
    stack.run("runuser -u www-data -- cat /var/lib/slipway/maintenance/board/page.html")
    others = "'(' ! -user root -o -perm /022 ')'"
    assert stack.run(f"find /var/lib/slipway -maxdepth 0 {others}") == ""
    assert stack.run(f"find /var/lib/slipway/maintenance {others}") == ""


def test_it_stays_until_it_is_switched_off(stack: Stack, switch: Switch, inventory: Path) -> None:
    assert changes(switch("on", message="a")) == {stack.name: 1}
    assert changes(switch("on", message="a")) == {stack.name: 0}
    assert changes(switch("on", message="b")) == {stack.name: 1}
    site = play("site.yml", inventory, "--limit", stack.name)
    assert site.returncode == 0, site.stdout[-3000:]
    assert changes(site)[stack.name] == 0
    assert stack.get("https://board.test/").status_code == 503
    assert changes(switch("off")) == {stack.name: 1}
    assert changes(switch("off")) == {stack.name: 0}


def test_what_it_cannot_do_is_said_and_not_done(stack: Stack, inventory: Path) -> None:
    given = ["-e", "app=bord", "-e", "message=Back at 14:00", "-e", "allow=10.0.0.1/8"]
    done = play(PLAYBOOK, inventory, "--limit", stack.name, *given)
    assert done.returncode != 0
    for words in (
        "app: is bord; name one with -e app=<name>: board, notes, ping",
        "state: is not given; write -e state=on or -e state=off",
        "'at 14:00' belongs to no variable",
        "did you mean 10.0.0.0/8?",
    ):
        assert words in done.stdout + done.stderr, words
    # As a dry run, which says what it would do and does nothing.
    sound = ["-e", "app=board", "-e", "state=on", "--check", "--diff"]
    dry = play(PLAYBOOK, inventory, "--limit", stack.name, *sound)
    assert dry.returncode == 0 and changes(dry) == {stack.name: 1}, dry.stdout[-3000:]
    assert stack.get("https://board.test/readyz").status_code == 200
