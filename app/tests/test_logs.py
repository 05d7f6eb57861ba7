"""A log line is one line of JSON, and the unexpected is answered as a problem."""

import asyncio
import json
import logging
import sys

import httpx
import pytest
from fastapi import FastAPI

from board.logs import JSONFormatter, RequestContext, Trace, request_id


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, "", 0, message, arguments, None)


def test_one_line_whatever_the_message() -> None:
    line = JSONFormatter().format(record("two\nlines, %s", '"quotes" é'))
    assert "\n" not in line
    assert json.loads(line)["message"] == 'two\nlines, "quotes" é'
    assert "request_id" not in json.loads(line)


def test_request_id_and_exception() -> None:
    token = request_id.set("r-1")
    try:
        raise ValueError("broken")
    except ValueError:
        entry = record("failed")
        entry.exc_info = sys.exc_info()
        fields = json.loads(JSONFormatter().format(entry))
    finally:
        request_id.reset(token)
    assert fields["request_id"] == "r-1"
    assert fields["exception"].endswith("ValueError: broken")


def test_an_unexpected_error_is_a_problem_with_the_id(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    app.add_middleware(RequestContext)

    @app.get("/")
    async def broken() -> None:
        raise ValueError("the inside")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://board") as client:
            return await client.get("/", headers={"X-Request-ID": "r-2"})

    response = asyncio.run(ask())
    assert response.status_code == 500
    assert response.headers["X-Request-ID"] == "r-2"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "the inside" not in response.text
    assert [entry.message for entry in caplog.records] == ["GET / failed"]


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("given", [f"00-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-what.else"])
def test_a_trace_goes_on(given: str) -> None:
    trace = Trace.continued([given])
    version, trace_id, span_id, flags = str(trace).split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != PARENT and len(span_id) == 16


@pytest.mark.parametrize(
    "given",
    [
        [],
        [f"00-{TRACE}-{PARENT}-01"] * 2,
        [f"ff-{TRACE}-{PARENT}-01"],
        [f"00-{'0' * 32}-{PARENT}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE.upper()}-{PARENT}-01"],
        ["nonsense"],
    ],
)
def test_a_trace_begins_where_none_is_named(given: list[str]) -> None:
    one, other = Trace.continued(given), Trace.continued(given)
    assert len(one.trace_id) == 32
    assert TRACE not in str(one)
    assert one.trace_id != other.trace_id
