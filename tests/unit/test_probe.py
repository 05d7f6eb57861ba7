"""`scripts/probe` counts what its requests met, to the last one, and ends when it should."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from .conftest import ROOT, load
from .server import BAD, OK, Answer, Asked, Server, fine, listening

PROBE = ROOT / "scripts/probe"
STARTED = 2.0  # seconds after which it drives, on a busy machine too


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    """Return the probe as a module."""
    return load("scripts/probe")


Drive = Callable[..., dict[str, Any]]


@pytest.fixture
def drive(probe: ModuleType, tls: ssl.SSLContext, certificate: Path) -> Drive:
    """Return what drives a server for some time and returns the target's result."""

    async def driven(
        server: Server, seconds: float, requests: list[dict[str, Any]], **keys: Any
    ) -> dict[str, Any]:
        async with listening(server, tls):
            plan = {
                **{"name": "x", "host": "localhost", "port": server.port, "ca": str(certificate)},
                **{"addresses": ["127.0.0.1"], "rate": 100, "requests": requests},
            }
            result = await probe.run([probe.Target(**{**plan, **keys})], seconds, False)
            target = result["targets"]["x"]
            assert isinstance(target, dict)
            return target

    def call(
        server: Server,
        *paths: str | dict[str, Any],
        seconds: float = 0.6,
        **keys: Any,
    ) -> dict[str, Any]:
        requests = [{"path": path} if isinstance(path, str) else path for path in paths]
        return asyncio.run(driven(server, seconds, requests, **keys))

    return call


def answers(**by_path: Answer) -> Server:
    """Return a server that answers some paths in a way of their own."""

    async def answer(asked: Asked) -> Answer:
        return by_path.get(asked.path[1:], (OK, False))

    return Server(answer)


def errors(result: dict[str, Any]) -> set[tuple[str, str]]:
    """Return which requests failed, and why."""
    return {(failure["request"], failure["error"]) for failure in result["failures"]}


# --- What is sent


def test_requests_go_in_turn_at_the_rate_over_kept_and_new_connections(drive: Drive) -> None:
    server = Server(fine)
    result = drive(server, "/a", "/b", seconds=1, rate=40, clients=4)
    assert 30 <= result["requests"] == len(server.seen) <= 42
    assert (result["failed"], result["retried"], result["skipped"]) == (0, 0, "")
    paths = [asked.path for asked in server.seen]
    assert paths.count("/a") - paths.count("/b") in (0, 1)
    fresh = [asked for asked in server.seen if asked.headers.get("connection") == "close"]
    assert abs(len(fresh) - len(server.seen) / 2) <= 2
    # Each path goes both ways.
    assert {asked.path for asked in fresh} == {"/a", "/b"}
    assert {asked.nth for asked in fresh} == {1}
    kept = {asked.connection for asked in server.seen} - {asked.connection for asked in fresh}
    assert len(kept) == 2
    assert {asked.headers["host"] for asked in server.seen} == {f"localhost:{server.port}"}


def test_a_single_client_keeps_its_connection(drive: Drive) -> None:
    server = Server(fine)
    # As slow as that: of one that is late the next takes another connection.
    drive(server, "/", clients=1, seconds=1, rate=10)
    assert server.connections == 1 and len(server.seen) > 5


def test_bodies_and_headers_are_sent_and_what_was_acknowledged_is_known(drive: Drive) -> None:
    server = answers(plain=(BAD, False))
    sent = {"method": "POST", "path": "/json", "body": {"id": "a{n}", "to": "ö"}}
    plain = {"method": "POST", "path": "/plain", "body": "n={n}", "headers": {"X-Token": "t"}}
    result = drive(server, sent, plain)
    json_ = [asked for asked in server.seen if asked.path == "/json"]
    numbers = [json.loads(asked.body)["id"] for asked in json_]
    assert {asked.headers["content-type"] for asked in json_} == {"application/json"}
    assert json.loads(json_[0].body)["to"] == "ö"
    # On a busy machine one may overtake another.
    assert len(numbers) > 5
    assert sorted(f"a{number}" for number in result["acknowledged"]) == sorted(numbers)
    others = [asked for asked in server.seen if asked.path == "/plain"]
    assert {asked.headers["x-token"] for asked in others} == {"t"}
    # No number comes twice, and those that were not answered as wanted are not among the acknowledged.
    refused = {int(asked.body.removeprefix("n=")) for asked in others}
    assert len(refused) == len(others) and not refused & set(result["acknowledged"])


