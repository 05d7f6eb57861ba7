"""What is for the host alone stays there, and logs of runs outlive releases and are sent by Nginx."""

from __future__ import annotations

import json
import re

from tests.board import NAME, TOKEN
from tests.stack import Stack

URL = f"https://{NAME}"


def test_figures_are_for_the_host_itself_and_of_all_workers(stack: Stack) -> None:
    for path in ("/metrics", "/metrics/", "/metrics?x=1", "/%6detrics"):
        answer = stack.get(f"{URL}{path}")
        assert answer.status_code == 403, path
        assert "board_requests" not in answer.text
    forged = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"}
    assert stack.get(f"{URL}/metrics", headers=forged).status_code == 403

    def answered() -> tuple[float, float]:
        ask = "curl --silent --fail --unix-socket /srv/board/live/app.sock http://board/metrics"
        said = stack.run(ask)
        counted = r'^board_requests_total\{method="GET",route="/healthz",status="200"\} ([\d.]+)$'
        alive = r"^board_workers\{release=\"\w+\"\} ([\d.]+)$"
        found = [re.search(pattern, said, re.MULTILINE) for pattern in (counted, alive)]
        return tuple(float(match[1]) if match else 0.0 for match in found)  # type: ignore[return-value]

    before, _ = answered()
    for _ in range(30):
        stack.get(f"{URL}/healthz")
    for _ in range(4):  # whichever worker is asked
        after, alive = answered()
        assert after - before == 30
        assert alive == 2
    by_name = f"curl --silent --fail --insecure --resolve {NAME}:443:127.0.0.1 {URL}/metrics"
    assert "board_workers" in stack.run(by_name)


def test_a_log_is_sent_by_nginx_and_by_nobody_else(stack: Stack) -> None:
    body = {"app": "logs", "host": "web9", "release": "0a1b2c"}
    number = stack.request("POST", f"{URL}/api/deployments", json=body, headers=TOKEN).json()["id"]
    path = f"{URL}/api/deployments/{number}/log"
    text = "PLAY RECAP é\n" * 100_000
    sent = stack.request("PUT", path, content=text.encode(), headers=TOKEN)
    assert sent.status_code == 204, sent.text
    answer = stack.get(path)
    assert answer.text == text
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_list("Content-Security-Policy") == ["default-src 'none'; sandbox"]
    assert "X-Accel-Redirect" not in answer.headers
    part = stack.get(path, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.text) == (206, "PLAY")  # only a server of files does that
    kept = f"/srv/board/shared/logs/{number // 1000}/{number}.log"
    assert stack.host.file(kept).size == len(text.encode())
    for direct in (f"/.files/{number // 1000}/{number}.log", "/.files/", "/.files/../x"):
        assert stack.get(f"{URL}{direct}").status_code in (400, 404), direct
    forged = {"X-Accel-Mapping": "/srv/board/shared/=/elsewhere/"}
    assert stack.get(path, headers=forged).text == text


def test_one_beyond_the_limit_is_refused(stack: Stack) -> None:
    body = {"app": "logs", "host": "web9", "release": "0a1b2c"}
    number = stack.request("POST", f"{URL}/api/deployments", json=body, headers=TOKEN).json()["id"]
    path = f"{URL}/api/deployments/{number}/log"
    # By HTTP/1.1, since httpx sends a body by HTTP/2 to its end before it looks for an answer.
    answer = stack.request("PUT", path, content=b"x" * 11_000_000, headers=TOKEN, http2=False)
    assert answer.status_code == 413
    assert stack.get(path).status_code == 404


def test_a_trace_goes_through_the_edge_into_the_log(stack: Stack) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    given = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = stack.get(f"{URL}/healthz", headers=given)
    assert answer.headers["traceresponse"].startswith(f"00-{trace}-")


def test_a_token_made_by_hand_is_good_until_it_is_revoked(stack: Stack) -> None:
    python = "runuser -u board -- /srv/board/live/release/venv/bin/python -m board token"
    token = stack.run(f"{python} create ci --scope write").strip()
    body = {"app": "tokens", "host": "web9", "release": "0a1b2c"}
    headers = {"Authorization": f"Bearer {token}"}

    def post() -> int:
        return stack.request(
            "POST", f"{URL}/api/deployments", json=body, headers=headers
        ).status_code

    assert post() == 201
    stack.run(f"{python} revoke ci")
    assert post() == 401


def test_the_board_logs_json_and_each_request_once(stack: Stack) -> None:
    stack.get(f"{URL}/api/deployments?limit=7")
    journal = stack.run("journalctl --unit 'board@*' --lines 200 --output cat --no-pager")
    lines = [line for line in journal.splitlines() if line.startswith("{")]
    assert lines and all(json.loads(line)["level"] for line in lines)
    assert "limit=7" not in journal
    assert stack.run("grep --count 'limit=7' /var/log/nginx/board.json.log").strip() == "1"
