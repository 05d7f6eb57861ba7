#!/usr/bin/env python3
"""Measure what releases cost those who use the application meanwhile, beside the ways that are usual.

    tests/bench/deploy/run.py [ROUNDS]        20 rounds unless told, half an hour

On one fresh Debian 13 host, one after the other, each under the same traffic (tests/load.py, 100 requests a second, 16
clients, a WebSocket): nothing at all; ROUNDS deployments of a change of one line, each followed by a rollback; and then
as many restarts of one Gunicorn with the unit of Gunicorn's own documentation, bound to its socket by itself or by
systemd, and as many reloads of it. Prints tables in Markdown: requests, times with what takes them, memory.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.fresh import say  # noqa: E402
from tests.load import CLIENTS, RATE, Source, Traffic, traffic  # noqa: E402
from tests.stack import Run, Stack, eventually  # noqa: E402

HOST = ROOT / "tests/hosts/host"
NAME = "bench-deploy"
SCRATCH = ROOT / ".slipway/bench"
STACK = Stack(NAME, SCRATCH / f"{NAME}.pem")

QUIET = 60  # seconds of traffic with nothing going on
PAUSE = 3  # seconds between two restarts
CALM = 3  # deployments and rollbacks without traffic

# As docs.gunicorn.org has it, "Deploying Gunicorn", Systemd; the socket is where Nginx looks for it.
SERVICE = """\
[Service]
Type=notify
NotifyAccess=main
User=tally
Group=tally
WorkingDirectory=/srv/tally/live/release/src
EnvironmentFile=/srv/tally/live/environment
ExecStart=/srv/tally/live/release/venv/bin/gunicorn main:app --umask 007 --workers 2 \\
    --worker-class uvicorn_worker.UvicornWorker {bind}
ExecReload=/bin/kill -s HUP $MAINPID
KillMode=mixed
TimeoutStopSec=5
PrivateTmp=true
"""
SOCKET = """\
[Socket]
ListenStream={path}
SocketUser=tally
SocketGroup=tally
SocketMode=0660
"""


class Played:
    """A playbook that has run to its end: how long it and its steps took, in seconds."""

    def __init__(self, playbook: str, *arguments: str) -> None:
        begun = time.time()
        run = Run(playbook, HERE / "inventory", *arguments)
        if run.wait().returncode:
            sys.exit(f"{playbook} failed\n{run.output()[-6000:]}")
        self.whole = time.time() - begun
        switched = json.loads(STACK.run("tail -n 1 /srv/tally/releases.jsonl"))["finished_at"]
        self.switched = datetime.fromisoformat(switched).timestamp() - begun
        self.steps: dict[str, float] = defaultdict(float)
        headings = [(at, line) for at, line in run.timed if line.startswith(("TASK", "PLAY"))]
        before, step = begun, "start of Ansible"
        for at, line in headings:
            self.steps[step] += at - before
            found = re.match(r"TASK \[fastapi_app : (\w+) \|", line)
            before, step = at, found[1] if found else "facts and inventory"
        self.steps[step] += begun + self.whole - before


def spread(values: Iterable[float]) -> str:
    """Return median, min and max as cells of a table."""
    known = list(values)
    return " | ".join(
        f"{value:.2f}" for value in (statistics.median(known), min(known), max(known))
    )


def memory(slot: str) -> float:
    """Return the proportional set size of a slot's processes, in MiB."""
    processes = f"/sys/fs/cgroup/system.slice/system-tally.slice/tally@{slot}.service/cgroup.procs"
    said = STACK.run(f"for one in $(cat {processes}); do cat /proc/$one/smaps_rollup; done")
    return sum(int(size) for size in re.findall(r"(?m)^Pss: +(\d+) kB", said)) / 1024


def live() -> str:
    """Return the slot that serves."""
    return STACK.run("readlink /srv/tally/live").strip().rpartition("/")[2]


def usual(rounds: int, verb: str, by_systemd: bool = False) -> Traffic:
    """Have one Gunicorn serve as its documentation has it, and restart or reload it under traffic.

    Args:
        rounds: How often.
        verb: ``restart`` or ``reload``.
        by_systemd: Whether systemd keeps the socket.
    """
    slot = live()
    path = f"/run/tally/{slot}.sock"
    units = {"plain.service": SERVICE.format(bind="" if by_systemd else f"--bind unix:{path}")}
    if by_systemd:
        units["plain.socket"] = SOCKET.format(path=path)
    for name, text in units.items():
        STACK.run(f"tee /etc/systemd/system/{name} <<'END'\n{text}END")
    STACK.run(f"systemctl daemon-reload && systemctl stop tally@{slot} && rm -f {path}")
    STACK.run(f"systemctl start {'plain.socket' if by_systemd else ''} plain.service")
    assert eventually(lambda: STACK.get("https://tally.test/readyz").status_code == 200)
    with traffic(STACK) as driven:
        for _ in range(rounds):
            STACK.run(f"systemctl {verb} plain.service")
            time.sleep(PAUSE)
    STACK.run(
        "systemctl stop $(ls /etc/systemd/system | grep ^plain) && rm /etc/systemd/system/plain.*"
    )
    STACK.run(f"systemctl daemon-reload && systemctl start tally@{slot}")
    assert eventually(lambda: STACK.get("https://tally.test/readyz").status_code == 200)
    return driven


