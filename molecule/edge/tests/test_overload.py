"""More requests than an application may have at once: the rest are told to come back, and nothing else suffers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import httpx
from tests.stack import Stack, eventually

PLACES = 8  # as the inventory has it
MORE = 12
SECONDS = 10.0  # on a busy machine it takes some to ask all of this


def at_work(stack: Stack, path: str) -> int:
    """Return how many requests for a path have reached the application, asked by its own socket."""
    url = f"http://edge.test/calls?path={path}"
    said = stack.run(f"curl --silent --fail --unix-socket /srv/edge/live/app.sock '{url}'")
    return int(json.loads(said)["calls"])


@contextmanager
def full(stack: Stack) -> Iterator[list[Future[httpx.Response]]]:
    """Take all places of the application while the block runs, at most for some seconds; yield who has them."""
    path = f"/private/{time.time_ns()}"
    with ThreadPoolExecutor(PLACES) as pool:
        taken = [
            pool.submit(stack.get, f"https://edge.test{path}?pause={SECONDS}")
            for _ in range(PLACES)
        ]
        assert eventually(lambda: at_work(stack, path) == PLACES, SECONDS)
        yield taken


def timed(stack: Stack, path: str, accept: str) -> tuple[httpx.Response, float]:
    """Return an answer, and the seconds that it took."""
    begun = time.monotonic()
    return stack.get(
        f"https://edge.test{path}", headers={"Accept": accept}
    ), time.monotonic() - begun


def test_what_goes_beyond_is_refused_at_once_and_the_others_are_answered(stack: Stack) -> None:
    path = f"/private/{time.time_ns()}"
    with full(stack) as taken:
        with ThreadPoolExecutor(MORE) as pool:
            refused = list(pool.map(lambda _: timed(stack, path, "application/json"), range(MORE)))
        page, _ = timed(stack, path, "text/html")
        assert not any(each.done() for each in taken), "the machine is too slow for this test"
    assert [each.result().status_code for each in taken] == [200] * PLACES
    for answer, took in [*refused, (page, 0.0)]:
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Cache-Control"] == "no-store"
        assert took < SECONDS / 2
    said = refused[0][0].json()
    assert (said["status"], said["title"]) == (503, "Service unavailable")
    assert said["detail"] in page.text and "maintenance" not in page.text
    # The application has not heard of them, and the log tells them from its own 503.
    assert at_work(stack, path) == 0
    line = json.loads(
        stack.run(f"grep -h {page.headers['X-Request-ID']} /var/log/nginx/edge.json.log")
    )
    assert (line["status"], line["upstream_status"]) == (503, "502")


def test_meanwhile_what_does_not_count_goes_on(stack: Stack) -> None:
    with full(stack) as taken:
        assert stack.get("https://edge.test/static/style.css").status_code == 200
        stream = stack.get("https://edge.test/events?number=2&pause=0.1")
        assert (stream.status_code, stream.text.count("data:")) == (200, 2)
        with stack.websocket("wss://edge.test/echo") as socket:
            socket.send("still here")
            assert socket.recv(timeout=5) == "still here"
        # A neighbour on the same host has places of its own.
        assert stack.get("https://plain.test/seen").status_code == 200
        # And a release could still ask its health.
        stack.run("curl --silent --fail --unix-socket /srv/edge/live/app.sock http://edge.test/up")
        assert not any(each.done() for each in taken), "the machine is too slow for this test"


def test_websockets_and_streams_take_no_place(stack: Stack) -> None:
    with ThreadPoolExecutor(PLACES) as pool:
        sockets = [stack.websocket("wss://edge.test/echo") for _ in range(PLACES)]
        streams = [
            pool.submit(stack.get, "https://edge.test/events?number=4&pause=1")
            for _ in range(PLACES)
        ]
        assert [stack.get("https://edge.test/up").status_code for _ in range(5)] == [200] * 5
        for socket in sockets:
            socket.close()
    assert {each.result().status_code for each in streams} == {200}


def test_slow_clients_take_no_place(stack: Stack) -> None:
    # Longer than the buffers between them: the client takes next to nothing, and Nginx has it all.
    with ThreadPoolExecutor(1) as pool, httpx.Client(verify=stack.context(), timeout=20) as client:
        more = {"sni_hostname": "edge.test"}
        url, headers = f"https://{stack.address}/large?megabytes=8", {"Host": "edge.test"}
        slow = [
            client.send(
                client.build_request("GET", url, headers=headers, extensions=more), stream=True
            )
            for _ in range(PLACES)
        ]
        try:
            asked = pool.submit(
                eventually, lambda: stack.get("https://edge.test/up").status_code == 200, 10.0
            )
            assert asked.result()
        finally:
            for each in slow:
                each.close()


def test_as_soon_as_it_is_over_everybody_is_answered_again(stack: Stack) -> None:
    with full(stack):
        assert stack.get("https://edge.test/up").status_code == 503
    with ThreadPoolExecutor(PLACES) as pool:
        answers = list(pool.map(lambda _: stack.get("https://edge.test/up"), range(PLACES)))
    assert [answer.status_code for answer in answers] == [200] * PLACES
