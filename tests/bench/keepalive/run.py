#!/usr/bin/env python3
"""Count the POSTs that releases cost, with connections to the application kept as Slipway has it and as Nginx has it.

    tests/bench/keepalive/run.py [--posts 100000] [--switches 20] [--cases 13-socket,12-tcp]        45 minutes

On Debian 13 and 12, over the Unix socket of one host and over TCP between two: a flood of POSTs (tests/flood.py) to
tests/apps/hits, which notes each in a file, while `playbooks/rollback.yml` goes to and fro between two releases. Once
with the bounded life of connections that the role `nginx` gives them, and once with `keepalive_time 1h` and
`keepalive_timeout 60s`, which is what Nginx does by itself: it shows that the flood would notice. Each case has fresh
hosts, one after another; h2load runs on that of the edge. Prints a table in Markdown.

Exits with 1 if with the bounded life a POST failed, was lost or came twice, or if with the other none failed over a
socket.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.fresh import say  # noqa: E402
from tests.flood import Came, flood, ordinary_keepalive  # noqa: E402
from tests.load import Source  # noqa: E402
from tests.stack import Stack, eventually, play  # noqa: E402

HOST = ROOT / "tests/hosts/host"
SCRATCH = ROOT / ".slipway/bench"
RECEIVED = "/srv/hits/shared/received"
SETTLED = 5  # seconds from the end of a rollback until what served has ended, fastapi_app_settle_time among them
CASES = ["13-socket", "12-socket", "13-tcp", "12-tcp"]
WAYS = {"bounded": "Slipway's", "ordinary": "Nginx's own"}


@dataclass(frozen=True)
class Case:
    """A Debian release, and how Nginx reaches the application on it."""

    name: str

    @property
    def image(self) -> str:
        """Return what its hosts are made of."""
        return f"debian{self.name.partition('-')[0]}"

    @property
    def edge(self) -> str:
        """Return the host that has Nginx."""
        return f"keep-{self.name}"

    @property
    def app(self) -> str:
        """Return the host that has the application."""
        return self.edge if self.name.endswith("socket") else f"{self.edge}-app"

    @property
    def inventory(self) -> Path:
        """Return where its inventory is."""
        return SCRATCH / f"{self.name}/hosts.yml"

    @property
    def stack(self) -> Stack:
        """Return how its edge is spoken to."""
        return Stack(self.edge, SCRATCH / f"{self.name}/ca.pem")

    @property
    def behind(self) -> Stack:
        """Return how the application's host is spoken to."""
        return Stack(self.app, SCRATCH / f"{self.name}/ca.pem")

    def hosts(self) -> list[str]:
        """Return its hosts."""
        return list(dict.fromkeys([self.edge, self.app]))

    def described(self, addresses: dict[str, str]) -> dict[str, Any]:
        """Return its inventory; JSON is YAML."""
        return {
            "all": {
                "hosts": {host: {"slipway_address": addresses[host]} for host in self.hosts()},
                "vars": {
                    "ansible_user": "deploy",
                    "certificates_ca_fetch_to": str(SCRATCH / f"{self.name}/ca.pem"),
                    "apps": {
                        "hits": {
                            "source": str(SCRATCH / "hits"),
                            "module": "main:app",
                            "domains": ["hits.test"],
                            "health": "/readyz",
                            "probe": {"rate": 0},
                        }
                    },
                },
                "children": {
                    "edge": {"hosts": {self.edge: {}}},
                    "app": {"hosts": {self.app: {}}},
                },
            }
        }


@dataclass(frozen=True)
class Outcome:
    """What came of one case, one way."""

    came: Came
    switches: int
    bad_gateways: int
    rows: int


def played(case: Case, playbook: str, *arguments: str) -> None:
    """Run a playbook, and end with it if it fails."""
    run = play(playbook, case.inventory, *arguments)
    if run.returncode:
        sys.exit(f"{case.name}: {playbook} failed\n{run.stdout[-6000:]}")


def serving(case: Case) -> str:
    """Return the release that serves."""
    return case.behind.run("basename $(readlink -f /srv/hits/live/release)").strip()


