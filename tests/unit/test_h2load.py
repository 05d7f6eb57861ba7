"""What h2load says is read as it means it."""

from __future__ import annotations

import pytest
from tests import h2load

SAID = """\
starting benchmark...
spawning thread #0: 64 total client(s). Timing-based test with 1s of warm-up time
Warm-up started for thread #0.
progress: 10% of clients started
Application protocol: http/1.1
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 5.00s, 2469.20 req/s, 10.27MB/s
requests: 12346 total, 12410 started, 12346 done, 12300 succeeded, 46 failed, 1 errored, 2 timeout
status codes: 12303 2xx, 0 3xx, 0 4xx, 46 5xx
traffic: 51.36MB (53854612) total, 1.05MB (1100000) headers (space savings 0.00%), 48.90MB (51275000) data
                     min         max         mean         sd        +/- sd
time for request:     1.95ms     98.10ms     25.90ms      4.10ms    80.00%
"""


def test_what_it_says_in_the_end_is_read() -> None:
    result = h2load.parse(SAID)
    assert result == h2load.Result(seconds=5, done=12346, good=12300, failed=3, body=51275000)
    assert result.rate == 2460
    assert h2load.parse(SAID.replace("0 3xx", "12 3xx")).good == 12288
    assert h2load.parse(SAID.replace("5.00s", "500.00ms")).seconds == 0.5


@pytest.mark.parametrize(
    "said",
    ["", SAID.replace("finished in", "began in"), SAID.replace("12346 done", "0 done")],
)
def test_what_is_no_measurement_is_an_error(said: str) -> None:
    with pytest.raises(h2load.NotMeasuredError):
        h2load.parse(said)


def test_a_command_is_one_for_a_shell() -> None:
    said = h2load.command(
        "https://board.test/", clients=64, seconds=4.2, warm_up=1, headers=["Cookie: a=b"]
    )
    assert said == (
        "ulimit -n 16384 && h2load --h1 --clients=64 --duration=5 --warm-up-time=1 '--header=Cookie: a=b' "
        "https://board.test/"
    )
    said = h2load.command(
        "http://a/", clients=1, requests=9, socket="/s", to="127.0.0.1:1", options=["--rps=1"]
    )
    assert said.endswith(
        "h2load --h1 --clients=1 --requests=9 --base-uri=unix:/s --connect-to=127.0.0.1:1 --rps=1 http://a/"
    )


def test_a_log_is_counted_by_when_answers_came() -> None:
    second = 1_000_000
    log = "".join(
        f"{sent}\t{status}\t{took}\n"
        for sent, status, took in [
            (0, 200, 100),
            (1 * second, 200, 3 * second // 2),  # sent before the window, answered in it
            (2 * second, 503, 1000),
            (3 * second, 200, 2000),
            (3 * second, 200, second),
        ]
    )
    seen = h2load.window(log, 2)
    assert (seen.seconds, seen.ended) == (2, 4)
    assert seen.statuses == {200: 3, 503: 1}
    assert (seen.rate, seen.offered) == (1.5, 2)
    assert seen.percentile(0.5) == 1 and seen.percentile(0.99) == 1.5
    for empty in ("", "0\t200\t1\n"):
        with pytest.raises(h2load.NotMeasuredError):
            h2load.window(empty, 2)
