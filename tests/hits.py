"""Traffic on tests/apps/hits, which several hosts have, while something happens to one; and what came of it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.load import Traffic, probed
from tests.stack import ROOT, Stack, changes, play, said

INVENTORY = ROOT / "molecule/servers/inventory"
ALONE = ROOT / "molecule/servers/alone"
SCRATCH = ROOT / ".slipway/servers"
CA = SCRATCH / "srvedge.pem"
RATE = 100

figures: list[str] = []  # a line of the table for each while


def received(stacks: list[Stack], run: str) -> Counter[int]:
    """Return how often each POST of a run has reached any of the hosts."""
    lines = [stack.run(f"grep -h '^{run} ' /srv/hits/shared/received || true") for stack in stacks]
    return Counter(int(line.split()[1]) for text in lines for line in text.splitlines())


@contextmanager
def driven(what: str, through: Stack, stacks: list[Stack], **more: Any) -> Iterator[Traffic]:
    """Drive the application while the block runs; then no POST that was confirmed may be missing, and none doubled.

    Args:
        what: What happens meanwhile, for the table.
        through: Where requests are sent.
        stacks: The hosts that may get them.
        more: Keys of the probe's target.
    """
    traffic = Traffic(run=uuid.uuid4().hex)
    target = {
        **{"name": "hits", "host": "hits.test", "addresses": [through.address], "ca": str(CA)},
        **{"rate": RATE, "clients": 16, "websocket": ""},
        "requests": [
            {"method": "GET", "path": "/"},
            {
                **{"method": "POST", "path": "/received", "status": [201]},
                "body": {"run": traffic.run, "n": "{n}"},
            },
        ],
        **more,
    }
    with probed(traffic, target, lambda: sum(received(stacks, traffic.run).values()) > RATE / 4):
        yield traffic
    traffic.rows = received(stacks, traffic.run)
    figures.append(
        f"| {what} | {traffic.requests} | {failed_gets(traffic)} | {traffic.failed - failed_gets(traffic)} "
        f"| {traffic.result['retried']} | {len(traffic.doubled)} | {traffic.worst:.0f} ms |"
    )
    assert not traffic.missing, f"confirmed, and not there: {sorted(traffic.missing)}"
    assert not traffic.doubled, f"sent once, and there twice: {sorted(traffic.doubled)}"


def failed_gets(traffic: Traffic) -> int:
    """Return how many of the failures that are told in full are GETs."""
    return sum(failure["request"].startswith("GET") for failure in traffic.result["failures"])


def asked(edge: Stack, times: int) -> Counter[str]:
    """Return how often each host answers of some requests through the edge, one after another."""
    with httpx.Client(verify=edge.context(), timeout=20) as client:
        url, more = f"https://{edge.address}/", {"sni_hostname": "hits.test"}
        return Counter(
            client.get(url, headers={"Host": "hits.test"}, extensions=more).json()["host"]
            for _ in range(times)
        )


def served(playbook: str, inventory: Path, *arguments: str) -> str:
    """Run a playbook, see that it succeeds, and return what it said as one line."""
    run = play(playbook, inventory, *arguments)
    assert run.returncode == 0, run.stdout[-6000:]
    return said(run)


def unchanged(inventory: Path) -> None:
    """See that another run of site.yml would find nothing to do, and finds nothing."""
    for more in (["--check", "--diff"], []):
        run = play("site.yml", inventory, *more)
        assert run.returncode == 0, run.stdout[-6000:]
        assert set(changes(run).values()) == {0}, run.stdout[-6000:]
