#!/usr/bin/env python3
"""Measure what honest clients notice of slow ones: the p99 of their requests beside 2,000 of them, and at rest.

    tests/bench/edge/slowloris.py [HOST] [ROUNDS]      a host of the scenario edge, edge13 unless told; 3 rounds

Wants `molecule converge --scenario-name edge`. Each honest request has a connection of its own, at most twenty a
second for 20 s. Rest and attack take turns. Prints the p99 of each and their ratio. The slow clients run on the same
machine and take its processor, too: on a busy one repeat it.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.slow import honest, percentile, slowloris  # noqa: E402
from tests.stack import Stack  # noqa: E402

URL = "https://plain.test/seen"
SECONDS = 20
MANY = 2000


def main() -> None:
    """Measure and print."""
    name = sys.argv[1] if len(sys.argv) > 1 else "edge13"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    stack = Stack(name, ROOT / f".slipway/edge/{name}.pem")
    ratios = []
    for number in range(rounds):
        rest = percentile(honest(stack, URL, SECONDS), 0.99)
        with slowloris(stack, MANY) as held:
            time.sleep(2)
            beside = percentile(honest(stack, URL, SECONDS), 0.99)
        ratios.append(beside / rest)
        print(
            f"round {number + 1}: p99 {rest * 1000:.1f} ms at rest, {beside * 1000:.1f} ms beside "
            f"{min(held)} to {max(held)} slow clients, ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"{name}: median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
