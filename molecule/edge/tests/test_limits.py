"""What one client may ask for: beyond it 429 with Retry-After, for that client and that path alone."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

from tests.stack import Stack, eventually


def test_a_client_that_asks_too_often_is_told_when_to_come_back(stack: Stack) -> None:
    answers = [stack.request("POST", "https://edge.test/login") for _ in range(5)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[-1] == 429 and statuses.count(200) <= 3, statuses
    refused = answers[-1]
    assert refused.headers["Retry-After"] == "12"
    assert refused.headers["Cache-Control"] == "no-store"
    line = json.loads(
        stack.run(f"grep -h {refused.headers['X-Request-ID']} /var/log/nginx/edge.json.log")
    )
    assert (line["status"], line["rate_limit"]) == (429, "REJECTED")
    # Another path of the same client is not touched.
    assert stack.get("https://edge.test/seen").status_code == 200


def test_a_limit_that_is_only_tried_is_seen_in_the_log(stack: Stack) -> None:
    answers = [stack.get("https://edge.test/watched") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    said = stack.run(f"grep -h {answers[-1].headers['X-Request-ID']} /var/log/nginx/edge.json.log")
    assert json.loads(said)["rate_limit"] == "REJECTED_DRY_RUN"


def test_a_client_may_have_so_many_requests_under_way(stack: Stack) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: stack.get("https://edge.test/sleep/2"), range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 3 + [429] * 3
    assert stack.get("https://edge.test/sleep/0").status_code == 200


def test_by_itself_no_rate_is_limited(stack: Stack) -> None:
    begun = time.monotonic()
    statuses = {stack.request("POST", "https://plain.test/login").status_code for _ in range(20)}
    assert statuses == {200}, time.monotonic() - begun


def test_the_application_hears_nothing_of_what_was_refused(stack: Stack) -> None:
    def calls() -> int:
        return int(stack.get("https://edge.test/calls?path=/login").json()["calls"])

    eventually(lambda: stack.get("https://edge.test/login").status_code == 429, 5)
    before = calls()
    for _ in range(3):
        assert stack.get("https://edge.test/login").status_code == 429
    assert calls() == before