def requests(rows: dict[str, tuple[int, Traffic]], quiet: Traffic) -> str:
    """Return what came of the requests as a table; latencies in milliseconds."""
    lines = [
        "| ms | times | requests | failed | longest outage | rows lost | worst | p50 | p99 | p99 to quiet |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (times, driven) in rows.items():
        cells = [
            name,
            str(times or ""),
            str(driven.requests),
            str(driven.failed),
            f"{driven.outage:.0f}" if driven.failed else "",
            str(len(driven.missing)),
            f"{driven.worst:.0f}",
            f"{driven.result['p50_ms']:.1f}",
            f"{driven.result['p99_ms']:.1f}",
            f"{driven.result['p99_ms'] / quiet.result['p99_ms']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def times(name: str, plays: list[Played]) -> list[str]:
    """Return the lines of a table with how long a playbook took, in seconds."""
    return [
        f"| {name}, to the switch | {spread(play.switched for play in plays)} |",
        f"| {name}, whole | {spread(play.whole for play in plays)} |",
    ]


def breakdown(deployments: list[Played], rollbacks: list[Played]) -> str:
    """Return where the time goes as a table: medians in seconds, in the order of a deployment."""
    lines = ["| step, s | deploy | rollback |", "| --- | --- | --- |"]
    for step in deployments[0].steps:
        cells = [
            f"{statistics.median(play.steps[step] for play in plays):.2f}"
            if any(play.steps[step] for play in plays)
            else ""
            for plays in (deployments, rollbacks)
        ]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    shutil.rmtree(SCRATCH, ignore_errors=True)
    shutil.copytree(ROOT / "tests/apps/tally", SCRATCH / "tally")
    source = Source(SCRATCH / "tally")
    say("setting up the host")
    subprocess.run([HOST, "destroy", NAME], check=True)
    subprocess.run([HOST, "create", NAME, "--image=debian13"], check=True)
    Played("site.yml")

    def deploy() -> Played:
        source.change()
        return Played("playbooks/deploy.yml")

    def rollback() -> Played:
        return Played("playbooks/rollback.yml", "-e", "app=tally")

    calm = [(deploy(), rollback()) for _ in range(CALM)]
    rows: dict[str, tuple[int, Traffic]] = {}

    say(f"nothing going on, {QUIET} s")
    with traffic(STACK) as quiet:
        time.sleep(QUIET)
    rows["nothing going on"] = (0, quiet)

    loaded, overlap = [], []
    with traffic(STACK) as driven:
        for number in range(1, rounds + 1):
            loaded.append((deploy(), rollback()))
            overlap.append(memory("blue") + memory("green"))
            deployment, back = loaded[-1]
            say(
                f"round {number}: {deployment.switched:.1f} s to the switch, {back.whole:.1f} s back"
            )
    rows["deploy and rollback"] = (2 * rounds, driven)
    slot = live()
    STACK.run(f"systemctl stop tally@{'green' if slot == 'blue' else 'blue'}")
    rest = memory(slot)

    say("the usual ways")
    rows["`systemctl restart`"] = (rounds, usual(rounds, "restart"))
    rows["`systemctl restart`, the socket systemd's"] = (rounds, usual(rounds, "restart", True))
    rows["`systemctl reload` (HUP)"] = (rounds, usual(rounds, "reload"))

    print(f"{RATE} requests a second, {CLIENTS} clients, {rounds} rounds\n")
    print(requests(rows, quiet), end="\n\n")
    print("| seconds | median | min | max |\n| --- | --- | --- | --- |")
    for when, pairs in (("", calm), (" under traffic", loaded)):
        print("\n".join(times(f"`deploy.yml`{when}", [pair[0] for pair in pairs])))
        print("\n".join(times(f"`rollback.yml`{when}", [pair[1] for pair in pairs])))
    print("\n" + breakdown([pair[0] for pair in calm], [pair[1] for pair in calm]), end="\n\n")
    print("| memory (PSS), MiB | |\n| --- | --- |")
    print(f"| one slot, at rest | {rest:.0f} |")
    print(f"| both slots, after a rollback | {statistics.median(overlap):.0f} |")
    print("\nWebSocket:")
    for name, (_, driven) in rows.items():
        print(
            f"- {name}: {json.dumps(driven.result['websocket'])}; {driven.result['retried']} retried"
        )
        print("\n".join(f"  - {line}" for line in driven.failures().splitlines()[:3]))
    subprocess.run([HOST, "destroy", NAME], check=True)


if __name__ == "__main__":
    main()
