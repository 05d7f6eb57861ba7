#!/usr/bin/env python3
"""Measure what a script of 200 kB costs, by what the client takes, beside an Nginx that compresses it each time.

    tests/bench/static/run.py [ROUNDS]        3 rounds unless told, two minutes

On one fresh Debian 13 host h2load asks for the script 10,000 times, with each Accept-Encoding in turn, round after
round: of the site that Slipway makes, whose siblings were compressed at the build, and of a server of the
same Nginx on another port with `gzip on`, at its default level. Prints bytes over the wire and CPU seconds of
Nginx's workers, medians, as a table in Markdown.
"""

from __future__ import annotations

import re
import shutil
import statistics
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.fresh import drop, set_up  # noqa: E402
from tests.stack import Stack  # noqa: E402

NAME = "bench-static"
SCRATCH = ROOT / ".slipway/bench"
STACK = Stack(NAME, SCRATCH / f"{NAME}.pem")
SIZE, REQUESTS = 200_000, 10_000

# What most sites have: compressed anew for each request.
ON_THE_FLY = """\
server {
    listen 444 ssl;
    http2 on;
    server_name notes.test;
    ssl_certificate /etc/slipway/tls/notes/fullchain.pem;
    ssl_certificate_key /etc/slipway/tls/notes/privkey.pem;
    gzip on;
    gzip_types application/javascript;
    location /static/ {
        alias /srv/notes/live/release/static/;
    }
}
"""


def cpu() -> float:
    """Return the CPU seconds that Nginx's workers have taken."""
    said = STACK.run("cat $(pgrep --parent $(cat /run/nginx.pid) | sed 's,.*,/proc/&/stat,')")
    ticks = (line.rpartition(")")[2].split()[11:13] for line in said.splitlines())
    return sum(int(user) + int(system) for user, system in ticks) / 100


def asked(port: int, encoding: str) -> tuple[float, float]:
    """Return bytes of content for each answer, and CPU seconds for 10,000 of them."""
    before = cpu()
    said = STACK.run(
        # A connection is good for 1,000 requests.
        f"h2load --requests {REQUESTS} --clients 16 --max-concurrent-streams 4 --connect-to 127.0.0.1:{port} "
        f"--header 'accept-encoding: {encoding}' https://notes.test:{port}/static/script.js"
    )
    taken = cpu() - before
    assert f" {REQUESTS} succeeded" in said and f" {REQUESTS} 2xx" in said, said
    content = re.search(r"\((\d+)\) data", said)
    assert content, said
    return int(content[1]) / REQUESTS, taken


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    shutil.rmtree(SCRATCH, ignore_errors=True)
    shutil.copytree(ROOT / "tests/apps/notes", SCRATCH / "notes")
    # Program text of this size, whatever the language: Python's own library.
    library = Path(statistics.__file__).parent
    text = "".join(
        (library / f"{name}.py").read_text() for name in ("argparse", "typing", "inspect")
    )
    (SCRATCH / "notes/static").mkdir()
    (SCRATCH / "notes/static/script.js").write_text(text[:SIZE])
    set_up(NAME, HERE / "inventory")
    STACK.run("apt-get install --quiet --yes --no-install-recommends nghttp2-client")
    STACK.run(f"tee /etc/nginx/conf.d/on-the-fly.conf <<'END'\n{ON_THE_FLY}END")
    STACK.run("nginx -t && systemctl reload nginx && sleep 2")

    cases = {
        "as it is": (443, "identity"),
        "Brotli, of the build": (443, "br, gzip"),
        "gzip, of the build": (443, "gzip"),
        "gzip, on the fly": (444, "gzip"),
    }
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(asked(*case))
    ratio = statistics.median(seconds for _, seconds in found["gzip, on the fly"])
    print(f"{REQUESTS} requests, medians of {rounds} rounds\n")
    print("| a script of 200 kB | bytes over the wire | CPU seconds | to gzip on the fly |")
    print("| --- | --- | --- | --- |")
    for name, results in found.items():
        size, seconds = (statistics.median(values) for values in zip(*results, strict=True))
        print(f"| {name} | {size:,.0f} | {seconds:.2f} | {seconds / ratio:.3f} |")
    drop(NAME)


if __name__ == "__main__":
    main()
