"""The way between client and application: who the client is, what is kept back and what is passed on at once."""

from __future__ import annotations

import json
import re
import socket
import time

import httpx
import pytest
from tests.stack import Stack, eventually


def test_websockets_are_passed_on(stack: Stack) -> None:
    for name in ("edge.test", "plain.test"):
        with stack.websocket(f"wss://{name}/echo") as connection:
            for text in ("one", "2" * 70_000):
                connection.send(text)
                assert connection.recv(timeout=10) == text


FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Real-IP": "6.6.6.6",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.test",
    "X-Forwarded-Prefix": "/evil",
    "X-Request-ID": "forged",
    "Forwarded": "for=6.6.6.6",
}


def test_nobody_says_who_they_are(stack: Stack) -> None:
    answer = stack.get("https://edge.test/seen", headers=FORGED)
    seen = answer.json()
    said = [(name.lower(), value) for name, value in seen["headers"]]
    for name, value in FORGED.items():
        assert (name.lower(), value) not in said
    assert seen["scheme"] == "https" and seen["client"] != "6.6.6.6"
    assert ("x-request-id", answer.headers["X-Request-ID"]) in said
    line = stack.run(f"grep -h {answer.headers['X-Request-ID']} /var/log/nginx/edge.json.log")
    assert json.loads(line)["client"] == seen["client"]


def arrivals(stack: Stack, path: str) -> list[float]:
    """Return when each event of a stream came, in seconds from the first."""
    url = f"https://{stack.address}:{stack.https_port}{path}"
    times = []
    with (
        httpx.Client(verify=stack.context(), timeout=20) as client,
        client.stream(
            "GET", url, headers={"Host": "edge.test"}, extensions={"sni_hostname": "edge.test"}
        ) as answer,
    ):
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data:"):
                times.append(time.monotonic())
    return [when - times[0] for when in times]


@pytest.mark.parametrize("path", ["/events", "/unbuffered"])
def test_a_stream_is_passed_on_as_it_comes(stack: Stack, path: str) -> None:
    times = arrivals(stack, f"{path}?number=5&pause=0.5")
    assert len(times) == 5
    assert times[-1] > 1


def test_what_is_no_stream_is_kept_back(stack: Stack) -> None:
    # Which shows that the one before does something: Nginx gathers pieces, so that all of these come at once.
    assert arrivals(stack, "/buffered?number=5&pause=0.3")[-1] < 0.3


def slow(stack: Stack, head: str) -> socket.socket:
    """Return a connection on which the head of a request was sent."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    plain.settimeout(20)
    plain.connect((stack.address, stack.https_port))
    tls = stack.context().wrap_socket(plain, server_hostname="edge.test")
    tls.sendall(f"{head}\r\nHost: edge.test\r\nConnection: close\r\n".encode())
    return tls


def ended(stack: Stack) -> int:
    """Return how many large answers the application has got rid of."""
    return int(stack.get("https://edge.test/calls?path=/large").json()["ended"])


def test_a_client_that_does_not_read_does_not_keep_the_application(stack: Stack) -> None:
    before = ended(stack)
    with slow(stack, "GET /large?megabytes=32 HTTP/1.1") as tls:
        tls.sendall(b"\r\n")
        assert tls.recv(1000).startswith(b"HTTP/1.1 200")
        assert eventually(lambda: ended(stack) > before, 15), "the application still sends"


def upload(stack: Stack, path: str) -> dict[str, float]:
    """Upload slowly, and return what the application noticed of it."""
    with slow(stack, f"POST {path} HTTP/1.1") as tls:
        tls.sendall(b"Content-Length: 60000\r\n\r\n")
        for _ in range(4):
            tls.sendall(b"." * 15000)
            time.sleep(0.5)
        answer = b""
        while piece := tls.recv(65536):
            answer += piece
    found: dict[str, float] = json.loads(answer[answer.index(b"\r\n\r\n{") :])
    return found


def test_a_slow_upload_reaches_the_application_in_one_go(stack: Stack) -> None:
    noticed = upload(stack, "/upload")
    assert noticed["size"] == 60000
    assert noticed["seconds"] < 1


def test_an_upload_is_passed_on_as_it_comes_where_that_is_wanted(stack: Stack) -> None:
    noticed = upload(stack, "/upload/direct")
    assert noticed["size"] == 60000
    assert noticed["seconds"] > 1


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/upload/small", 1024, 200),
        ("/upload/small", 1025, 413),
        ("/upload", 12 << 20, 200),
        ("/seen/upload", 9 << 20, 200),
        ("/seen/upload", 11 << 20, 413),
    ],
)
def test_a_body_has_the_limit_of_its_path(stack: Stack, path: str, size: int, status: int) -> None:
    head = ["Host: edge.test", f"Content-Length: {size}", "Connection: close"]
    if status == 200:
        answer = stack.request("POST", f"https://edge.test{path}", content=b"." * size)
        assert (answer.status_code, answer.json()["size"]) == (200, size)
    else:
        # Before it was sent.
        assert stack.raw("edge.test", f"POST {path} HTTP/1.1", *head[1:2]) == 413


# --- Pages of Nginx's own ----------------------------------------------------------------------


OWN = {
    "404": ("GET", "/static/nothing.css", {}),
    "405": ("POST", "/static/style.css", {}),
    "413": ("POST", "/upload/small", {"content": b"." * 2000}),
}


@pytest.mark.parametrize("status", OWN)
def test_an_error_of_the_edge_is_a_page_or_a_problem(stack: Stack, status: str) -> None:
    method, path, more = OWN[status]
    url = f"https://edge.test{path}"
    page = stack.request(method, url, headers={"Accept": "text/html,*/*;q=0.8"}, **more)
    assert page.status_code == int(status)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["X-Request-ID"] in page.text and status in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert "<!--#" not in page.text and "nginx" not in page.text
    assert not re.search(r"<script|src=|href=\"[^\"]", page.text)

    problem = stack.request(method, url, headers={"Accept": "application/json"}, **more)
    assert problem.status_code == int(status)
    assert problem.headers["Content-Type"].startswith("application/problem+json")
    said = problem.json()
    assert said["status"] == int(status)
    assert said["request_id"] == problem.headers["X-Request-ID"]
    assert said["title"] in page.text and said["detail"]


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 502, 503])
def test_the_errors_of_the_application_are_its_own(stack: Stack, status: int) -> None:
    answer = stack.get(f"https://edge.test/fail/{status}", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()) == (status, {"mine": status})
    assert "Retry-After" not in answer.headers


def test_an_application_that_is_down_is_a_502_that_says_when_to_come_back(stack: Stack) -> None:
    slot = stack.run("basename $(readlink /srv/plain/live)").strip()
    stack.run(f"systemctl stop plain@{slot}")
    try:
        answer = stack.get("https://plain.test/seen", headers={"Accept": "application/json"})
        assert (answer.status_code, answer.json()["status"]) == (502, 502)
        assert answer.headers["Retry-After"] == "5"
    finally:
        stack.run(f"systemctl start plain@{slot}")
        assert eventually(lambda: stack.get("https://plain.test/up").status_code == 200, 30)