def test_a_slow_answer_slows_nothing_down_and_counts_from_when_it_was_due(drive: Drive) -> None:
    asked_at: list[float] = []

    async def answer(asked: Asked) -> Answer:
        asked_at.append(time.monotonic())
        if 5 < len(asked_at) < 10:
            await asyncio.sleep(0.6)
        return OK, False

    result = drive(Server(answer), "/", seconds=1, rate=40)
    gaps = [after - before for before, after in pairwise(asked_at)]
    assert max(gaps) < 0.4 and len(asked_at) >= 15
    # The run waits for what is under way.
    assert result["requests"] == len(asked_at) and result["failed"] == 0
    assert 600 <= result["worst_ms"] < 2000 and result["p50_ms"] < 100 <= result["p99_ms"]


def test_how_it_went_is_told_by_halves_of_a_second(drive: Drive) -> None:
    began = time.monotonic()

    async def answer(asked: Asked) -> Answer:
        second = time.monotonic() - began > 1
        if second:
            await asyncio.sleep(0.2)
        return (BAD if second and len(server.seen) % 3 == 0 else OK), False

    server = Server(answer)
    result = drive(server, "/", seconds=2, rate=40)
    course = result["latency"]
    assert [sample["at"] for sample in course] == [n / 2 + 0.25 for n in range(len(course))]
    assert 4 <= len(course) <= 6
    assert sum(sample["failed"] for sample in course) == result["failed"] > 0
    assert course[0]["failed"] == 0 and course[0]["p50_ms"] < 150
    assert 200 <= course[-1]["p50_ms"] <= course[-1]["p99_ms"] <= result["worst_ms"]


# --- What fails


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((BAD, False), "answered 502"),
        ((None, True), "closed without an answer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", True), "closed within the answer"),
        ((b"HTTP/1.1 200 OK\r\nConte", True), "closed within the answer"),
        ((b"nonsense\r\n\r\n", True), "no HTTP"),
    ],
)
def test_what_is_not_the_wanted_answer_is_a_failure(
    drive: Drive, answer: Answer, error: str
) -> None:
    server = answers(bad=answer)
    result = drive(server, "/good", {"method": "POST", "path": "/bad", "body": "{n}"})
    assert {asked.path for asked in server.seen} == {"/good", "/bad"}
    bad = [asked for asked in server.seen if asked.path == "/bad"]
    assert result["failed"] == len(bad) > 5 and result["retried"] == 0
    assert result["requests"] == len(server.seen) and result["acknowledged"] == []
    ((request, said),) = errors(result)
    assert request == "POST /bad" and said.startswith(error)
    assert all(datetime.fromisoformat(each["at"]).tzinfo for each in result["failures"])


def test_the_first_failures_are_told_and_all_are_counted(drive: Drive) -> None:
    result = drive(answers(bad=(BAD, False)), "/good", "/bad", seconds=0.8)
    assert result["failed"] > 20 == len(result["failures"])


def test_other_statuses_may_be_wanted(drive: Drive) -> None:
    server = answers(gone=(BAD, False))
    assert drive(server, {"path": "/gone", "status": [404, 502]})["failed"] == 0


