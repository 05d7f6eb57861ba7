#!/usr/bin/env python3
"""Measure pgbench with the settings that follow from the host, beside those that Debian's package comes with.

    tests/bench/postgresql/run.py [ROUNDS [SECONDS [SCALE]]]    5 rounds of 30 s at scale 60 unless told, 20 minutes

One fresh Debian 13 host with PostgreSQL and nothing else. Its cluster `main` is as the role makes it; beside it is one
that `pg_createcluster` makes with its defaults, checksums too, so that only settings differ. Both stay up, with the
same rows (SCALE times 100,000 accounts); they take turns, and a checkpoint comes before each. Prints transactions a
second, medians, with the ratio to Debian's, as a table in Markdown.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.fresh import drop, set_up  # noqa: E402
from tests.stack import Stack  # noqa: E402

NAME = "bench-postgresql"
STACK = Stack(NAME, ROOT / "none")
CLUSTERS = {"Debian's": 5433, "Slipway's": 5432}
CLIENTS = 8
WORK = {
    "TPC-B, as pgbench has it": "",
    "one row read": "--select-only",
    "a join and a sort of all rows": "--file=/tmp/report.sql --client=1",
}
REPORT = """\
SELECT bid, count(*), sum(abalance) FROM pgbench_accounts JOIN pgbench_branches USING (bid)
GROUP BY bid ORDER BY sum(abalance) DESC, bid;
"""


def postgres(command: str) -> str:
    """Run a command as the server's user."""
    return STACK.run(f"cd /tmp && runuser -u postgres -- {command}")


def measured(port: int, options: str, seconds: int) -> float:
    """Return transactions a second."""
    postgres(f"psql -Xqp {port} -c CHECKPOINT")
    shape = f"--client={CLIENTS} --jobs=2 --time={seconds} --no-vacuum"
    said = postgres(f"pgbench -p {port} {shape} {options} bench")
    (rate,) = re.findall(r"tps = ([\d.]+) \(without", said)
    return float(rate)


def main() -> None:
    """Measure and print."""
    rounds, seconds, scale = (
        int(given) for given in [*sys.argv[1:], *["5", "30", "60"][len(sys.argv) - 1 :]]
    )
    set_up(NAME, HERE / "inventory")
    STACK.run("pg_createcluster 17 debian --port 5433 --start -- --data-checksums")
    STACK.run(f"echo '{REPORT}' > /tmp/report.sql")
    for port in CLUSTERS.values():
        postgres(f"createdb -p {port} bench")
        postgres(f"pgbench -p {port} --initialize --quiet --scale={scale} bench")

    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for work, options in WORK.items():
            for name, port in CLUSTERS.items():
                found[work, name].append(measured(port, options, seconds))

    memory = STACK.run("free -m | awk '/^Mem/ {print $2}'").strip()
    print(f"{os.cpu_count()} cores, {memory} MB, scale {scale}, {rounds} rounds of {seconds} s\n")
    print("| work | Debian's settings | Slipway's | ratio |")
    print("| --- | --- | --- | --- |")
    for work in WORK:
        theirs, ours = (statistics.median(found[work, name]) for name in CLUSTERS)
        print(f"| {work} | {theirs:,.1f} | {ours:,.1f} | {ours / theirs:.2f} |")
    drop(NAME)


if __name__ == "__main__":
    main()
