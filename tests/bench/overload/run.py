#!/usr/bin/env python3
"""Measure what becomes of an application that is asked for more than it can do, with a bound and without.

    tests/bench/overload/run.py [ROUNDS]        3 rounds unless told, a quarter of an hour

On one fresh Debian 13 host with the board and 1,000 deployments, h2load on the host itself asks over TLS, each client
with one connection and one request at a time: for the list of 50, which takes some tenths of a millisecond, or for the
page for people, which takes several. In each round, with `max_in_flight` as it is by default, and without any: 64
clients and 256, as fast as they are answered; then 1,024 who together send four times what 64 were answered, whether
they are answered or not. From this machine meanwhile, and for some seconds after it, somebody asks for the small page
of its health twenty times a second. Prints tables in Markdown: medians, with the least and the most.

Who asks has the last core, and what serves has the others, of two at least: what it takes to ask four times as often
is not the host's.
"""

from __future__ import annotations

import math
import shlex
import shutil
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests import h2load  # noqa: E402
from tests.bench.fresh import drop, say, set_up  # noqa: E402
from tests.slow import percentile  # noqa: E402
from tests.stack import Stack, eventually  # noqa: E402

NAME = "bench-overload"
SCRATCH = ROOT / ".slipway/bench"
STACK = Stack(NAME, SCRATCH / f"{NAME}.pem")
SITE = "/etc/nginx/conf.d/slipway-board.conf"
PAGES = {"list": "https://board.test/api/deployments", "page": "https://board.test/"}
LOCAL = "127.0.0.1:443"

SECONDS, SKIPPED = (
    10,
    3,
)  # how long each load lasts, and how much of it at the beginning doesn't count
FEW, MANY, CROWD, TIMES = 64, 256, 1024, 4
EACH = 0.05  # seconds between two of the requests from this machine
AFTER = 6.0  # seconds for which they go on when the load has ended
REST = 0.1  # seconds, at least, that an answer may take and still be one as at rest

FILL = """
    INSERT INTO deployment (app, host, release, status, started_at, finished_at)
    SELECT 'shop', 'app' || n % 20, md5(n::text), 'succeeded', now() - interval '1 h', now()
    FROM generate_series(1, 1000) AS n
"""


@dataclass
class Seen:
    """What one who asks for the small page sees: when an answer came, its status, its Retry-After, its seconds."""

    answers: list[tuple[float, int, str, float]] = field(default_factory=list)

    def recovered(self, end: float, patience: float) -> float:
        """Return the seconds from an end to the last answer after it that wasn't as at rest; 0 if all were.

        Args:
            end: When the load has ended, in seconds of the epoch.
            patience: Seconds that an answer takes at rest, at most.
        """
        bad = [at - end for at, status, _, took in self.answers if status != 200 or took > patience]
        return max(0.0, *bad) if bad else 0.0

    def dishonest(self) -> int:
        """Return how many 503 don't say when to come back."""
        return sum(status == 503 and not retry for _, status, retry, _ in self.answers)


@contextmanager
def watched() -> Iterator[Seen]:
    """Ask for the small page while the block runs, and some seconds longer."""
    seen, over = Seen(), threading.Event()

    def ask() -> None:
        with httpx.Client(verify=STACK.context(), timeout=30) as client:
            while not over.is_set():
                begun = time.monotonic()
                try:
                    answer = client.get(
                        f"https://{STACK.address}/healthz",
                        headers={"Host": "board.test"},
                        extensions={"sni_hostname": "board.test"},
                    )
                    status, retry = answer.status_code, answer.headers.get("Retry-After", "")
                except httpx.HTTPError:
                    status, retry = 0, ""
                took = time.monotonic() - begun
                seen.answers.append((time.time(), status, retry, took))
                over.wait(max(0.0, EACH - took))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
        time.sleep(AFTER)
    finally:
        over.set()
        thread.join()


def apart() -> None:
    """Have all that runs on the host, and what it starts, keep off the last core."""
    STACK.run(
        "last=$(($(nproc --all) - 2));"
        " for each in /proc/[0-9]*; do taskset -acp 0-$last ${each#/proc/} >/dev/null 2>&1; done;"
        ' taskset -cp $(cat /run/nginx.pid) | grep -q "[ -]$last$"'
    )


def loaded(url: str, clients: int, rate: float = 0) -> h2load.Window:
    """Have so many clients ask, as fast as they are answered or at a rate in all, and return what came of it."""
    options = ["--log-file=/tmp/load.log"]
    options += [f"--rps={rate / clients:.3f}"] if rate else []
    STACK.run("rm -f /tmp/load.log")
    ask = h2load.command(url, clients=clients, seconds=SECONDS, to=LOCAL, options=options)
    STACK.run(f"taskset --cpu-list $(($(nproc --all) - 1)) sh -c {shlex.quote(ask)}")
    return h2load.window(STACK.run("cat /tmp/load.log"), SKIPPED)


