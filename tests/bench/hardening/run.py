#!/usr/bin/env python3
"""Measure what the sandbox and the firewall cost: requests a second with both, and without either.

    tests/bench/hardening/run.py [ROUNDS]        7 rounds unless told, ten minutes

On one fresh Debian 13 host with the board and 1,000 deployments, asked over TLS by h2load on another host, so that each
packet goes through the firewall. The two ways take turns: as Slipway sets it up; and with the units of the application,
Nginx and PostgreSQL without the directives that shut them in and bound them, and without the firewall's table. Prints a
table in Markdown: medians, with the least and the most, and the ratio of each round.

Exits with 1 if a median ratio is below what is aimed at. Both hosts share the cores of the machine: what it takes to
ask is taken from what is answered, in both ways.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests import h2load  # noqa: E402
from tests.stack import Stack, eventually, play  # noqa: E402

HOST = ROOT / "tests/hosts/host"
NAME, CLIENT = "bench-hardening", "bench-client"
SCRATCH = ROOT / ".slipway/bench"
STACK = Stack(NAME, SCRATCH / f"{NAME}.pem")
ASKS = Stack(CLIENT, SCRATCH / "none.pem")
PAGES = {"small JSON": "/healthz", "list of 50": "/api/deployments"}
WAYS = {"with": True, "without": False}
CLIENTS, SECONDS, WARM_UP = 32, 10, 3
AIM = 0.97
FIREWALL, LOADED = "slipway-firewall.service", "nft list table inet slipway"

# What shuts a unit in, or bounds what it may take.
SANDBOX = re.compile(
    "(AmbientCapabilities|CapabilityBoundingSet|CPUQuota|CPUWeight|Device|Inaccessible|IOWeight|IPAddress|Keyring|LockPersonality|Memory"
    "|NoExecPaths|NoNewPrivileges|Private|ProcSubset|Protect|ReadOnlyPaths|ReadWritePaths|RemoveIPC|Restrict|SystemCall"
    "|TasksMax)"
)
FILL = """
    INSERT INTO deployment (app, host, release, status, started_at, finished_at)
    SELECT 'shop', 'app' || n % 20, md5(n::text), 'succeeded', now() - interval '1 h', now()
    FROM generate_series(1, 1000) AS n
"""


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def stripped(unit: str) -> str:
    """Return a unit, or a drop-in of one, without what shuts it in."""
    return "".join(_stripped(unit))


def _stripped(unit: str) -> Iterator[str]:
    dropped = continued = False
    for line in unit.splitlines(keepends=True):
        dropped = dropped if continued else bool(SANDBOX.match(line))
        continued = line.rstrip().endswith("\\")
        if not dropped:
            yield line


class Switch:
    """What switches between the two ways."""

    def __init__(self) -> None:
        slot = STACK.run("readlink /srv/board/live").strip().rpartition("/")[2]
        self.app = f"board@{slot}.service"
        servers = STACK.run(
            "systemctl list-units --plain --no-legend 'postgresql@*.service'"
        ).splitlines()
        self.units = [line.split()[0] for line in servers] + [self.app, "nginx.service"]
        shown = STACK.run(
            f"systemctl show --property FragmentPath,DropInPaths --value {' '.join(self.units)}"
        )
        # Debian's own are Debian's in both ways.
        self.files = {
            path: STACK.run(f"cat '{path}'")
            for path in shown.split()
            if path.startswith("/etc/systemd/system/")
        }
        assert STACK.host.run(LOADED).rc == 0, "there is no firewall"
        assert any(stripped(text) != text for text in self.files.values()), "there is no sandbox"

    def to(self, hardened: bool) -> None:
        """Go over to one way, and wait until it serves."""
        for path, text in self.files.items():
            STACK.run(f"tee '{path}' <<'END'\n{text if hardened else stripped(text)}END")
        STACK.run(f"systemctl {'restart' if hardened else 'stop'} {FIREWALL}")
        assert (STACK.host.run(LOADED).rc == 0) is hardened
        STACK.run(f"systemctl daemon-reload && systemctl restart {' '.join(self.units)}")
        assert eventually(lambda: STACK.get("https://board.test/readyz").status_code == 200, 30)

    def exposure(self) -> str:
        """Return what systemd says of the application's unit, from 0, the best, to 10."""
        said = STACK.run(f"systemd-analyze security --no-pager {self.app}")
        found = re.search(r"exposure level for \S+: ([\d.]+)", said)
        assert found, said
        return found[1]


def measured(path: str) -> float:
    """Return how many requests for a page are answered in a second."""
    return h2load.parse(
        ASKS.run(
            h2load.command(
                f"https://board.test{path}",
                clients=CLIENTS,
                seconds=SECONDS,
                warm_up=WARM_UP,
                to=f"{STACK.address}:443",
            )
        )
    ).rate


def prepare() -> None:
    """Make the hosts, and what is asked for."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    say("setting up the hosts")
    subprocess.run([HOST, "destroy", NAME, CLIENT], check=True)
    for name in (NAME, CLIENT):
        subprocess.run([HOST, "create", name, "--image=debian13"], check=True)
    # The load stands for that of many clients, and comes from one address.
    unlimited = json.dumps({"nginx_unlimited_networks": [f"{ASKS.address}/32"]})
    done = play("site.yml", HERE / "inventory", "--extra-vars", unlimited)
    if done.returncode:
        sys.exit(done.stdout[-4000:])
    ASKS.run("apt-get update --quiet")
    ASKS.run("apt-get install --quiet --yes --no-install-recommends nghttp2-client")
    psql = "runuser -u postgres -- psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname board"
    STACK.run(f"{psql} --command \"{FILL}\" --command 'VACUUM ANALYZE'")


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    prepare()
    switch = Switch()
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    exposures = {}
    for number in range(rounds):
        for way, hardened in list(WAYS.items())[:: -1 if number % 2 else 1]:
            switch.to(hardened)
            exposures[way] = switch.exposure()
            for page, path in PAGES.items():
                rates[page, way].append(measured(path))
                say(f"round {number + 1}, {way}, {page}: {rates[page, way][-1]:,.0f}")
    assert exposures["with"] != exposures["without"], "the two ways are one"
    missed = report(rates, exposures)
    subprocess.run([HOST, "destroy", NAME, CLIENT], check=True)
    sys.exit(1 if missed else 0)


def spread(values: list[float], form: str) -> str:
    """Return the median with the least and the most."""
    least, median, most = (
        format(each, form) for each in (min(values), statistics.median(values), max(values))
    )
    return f"{median} ({least} to {most})"


def report(rates: dict[tuple[str, str], list[float]], exposures: dict[str, str]) -> list[str]:
    """Print what was found; return the pages that miss the aim."""
    missed = []
    print("| requests a second | with | without | ratio | aim |\n| --- | --- | --- | --- | --- |")
    for page in PAGES:
        ratios = [
            hardened / other
            for hardened, other in zip(rates[page, "with"], rates[page, "without"], strict=True)
        ]
        cells = [spread(rates[page, way], ",.0f") for way in WAYS]
        print(f"| {page} | {' | '.join(cells)} | {spread(ratios, '.3f')} | {AIM} at least |")
        if statistics.median(ratios) < AIM:
            missed.append(page)
    print(f"\nmedians of {len(ratios)} rounds, the least and the most;", end=" ")
    print(
        "exposure of the application's unit:", ", ".join(f"{exposures[way]} {way}" for way in WAYS)
    )
    return missed


if __name__ == "__main__":
    main()