def test_no_answer_in_time_is_a_failure(
    drive: Drive, probe: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(asked: Asked) -> Answer:
        await asyncio.sleep(1 if asked.path == "/slow" else 0)
        return OK, False

    monkeypatch.setattr(probe, "TIMEOUT", 0.6)
    result = drive(Server(answer), "/", "/slow")
    assert errors(result) == {("GET /slow", "no answer in time")}
    assert abs(result["failed"] - result["requests"] / 2) <= 1


def test_an_outage_lasts_until_a_request_that_was_sent_later_is_answered(drive: Drive) -> None:
    began: list[float] = []  # with the first request, however long it takes to get there

    async def answer(asked: Asked) -> Answer:
        began.append(time.monotonic())
        since = began[-1] - began[0]
        if (
            asked.path == "/long"
        ):  # it began before the outage, ends within it, and says nothing of it
            await asyncio.sleep(0.6)
            return OK, False
        return (BAD if 0.25 < since < 1.25 else OK), False

    long = {"path": "/long"}
    result = drive(Server(answer), "/", *["/"] * 6, long, *["/"] * 80, seconds=1.8, rate=40)
    assert result["failed"] > 5
    assert 700 < result["outage_ms"] < 3000


def test_an_outage_at_the_end_counts_to_the_end(drive: Drive) -> None:
    asked_at: list[float] = []

    async def answer(_: Asked) -> Answer:
        asked_at.append(time.monotonic())
        return (BAD if asked_at[-1] - asked_at[0] > 0.2 else OK), False

    assert 200 < drive(Server(answer), "/", seconds=1)["outage_ms"] < 2000


# --- Kept connections


@pytest.mark.parametrize(("method", "retried"), [("GET", True), ("HEAD", True), ("POST", False)])
def test_a_kept_connection_that_ends_without_a_byte(
    drive: Drive, method: str, retried: bool
) -> None:
    """The server closes it just as the next request is on its way."""

    async def answer(asked: Asked) -> Answer:
        if asked.nth > 1:
            return None, True
        return (OK.removesuffix(b"ok") if asked.method == "HEAD" else OK), False

    server = Server(answer)
    body = "{n}" if method == "POST" else None
    result = drive(server, {"method": method, "body": body}, seconds=2.4)
    lost = [asked for asked in server.seen if asked.nth > 1]
    assert len(lost) > 3
    if retried:
        assert (result["failed"], result["retried"]) == (0, len(lost))
        assert result["requests"] == len(server.seen) - len(lost)
    else:
        assert (result["failed"], result["retried"]) == (len(lost), 0)
        assert errors(result) == {("POST /", "closed without an answer")}
        assert not {int(asked.body) for asked in lost} & set(result["acknowledged"])


def test_it_is_tried_once_more_and_no_more_than_that(drive: Drive) -> None:
    broken: list[Asked] = []

    async def answer(asked: Asked) -> Answer:
        if asked.nth > 1 or (broken and asked.headers.get("connection") != "close"):
            broken.append(asked)
            return None, True
        return OK, False

    result = drive(Server(answer), "/")
    assert result["retried"] == 1 and result["failed"] == len(broken) - 1 > 3


def test_an_answer_that_has_begun_is_not_asked_for_again(drive: Drive) -> None:
    async def answer(asked: Asked) -> Answer:
        return (b"HTTP/1.1 200 OK\r\n", True) if asked.nth > 1 else (OK, False)

    result = drive(Server(answer), "/", seconds=1.2)
    assert result["retried"] == 0 and result["failed"] > 3


def test_a_connection_that_is_closed_while_idle_costs_nothing(drive: Drive) -> None:
    async def answer(asked: Asked) -> Answer:
        return OK, True

    server = Server(answer)
    # So far apart that each is idle by then, on a busy machine too.
    result = drive(server, {"method": "POST", "body": "{n}"}, clients=1, rate=10, seconds=1)
    assert (result["failed"], result["retried"]) == (0, 0)
    assert server.connections == len(server.seen) == result["requests"] > 5


# --- Targets that are not driven


def test_one_that_does_not_answer_at_first_is_left_alone(drive: Drive) -> None:
    server = answers(gone=(BAD, False))
    result = drive(server, {"method": "POST", "path": "/gone", "body": "{n}"}, websocket="/s")
    assert result["skipped"] == "answered 502" and len(server.seen) == 1
    assert (result["requests"], result["failed"], result["outage_ms"]) == (0, 0, 0)
    assert result["failures"] == [] and result["websocket"] is None


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"ca": ""}, "certificate not trusted: self-signed certificate"),
        ({"host": "example.org"}, "certificate not trusted: Hostname mismatch"),
        ({"port": 1}, "connection refused"),
        ({"addresses": [], "host": "nowhere.invalid"}, "nowhere.invalid leads nowhere"),
    ],
)
def test_why_one_is_not_reached_is_said(drive: Drive, keys: dict[str, Any], why: str) -> None:
    result = drive(Server(fine), "/", **keys)
    assert result["skipped"].startswith(why)


@pytest.mark.parametrize("addresses", [["127.0.0.9", "127.0.0.1"], []])
def test_addresses_that_take_no_connection_are_passed_over(
    drive: Drive, addresses: list[str]
) -> None:
    server = Server(fine)
    result = drive(server, "/", addresses=addresses, otherwise=["192.0.2.1"])
    assert (result["failed"], result["skipped"]) == (0, "") and len(server.seen) > 10