@dataclass
class Round:
    """What came of one round of one way."""

    few: h2load.Window
    many: h2load.Window
    crowd: h2load.Window
    recovery: float
    dishonest: int

    @property
    def figures(self) -> dict[str, float]:
        """Return what the table shows, by name."""
        return {
            "64 clients, answered a second": self.few.rate,
            "256 clients, to that": self.many.rate / self.few.rate,
            "four times as much, sent to that": self.crowd.offered / self.few.rate,
            "four times as much, answered to that": self.crowd.rate / self.few.rate,
            "p99 of what is answered then, ms": self.crowd.percentile(0.99) * 1000,
            "seconds until all is as at rest": self.recovery,
        }


def measured(url: str, patience: float) -> Round:
    """Measure one way."""
    few, many = loaded(url, FEW), loaded(url, MANY)
    with watched() as seen:
        time.sleep(1)
        crowd = loaded(url, CROWD, TIMES * few.rate)
    # The host is a container: its clock is this machine's.
    return Round(few, many, crowd, seen.recovered(crowd.ended, patience), seen.dishonest())


def bound(site: str, wanted: bool) -> None:
    """Have the application's bound or none.

    Args:
        site: The site as Slipway writes it.
        wanted: Whether there is to be one.
    """
    text = site if wanted else "".join(line for line in _unbound(site))
    STACK.run(f"tee {SITE} <<'END'\n{text}END")
    STACK.run("nginx -t && systemctl reload nginx && sleep 2")


def _unbound(site: str) -> Iterator[str]:
    for line in site.splitlines(keepends=True):
        kept, found, _ = line.partition(" max_conns=")
        yield f"{kept};\n" if found else line


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    set_up(NAME, HERE / "inventory")
    STACK.run("apt-get install --quiet --yes --no-install-recommends nghttp2-client")
    psql = "runuser -u postgres -- psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname board"
    STACK.run(f"{psql} --command \"{FILL}\" --command 'VACUUM ANALYZE'")
    site = STACK.run(f"cat {SITE}")
    assert " max_conns=" in site, "there is no bound to measure"
    assert eventually(lambda: STACK.get("https://board.test/readyz").status_code == 200)

    apart()
    with watched() as rest:
        loaded(PAGES["list"], 8)  # to warm up; what comes after it is at rest
    quiet = [took for _, _, _, took in rest.answers[-math.floor(AFTER / EACH / 2) :]]
    patience = max(REST, 3 * percentile(quiet, 0.99))
    say(f"at rest {statistics.median(quiet) * 1000:.0f} ms, patience {patience * 1000:.0f} ms")

    ways = {
        f"{page}, {'bound' if wanted else 'none'}": (url, wanted)
        for page, url in PAGES.items()
        for wanted in (True, False)
    }
    found: dict[str, list[Round]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, (url, wanted) in list(ways.items())[:: -1 if number % 2 else 1]:
            bound(site, wanted)
            found[name].append(measured(url, patience))
            figures = found[name][-1].figures.values()
            say(f"round {number + 1}, {name}: {', '.join(f'{each:.2f}' for each in figures)}")
    report(found, rounds)
    drop(NAME)


def spread(values: list[float]) -> str:
    """Return the median with the least and the most."""
    least, median, most = min(values), statistics.median(values), max(values)
    return f"{median:,.2f} ({least:,.2f} to {most:,.2f})"


def report(found: dict[str, list[Round]], rounds: int) -> None:
    """Print what was found."""
    print(f"{rounds} rounds; medians, the least and the most\n")
    print(f"| | {' | '.join(found)} | aim |\n| --- |{' --- |' * (len(found) + 1)}")
    aims = {
        "256 clients, to that": "0.8 at least",
        "four times as much, answered to that": "0.9 at least",
        "seconds until all is as at rest": "2 at most",
    }
    for name in next(iter(found.values()))[0].figures:
        cells = [spread([each.figures[name] for each in way]) for way in found.values()]
        print(f"| {name} | {' | '.join(cells)} | {aims.get(name, '')} |")
    print(f"\n| answers to four times as much | {' | '.join(found)} |")
    print(f"| --- |{' --- |' * len(found)}")
    counts = [sum((each.crowd.statuses for each in way), Counter[int]()) for way in found.values()]
    for status in sorted({200, 502, 503, 504}.union(*counts)):
        print(f"| {status} | {' | '.join(f'{count[status]:,}' for count in counts)} |")
    dishonest = [str(sum(each.dishonest for each in way)) for way in found.values()]
    print(f"| 503 without Retry-After, of those that were looked at | {' | '.join(dishonest)} |")


if __name__ == "__main__":
    main()
