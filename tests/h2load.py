"""h2load, as benches call it, and what it says in the end."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


class NotMeasuredError(Exception):
    """What h2load said is no measurement; the message has it."""


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        seconds: How long was measured.
        done: Requests that were answered.
        good: Those that were answered with 2xx, and whole.
        failed: Requests that were sent and not answered, or not in time.
        body: Bytes of all bodies.
    """

    seconds: float
    done: int
    good: int
    failed: int
    body: int

    @property
    def rate(self) -> float:
        """Return how many a second were answered with 2xx."""
        return self.good / self.seconds


def command(
    url: str,
    *,
    clients: int,
    seconds: float = 0,
    requests: int = 0,
    warm_up: float = 0,
    socket: str = "",
    to: str = "",
    headers: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """Return the shell command for HTTP/1.1, each client with one connection and one request at a time.

    Args:
        url: What is asked for.
        clients: How many ask at once.
        seconds: How long; or
        requests: how often in all. A connection of Nginx's is good for 1,000.
        warm_up: Seconds before that which don't count.
        socket: A Unix socket to ask by.
        to: Address and port to connect to, instead of what the URL says.
        headers: Such as ``Cookie: a=b``.
        options: Others, as h2load takes them.
    """
    words = ["h2load", "--h1", f"--clients={clients}"]
    if seconds:
        words += [f"--duration={math.ceil(seconds)}", f"--warm-up-time={math.ceil(warm_up)}"]
    else:
        words += [f"--requests={requests}"]
    words += [f"--base-uri=unix:{socket}"] if socket else []
    words += [f"--connect-to={to}"] if to else []
    words += [f"--header={header}" for header in headers]
    # Each client is a file, and a shell may have 1,024.
    return f"ulimit -n 16384 && {shlex.join([*words, *options, url])}"


def parse(said: str) -> Result:
    """Read what h2load says in the end.

    Raises:
        NotMeasuredError: It has measured nothing.
    """
    finished = re.search(r"^finished in ([\d.]+)(us|ms|s|m|h),", said, re.MULTILINE)
    counted = re.search(
        r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, \d+ failed, (\d+) errored, (\d+) timeout",
        said,
        re.MULTILINE,
    )
    redirected = re.search(r"^status codes: \d+ 2xx, (\d+) 3xx,", said, re.MULTILINE)
    data = re.search(r"\((\d+)\) data", said)
    if not (finished and counted and redirected and data):
        raise NotMeasuredError(said)
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}[finished[2]]
    done, succeeded, errored, late = (int(each) for each in counted.groups())
    if not done:
        raise NotMeasuredError(said)
    seconds = float(finished[1]) * unit
    # Statuses are counted when they come, also of those whose bodies the end has cut off.
    good = succeeded - int(redirected[1])
    return Result(seconds, done, good, errored + late, int(data[1]))


@dataclass(frozen=True)
class Window:
    """What a log of h2load has of some seconds.

    Attributes:
        ended: When the last answer came, in seconds of the epoch.
        seconds: How many there are.
        statuses: Answers by status.
        took: The seconds of each answer with 200.
    """

    ended: float
    seconds: float
    statuses: Counter[int]
    took: list[float]

    @property
    def rate(self) -> float:
        """Return how many a second were answered with 200."""
        return self.statuses[200] / self.seconds

    @property
    def offered(self) -> float:
        """Return how many a second were answered at all."""
        return self.statuses.total() / self.seconds

    def percentile(self, share: float) -> float:
        """Return the time that a share of those with 200 keep within, by the nearest rank; 0 if there are none."""
        ordered = sorted(self.took)
        return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0


def window(log: str, skip: float) -> Window:
    """Return what ``--log-file`` has written, from some seconds after its first request until its last answer.

    Each line has when a request was sent, in microseconds, the status of its answer, and the microseconds that
    it took.

    Raises:
        NotMeasuredError: There is nothing in it after these seconds.
    """
    lines = [tuple(map(int, line.split("\t")[:3])) for line in log.splitlines() if line.strip()]
    if not lines:
        raise NotMeasuredError("the log is empty")
    begin = min(sent for sent, _, _ in lines) + skip * 1e6
    ended = [(sent + took, status, took) for sent, status, took in lines if sent + took >= begin]
    if not ended:
        raise NotMeasuredError(f"the log has nothing after {skip} s")
    last = max(end for end, _, _ in ended)
    return Window(
        ended=last / 1e6,
        seconds=(last - begin) / 1e6,
        statuses=Counter(status for _, status, _ in ended),
        took=[took / 1e6 for _, status, took in ended if status == 200],
    )