def test_a_name_that_leads_nowhere_is_looked_for_where_it_should_lead(
    drive: Drive, probe: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nowhere(_: str) -> list[str]:
        return []

    monkeypatch.setattr(probe, "resolved", nowhere)
    server = Server(fine)
    assert drive(server, "/", addresses=[], otherwise=["127.0.0.1"])["skipped"] == ""
    assert len(server.seen) > 10


def test_addresses_take_turns(drive: Drive) -> None:
    server = Server(fine)
    result = drive(server, "/", addresses=["127.0.0.1", "127.0.0.2"])
    assert (result["failed"], result["skipped"]) == (0, "")
    # Of every connection: on a busy machine one to keep may be made between two that are not.
    turns = [asked.at for asked in server.seen if asked.nth == 1]
    assert abs(turns.count("127.0.0.1") - turns.count("127.0.0.2")) <= 1 < len(turns)


# --- The WebSocket

Closing = Callable[[ServerConnection, int], Awaitable[None]]


@pytest.fixture
def streamed(
    probe: ModuleType, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Drive:
    """Return what drives a server with a WebSocket, which does with each connection as it is told."""
    monkeypatch.setattr(probe, "JITTER", 0.2)
    monkeypatch.setattr(probe, "PATIENCE", 0.1)

    async def driven(closing: Closing, refused: Callable[[int], bool], seconds: float) -> Any:
        asked = opened = 0

        def request(connection: ServerConnection, given: Request) -> Response | None:
            nonlocal asked
            if given.path == "/":
                return connection.respond(200, "ok")
            asked += 1
            return connection.respond(503, "no") if refused(asked) else None

        async def handle(connection: ServerConnection) -> None:
            nonlocal opened
            opened += 1
            await closing(connection, opened)

        async with serve(handle, "127.0.0.1", 0, ssl=tls, process_request=request) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            target = probe.Target(
                **{"name": "x", "host": "localhost", "port": port, "addresses": ["127.0.0.1"]},
                **{"ca": str(certificate), "rate": 10, "requests": [{}], "websocket": "/stream"},
            )
            return (await probe.run([target], seconds, False))["targets"]["x"]

    def call(
        closing: Closing, refused: Callable[[int], bool] = lambda _: False, seconds: float = 0.6
    ) -> Any:
        return asyncio.run(driven(closing, refused, seconds))

    return call


async def stay(connection: ServerConnection, _: int) -> None:
    """Keep it open, and talk."""
    for number in range(100):
        await connection.send(str(number))
    await connection.wait_closed()


def closes_first(code: int) -> Closing:
    """Return what closes the first connection, and keeps the others."""

    async def closing(connection: ServerConnection, nth: int) -> None:
        await asyncio.sleep(0.1)
        if nth == 1 and code == 1006:
            connection.transport.abort()
        elif nth == 1:
            await connection.close(code)
        await stay(connection, nth)

    return closing


def test_a_websocket_that_stays_open(streamed: Drive) -> None:
    assert streamed(stay)["websocket"] == {
        **{"skipped": "", "connects": 1, "reconnects": 0, "closes": {}},
        **{"worst_gap_ms": 0.0, "failed": 0},
    }


@pytest.mark.parametrize("code", [1001, 1012])
def test_a_websocket_that_says_goodbye_is_opened_again(
    streamed: Drive, probe: ModuleType, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(probe.random, "uniform", lambda low, high: high)
    result = streamed(closes_first(code))
    seen = result["websocket"]
    assert (seen["connects"], seen["reconnects"], seen["failed"]) == (2, 1, 0)
    assert seen["closes"] == {str(code): 1} and result["failures"] == []
    assert 200 <= seen["worst_gap_ms"] < 2000


@pytest.mark.parametrize("code", [1000, 1006, 1011])
def test_any_other_end_of_a_websocket_is_a_failure(streamed: Drive, code: int) -> None:
    result = streamed(closes_first(code))
    seen = result["websocket"]
    assert (seen["connects"], seen["reconnects"], seen["failed"]) == (2, 1, 1)
    assert seen["closes"] == {str(code): 1} and result["failed"] == 0
    assert errors(result) == {("WebSocket /stream", f"closed with {code}")}


def test_a_websocket_that_is_not_let_in_again_is_a_failure_each_time(streamed: Drive) -> None:
    result = streamed(closes_first(1012), refused=lambda nth: nth in (2, 3))
    seen = result["websocket"]
    assert (seen["connects"], seen["failed"]) == (2, 2) and seen["worst_gap_ms"] >= 200
    assert errors(result) == {("WebSocket /stream", "can't be opened again: answered 503")}


def test_a_websocket_that_is_not_let_in_at_all_is_left_alone(streamed: Drive) -> None:
    result = streamed(stay, refused=lambda _: True)
    assert result["websocket"]["skipped"] == "answered 503"
    assert result["websocket"]["failed"] == result["failed"] == 0 < result["requests"]


# --- The program


@pytest.fixture
def served(server: Server, certificate: Path) -> Callable[..., str]:
    """Return what makes a plan for a server that answers beside the test."""

    def plan(**keys: Any) -> str:
        target = {
            **{"name": "x", "host": "localhost", "port": server.port, "ca": str(certificate)},
            **{"addresses": ["127.0.0.1"], "rate": 50, "requests": [{"path": "/"}], **keys},
        }
        return json.dumps({"targets": [target]})

    return plan


def started(*arguments: str, plan: str = "") -> subprocess.Popen[str]:
    """Start the probe, and hand a plan over."""
    process = subprocess.Popen(
        [sys.executable, PROBE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(plan)
    process.stdin.flush()
    return process


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for its end, and return the result for the target."""
    out, err = process.communicate(timeout=5)
    assert err == ""
    target = json.loads(out)["targets"]["x"]
    assert isinstance(target, dict)
    return target


def test_it_ends_after_a_time(served: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(served())
    result = tmp_path / "result.json"
    arguments = [str(tmp_path / "plan.json"), "--for", "0.5", "--result", str(result)]
    process = started(*arguments)
    assert process.wait(5) == 0
    assert json.loads(result.read_text())["targets"]["x"]["requests"] > 10
    assert result.stat().st_mode & 0o777 == 0o600


def test_it_ends_with_standard_input(served: Callable[..., str]) -> None:
    process = started("--until-eof", plan=f"{served()}\n")
    time.sleep(STARTED)
    assert process.poll() is None
    assert ended(process)["requests"] > 10 and process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_a_signal(served: Callable[..., str], number: int) -> None:
    process = started("--until-eof", plan=f"{served()}\n")
    time.sleep(STARTED)
    process.send_signal(number)
    assert process.wait(5) == 0
    assert ended(process)["requests"] > 10


def test_requests_under_way_are_waited_for_until_a_second_signal(
    served: Callable[..., str],
) -> None:
    process = started("--until-eof", plan=f"{served(requests=[{}, {'path': '/hangs'}])}\n")
    time.sleep(STARTED)
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    result = ended(process)
    assert process.returncode == 0 < result["requests"]


def test_it_ends_when_its_parent_is_killed_though_the_pipe_stays_open(
    served: Callable[..., str], tmp_path: Path
) -> None:
    """As ansible-playbook may be, whose forked workers hold all that it had open."""
    (tmp_path / "plan.json").write_text(served(requests=[{}, {"path": "/hangs"}]))
    script = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, {str(PROBE)!r}, "
        f"{str(tmp_path / 'plan.json')!r}, '--until-eof']); print(p.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = Path("/proc") / parent.stdout.readline().strip()
    time.sleep(STARTED)
    assert running(child)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 3
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(child)


def running(process: Path) -> bool:
    """Tell whether a process of /proc is there, and not merely waited for by nobody."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_failure_shows_in_the_exit_status(served: Callable[..., str]) -> None:
    bad = [{"path": "/"}, {"path": "/", "status": [404]}]
    process = started("--for", "0.3", plan=served(requests=bad))
    assert ended(process)["failed"] > 3 and process.returncode == 1


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ("no JSON", "Expecting value"),
        ("{}", "'targets'"),
        ('{"targets": [{"name": "x", "host": "h", "rate": 0, "requests": [{}]}]}', "x: needs"),
        ('{"targets": [{"name": "x", "host": "h", "rte": 1}]}', "rte"),
        (
            '{"targets": [{"name": "x", "host": "h", "rate": 1, "requests": [{"path": "/a b"}]}]}',
            "Illegal target",
        ),
    ],
)
def test_a_wrong_plan_is_refused(plan: str, why: str) -> None:
    out, err = (process := started(plan=plan)).communicate(timeout=5)
    assert process.returncode == 2 and out == ""
    assert err.startswith("probe: the plan is wrong: ") and why in err
