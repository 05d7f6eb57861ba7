"""POSTs to an application, as fast as it answers, from its edge, while something happens; and what came of them.

They are h2load's, which the host needs: 32 clients, each with a connection that is kept. None is ever sent twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests import h2load
from tests.stack import Stack, eventually

CLIENTS, BATCH = 32, 4000  # a connection of Nginx's is good for 1,000 requests
FILE = "/tmp/flood"
# What Nginx does by itself once an upstream has `keepalive`.
ORDINARY = {"keepalive_time": "1h", "keepalive_timeout": "60s"}


@dataclass(frozen=True)
class Came:
    """What came of the POSTs that are over: how many were sent, and how many weren't answered with 2xx."""

    posts: int
    failed: int


def came(said: str) -> Came:
    """Read what all of h2load's runs have said; one that isn't over doesn't count."""
    runs = [f"starting benchmark{each}" for each in said.split("starting benchmark")[1:]]
    # Its last lines, which come after those that are read.
    over = [h2load.parse(each) for each in runs if "\ntime for request" in each]
    return Came(
        posts=sum(each.done + each.failed for each in over),
        failed=sum(each.done - each.good + each.failed for each in over),
    )


@dataclass(frozen=True)
class Flood:
    """A flood on its way."""

    edge: Stack

    def so_far(self) -> Came:
        """Return what has come of it by now."""
        return came(self.edge.run(f"cat {FILE}.said"))

    def refused(self, site: str) -> str:
        """Return the last lines of a site's log, and of its errors, that aren't of answers with 2xx."""
        logs = f"/var/log/nginx/{site}.json.log"
        return self.edge.run(
            f"grep -v '\"status\":2' {logs} | tail -n 5; tail -n 5 /var/log/nginx/{site}.error.log"
        )


@contextmanager
def flood(edge: Stack, url: str, body: dict[str, Any]) -> Iterator[Flood]:
    """Send POSTs while the block runs.

    Args:
        edge: The host that sends them, to itself.
        url: Such as ``https://tally.test/rows``.
        body: What each of them says, as JSON.
    """
    asked = h2load.command(
        url,
        clients=CLIENTS,
        requests=BATCH,
        to=f"127.0.0.1:{edge.https_port}",
        headers=["content-type: application/json"],
        options=[f"--data={FILE}.json"],
    )
    loop = f"while [ ! -e {FILE}.over ]; do {asked}; done"
    edge.run(f"rm -f {FILE}.*; touch {FILE}.said; tee {FILE}.json <<'END'\n{json.dumps(body)}\nEND")
    edge.run(f"tee {FILE}.sh <<'END'\n{loop} >>{FILE}.said 2>&1\nEND")
    edge.run(f"systemd-run --quiet --collect --unit=flood sh {FILE}.sh")
    flooding = Flood(edge)
    try:
        assert eventually(lambda: flooding.so_far().posts, 60), edge.run(f"cat {FILE}.said")
        yield flooding
    finally:
        edge.run(f"touch {FILE}.over; while systemctl is-active --quiet flood; do sleep 0.1; done")


def ordinary(site: str) -> str:
    """Return a site of Nginx's with connections to applications kept as Nginx keeps them by itself."""
    for name, value in ORDINARY.items():
        site, times = re.subn(rf"(?m)^(    {name}) .*;$", rf"\1 {value};", site)
        assert times, f"no {name} in the site"
    return site


@contextmanager
def ordinary_keepalive(edge: Stack, site: str) -> Iterator[None]:
    """Have Nginx keep its connections to applications of a site as it does by itself, while the block runs."""
    path = f"/etc/nginx/conf.d/slipway-{site}.conf"
    text = edge.run(f"cat {path}")

    def write(wanted: str) -> None:
        edge.run(f"tee {path} <<'END'\n{wanted}END")
        edge.run("nginx -t && systemctl reload nginx && sleep 2")

    write(ordinary(text))
    try:
        yield
    finally:
        write(text)