def made(case: Case, source: Source) -> list[str]:
    """Make the hosts of a case with two releases on them, and return those, the one that serves last."""
    subprocess.run([HOST, "destroy", *case.hosts()], check=True)
    for name in case.hosts():
        subprocess.run([HOST, "create", name, f"--image={case.image}"], check=True)
    case.inventory.parent.mkdir(parents=True, exist_ok=True)
    described = case.described({name: Stack(name, Path()).address for name in case.hosts()})
    case.inventory.write_text(json.dumps(described, indent=2))
    releases = []
    for playbook in ("site.yml", "playbooks/deploy.yml"):
        source.change()
        played(case, playbook)
        releases.append(serving(case))
    assert len(set(releases)) == 2, releases
    case.stack.run("apt-get install --quiet --yes --no-install-recommends nghttp2-client")
    return releases


def flooded(case: Case, releases: list[str], switches: int, posts: int) -> Outcome:
    """Switch to and fro under a flood, and return what came of it."""
    log = "/var/log/nginx/hits.json.log"
    case.behind.run(f"truncate --no-create --size=0 {RECEIVED}")
    case.stack.run(f"truncate --size=0 {log}")
    with flood(case.stack, "https://hits.test/received", {"run": case.name, "n": 1}) as flooding:
        for number in range(switches):
            releases.reverse()
            played(case, "playbooks/rollback.yml", "-e", "app=hits", "-e", f"release={releases[-1]}")  # fmt: skip
            time.sleep(SETTLED)
            say(f"{case.name}: switch {number + 1}, {flooding.so_far()}")
        eventually(lambda: flooding.so_far().posts >= posts, 600)
    came = flooding.so_far()
    bad = int(case.stack.run(f"grep -c '\"status\":502' {log} || true"))
    rows = int(case.behind.run(f"wc -l < {RECEIVED}"))
    return Outcome(came, switches, bad, rows)


def row(case: Case, way: str, outcome: Outcome) -> str:
    """Return a line of the table."""
    came = outcome.came
    cells = [
        f"Debian {case.image.removeprefix('debian')}",
        "Unix socket" if case.name.endswith("socket") else "TCP",
        WAYS[way],
        str(outcome.switches),
        f"{came.posts:,}",
        f"{came.failed:,}",
        f"{outcome.bad_gateways:,}",
        f"{outcome.rows:,}",
    ]
    return f"| {' | '.join(cells)} |"


def wrong(case: Case, way: str, outcome: Outcome, posts: int) -> list[str]:
    """Return what an outcome is that it mustn't be."""
    found, came, where = [], outcome.came, f"{case.name}, {WAYS[way]}"
    if came.posts < posts:
        found.append(f"{where}: only {came.posts} POSTs were sent")
    if way == "bounded":
        if came.failed:
            found.append(f"{where}: {came.failed} POSTs failed")
        if outcome.rows != came.posts:
            found.append(f"{where}: {outcome.rows} rows of {came.posts} POSTs")
    elif case.name.endswith("socket") and not came.failed:
        found.append(f"{where}: no POST failed, so that a failure might not have been seen")
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=100_000, help="at least so many a case")
    parser.add_argument("--switches", type=int, default=20, help="so many a case")
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    given = parser.parse_args()
    shutil.rmtree(SCRATCH, ignore_errors=True)
    shutil.copytree(ROOT / "tests/apps/hits", SCRATCH / "hits")
    source = Source(SCRATCH / "hits")
    lines, errors = [], []
    for name in given.cases.split(","):
        case = Case(name)
        say(f"{name}: setting up")
        releases = made(case, source)
        for way in WAYS:
            if way == "ordinary":
                with ordinary_keepalive(case.stack, "hits"):
                    outcome = flooded(case, releases, given.switches, given.posts)
            else:
                outcome = flooded(case, releases, given.switches, given.posts)
            lines.append(row(case, way, outcome))
            errors += wrong(case, way, outcome, given.posts)
            say(lines[-1])
        subprocess.run([HOST, "destroy", *case.hosts()], check=True)
    print("| on | over | keep-alive | switches | POSTs | failed | 502 in the log | written |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))
    print("\n".join(["", *errors]), file=sys.stderr)
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
