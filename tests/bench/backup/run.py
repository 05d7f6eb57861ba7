#!/usr/bin/env python3
"""Measure how long a backup, a drill and a restore take for each gigabyte of a database.

    tests/bench/backup/run.py [GB [ROUNDS]]        1 GB, 3 rounds unless told

On one fresh Debian 13 host with a local repository and a database of pgbench. Each round takes a full backup, proves
it, restores it beside the live server, and restores it over the live server twice: with the data there, of which a part
has changed (--delta), and with the data gone. Prints seconds (median, min, max) and seconds a gigabyte in Markdown.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests.backups import Kept, figures  # noqa: E402
from tests.stack import eventually, play  # noqa: E402

HOST = ROOT / "tests/hosts/host"
NAME = "bench-backup"
INVENTORY = HERE / "inventory"
STACK = Kept(NAME, ROOT / "unused")
SCALE = 67  # pgbench's, for a gigabyte
DATA = "/var/lib/postgresql/17/main"
PGBENCH = "runuser -u postgres -- pgbench bench"


def run(playbook: str, *arguments: str) -> str:
    """Run a playbook to its end and return what it said; end with it if it fails."""
    done = play(playbook, INVENTORY, *arguments)
    if done.returncode:
        sys.exit(done.stdout[-6000:])
    return done.stdout


def restored(*arguments: str) -> float:
    """Restore, and return the seconds that it took on the host."""
    return figures(run("playbooks/restore.yml", "-e", "to=latest", *arguments))["seconds"]


def main() -> None:
    """Measure and print."""
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    subprocess.run([HOST, "destroy", NAME], check=True)
    subprocess.run([HOST, "create", NAME, "--image=debian13"], check=True)
    try:
        run("site.yml")
        assert eventually(lambda: bool(STACK.repositories["local"].get("backup")), 120)
        STACK.sql("CREATE DATABASE bench")
        STACK.run(f"{PGBENCH} --initialize --quiet --scale {round(gigabytes * SCALE)}")
        took: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            assert STACK.start("slipway-backup@full")[0]
            backup = STACK.repositories["local"]["backup"]
            took["full backup"].append(backup["seconds"])
            assert STACK.drill("local") == (True, "")
            took["drill"].append(STACK.repositories["local"]["drill"]["seconds"])
            took["restore beside the live server"].append(restored())
            run("playbooks/restore.yml", "-e", "scratch=remove")
            STACK.run(f"{PGBENCH} --client 4 --time 10")
            took["restore over it, --delta"].append(restored("-e", f"live={NAME}"))
            time.sleep(5)
            STACK.run(f"systemctl stop postgresql@17-main && rm -rf {DATA}")
            took["restore over it, the data gone"].append(restored("-e", f"live={NAME}"))
        size = backup["size"] / 1e9
        print(
            f"{size:.2f} GB, {backup['stored'] / 1e9:.2f} GB in the repository, {rounds} rounds\n"
        )
        print("| seconds | median | min | max | a gigabyte |\n| --- | --- | --- | --- | --- |")
        for name, all_ in took.items():
            middle = statistics.median(all_)
            print(
                f"| {name} | {middle:.1f} | {min(all_):.1f} | {max(all_):.1f} | {middle / size:.1f} |"
            )
    finally:
        subprocess.run([HOST, "destroy", NAME], check=True)


if __name__ == "__main__":
    main()
