#!/usr/bin/env python3
"""Measure the stack beside what people would use instead, side by side, and write down what came of it.

    make bench            or tests/bench/speed/run.py [--rounds 5] [--seconds 5] [--folder docs/performance] [--keep]

On one fresh Debian 13 host: the board as Slipway runs it, with TLS, headers, limits and its JSON log; and beside it, on
the same rows, the peers of tests/bench/speed/peers, whose README says how fairly. h2load on the host itself asks one
after the other, 64 clients over HTTP/1.1 with connections that are kept; in the next round in the opposite order. A
round before the first warms up and doesn't count. CPU is that of the units' cgroups. A quarter of an hour with the
defaults; nothing else should run on the machine.

Writes bench.json, rates.json and two plots into the folder, and the tables into the document beside it
(docs/performance.md), between its marks.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT))

from tests import h2load  # noqa: E402
from tests.bench.fresh import drop, say, set_up  # noqa: E402
from tests.bench.speed import report  # noqa: E402
from tests.bench.speed.report import Round, Sample  # noqa: E402
from tests.stack import Stack, eventually  # noqa: E402

NAME = "bench-speed"
SCRATCH = ROOT / ".slipway/bench"
PLOT = ROOT / ".slipway/plot"
STACK = Stack(NAME, SCRATCH / f"{NAME}.pem")

CLIENTS = 64
ROWS = {"board": 100_000, "thousand": 1_000, "million": 1_000_000}
ROW = 50_000  # an old deployment, of which no details are kept
SMALL, ONE, LIST = "/healthz", f"/api/deployments/{ROW}", "/api/deployments"
FRESH = "Cookie: fresh=1"  # passes the micro-cache by
SCRIPT = 200_000
SOCKET = "/srv/board/live/app.sock"
PGBENCH = "$(ls -d /usr/lib/postgresql/*/bin)/pgbench"

NGINX, POSTGRESQL = "nginx.service", "system-postgresql.slice"
# Debian's, with its own main file and what a tutorial adds to that.
TUTORIAL, TUTORIALS = "bench-nginx.service", "/etc/nginx/tutorial"
# Each with its user, and its command as its own documentation has it.
PEERS = {
    "template": ("template", "fastapi run --workers 4 --host 127.0.0.1 --port 8101 app/main.py"),
    "asynchronous": ("asynchronous", "uvicorn main:app --workers 4 --host 127.0.0.1 --port 8102"),
    "tutorial": ("board", "uvicorn board.main:app --workers 4 --host 127.0.0.1 --port 8103"),
}
UNIT = """\
[Service]
User={user}
Group={user}
WorkingDirectory=/srv/{user}/live/release/src
EnvironmentFile=/srv/{user}/live/environment
ExecStart=/srv/{user}/live/release/venv/bin/{command}
"""


@dataclass(frozen=True)
class Step:
    """What is asked for, how it is reached, and the units that answer, by the part that they are."""

    url: str
    units: dict[str, str]
    headers: tuple[str, ...] = ()
    port: int = 0  # instead of the URL's
    socket: str = ""


def ours(app: str, path: str, *headers: str) -> Step:
    """Return a step by Slipway's edge."""
    units = {"nginx": NGINX, "application": f"system-{app}.slice", "PostgreSQL": POSTGRESQL}
    return Step(f"https://{app}.test{path}", units, headers, port=443)


def peer(name: str, path: str, port: int, nginx: bool = False) -> Step:
    """Return a step by plain HTTP."""
    units = {"application": f"bench-{name}.service", "PostgreSQL": POSTGRESQL}
    return Step(f"http://127.0.0.1:{port}{path}", ({"nginx": TUTORIAL} if nginx else {}) | units)


def direct(path: str) -> Step:
    """Return a step by the socket on which the application answers Nginx."""
    units = {"application": "system-board.slice", "PostgreSQL": POSTGRESQL}
    return Step(f"http://board.test{path}", units, socket=SOCKET)


GZIP = "Accept-Encoding: gzip"
STEPS = {
    "ours/small": ours("board", SMALL),
    "direct/small": direct(SMALL),
    "tutorial/small": peer("tutorial", SMALL, 8110, nginx=True),
    "raw/small": ours("raw", SMALL),
    "ceiling/small": Step("https://raw.test:8445/", {"nginx": NGINX}, port=8445),
    "ours/row": ours("board", ONE),
    "direct/row": direct(ONE),
    "template/row": peer("template", ONE, 8101),
    "asynchronous/row": peer("asynchronous", ONE, 8102),
    "template-nginx/row": peer("template", ONE, 8111, nginx=True),
    "asynchronous-nginx/row": peer("asynchronous", ONE, 8112, nginx=True),
    "ours/list": ours("board", LIST),
    "direct/list": direct(LIST),
    "template/list": peer("template", LIST, 8101),
    "asynchronous/list": peer("asynchronous", LIST, 8102),
    "template-nginx/list": peer("template", LIST, 8111, nginx=True),
    "asynchronous-nginx/list": peer("asynchronous", LIST, 8112, nginx=True),
    "thousand/list": ours("thousand", LIST, FRESH),
    "million/list": ours("million", LIST, FRESH),
    "cached/list": ours("million", LIST),
    "ours/script": Step("https://raw.test/static/script.js", {"nginx": NGINX}, (GZIP,), port=443),
    "on-the-fly/script": Step("https://raw.test:8444/static/script.js", {"nginx": NGINX}, (GZIP,), port=8444),
}  # fmt: skip


def usage(units: Sequence[str]) -> dict[str, int]:
    """Return the CPU that units have taken, in microseconds."""
    files = " ".join(f"{unit}/cpu.stat" for unit in units)
    said = STACK.run(f"cd /sys/fs/cgroup/system.slice && grep -H ^usage_usec {files}")
    return taken(said)


def taken(said: str) -> dict[str, int]:
    """Read what cgroups say of their CPU, by unit."""
    found = re.findall(r"(?m)^(\S+)/cpu\.stat:usage_usec (\d+)$", said)
    return {unit: int(microseconds) for unit, microseconds in found}


def measured(step: Step, seconds: int) -> Sample:
    """Measure a step."""
    units = list(step.units.values())
    to = f"127.0.0.1:{step.port}" if step.port else ""
    before = usage(units)
    said = STACK.run(
        h2load.command(
            *(step.url,),
            clients=CLIENTS,
            seconds=seconds,
            socket=step.socket,
            to=to,
            headers=step.headers,
        )
    )
    after = usage(units)
    result = h2load.parse(said)
    if result.failed or result.good != result.done:
        sys.exit(f"{step.url}: not all were answered\n{said}")
    cpu = {part: (after[unit] - before[unit]) / result.done for part, unit in step.units.items()}
    return Sample(result.rate, cpu, result.body / result.done)


def select_only(seconds: int) -> Sample:
    """Measure what PostgreSQL itself does: rows by their number, by prepared statements."""
    before = usage([POSTGRESQL])
    said = STACK.run(
        f'runuser -u postgres -- sh -c "{PGBENCH} -S -M prepared -n -c 8 -j 2 -T {seconds} pgbench" 2>&1'
    )
    after = usage([POSTGRESQL])
    rate, done = transactions(said)
    return Sample(rate, {"PostgreSQL": (after[POSTGRESQL] - before[POSTGRESQL]) / done}, 0)


def transactions(said: str) -> tuple[float, int]:
    """Read what pgbench says: transactions a second, and in all."""
    rate = re.search(r"(?m)^tps = ([\d.]+) \(without", said)
    done = re.search(r"(?m)^number of transactions actually processed: (\d+)", said)
    assert rate and done, said
    return float(rate[1]), int(done[1])


def memory() -> float:
    """Return the proportional set size of two of the board's workers and their master, in MiB."""
    unit = "board@$(basename $(readlink /srv/board/live))"
    master = STACK.run(f"systemctl show --property MainPID --value {unit}").strip()
    workers = STACK.run(f"pgrep --parent {master}").split()[:2]
    said = STACK.run(f"for one in {master} {' '.join(workers)}; do cat /proc/$one/smaps_rollup; done")  # fmt: skip
    sizes = re.findall(r"(?m)^Pss: +(\d+) kB", said)
    assert len(sizes) == 3, said
    return sum(map(int, sizes)) / 1024


def round_of(number: int, seconds: int) -> Round:
    """Measure each step once, in an order that the next round has turned round."""
    names = [*STEPS, "pgbench/row"]
    found: dict[str, Sample] = {}
    for name in names if number % 2 else reversed(names):
        step = STEPS.get(name)
        found[name] = measured(step, seconds) if step else select_only(seconds)
    # Each line of a log is some 500 bytes.
    STACK.run(
        "truncate --size=0 /var/log/nginx/*.log; journalctl --quiet --rotate --vacuum-size=16M"
    )
    return {name: found[name] for name in names}


# --- The host ---------------------------------------------------------------------------------


def material() -> None:
    """Lay out the sources that are shipped."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    shutil.copytree(HERE / "peers", SCRATCH / "peers")
    # Program text of this size, whatever the language: Python's own library.
    library = Path(statistics.__file__).parent
    text = "".join((library / f"{name}.py").read_text() for name in ("argparse", "typing", "inspect"))  # fmt: skip
    script = SCRATCH / "peers/raw/static/script.js"
    script.parent.mkdir()
    script.write_text(text[:SCRIPT])


def prepare() -> None:
    """Make the host, with all that is measured on it."""
    set_up(NAME, HERE / "inventory")
    STACK.run("apt-get install --quiet --yes --no-install-recommends nghttp2-client")
    for app, rows in ROWS.items():
        fill(app, rows)
    for name in ("template", "asynchronous"):
        copy_rows(name)
        # Slipway has shipped them; they are run as their users run them.
        STACK.run(
            f"systemctl disable --quiet --now {name}@$(basename $(readlink /srv/{name}/live))"
        )
    for name, (user, command) in PEERS.items():
        unit = UNIT.format(user=user, command=command)
        STACK.run(f"tee /etc/systemd/system/bench-{name}.service <<'END'\n{unit}END")
    STACK.run(f"systemctl daemon-reload && systemctl start {' '.join(f'bench-{name}' for name in PEERS)}")  # fmt: skip
    other = (
        f"s|/etc/nginx/conf.d/|{TUTORIALS}/|; /sites-enabled/d; s|/run/nginx.pid|/run/tutorial.pid|"
    )
    STACK.run(f"mkdir {TUTORIALS} && sed '{other}' /etc/nginx/nginx.conf > {TUTORIALS}/nginx.main")
    for path in sorted((HERE / "peers/nginx").glob("*.conf")):
        folder = TUTORIALS if path.stem == "tutorial" else "/etc/nginx/conf.d"
        STACK.run(f"tee {folder}/{path.name} <<'END'\n{path.read_text()}END")
    STACK.run("nginx -t && systemctl reload nginx && sleep 2")
    STACK.run(
        f"systemd-run --quiet --unit {TUTORIAL} nginx -c {TUTORIALS}/nginx.main -g 'daemon off;'"
    )
    postgres = "cd / && runuser -u postgres -- sh -c"
    STACK.run(f'{postgres} "createdb pgbench && {PGBENCH} -i -q pgbench" 2>&1')


def fill(app: str, rows: int) -> None:
    """Plant a fleet's log, with the application's own command and nobody who listens."""
    unit = f"{app}@$(basename $(readlink /srv/{app}/live))"
    home = f"/srv/{app}/live"
    STACK.run(f"systemctl stop {unit}")
    STACK.run(
        f"systemd-run --quiet --wait --pipe --uid={app} --property=EnvironmentFile={home}/environment "
        f"--working-directory=$(readlink -f {home}/release/src) "
        f"$(readlink -f {home}/release)/venv/bin/python -m board seed --deployments {rows}"
    )
    STACK.run(f"{psql(app)} --command 'VACUUM ANALYZE'")
    STACK.run(f"systemctl start {unit}")


def psql(database: str) -> str:
    """Return the beginning of a command that asks a database as PostgreSQL's superuser."""
    return f"cd / && runuser -u postgres -- psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname {database}"


def copy_rows(name: str) -> None:
    """Give a peer the board's rows, in a table of its own with the primary key."""
    dump = "pg_dump --section=pre-data --section=data --no-owner --no-privileges --table=deployment board"
    read = f"psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 {name}"
    STACK.run(f"cd / && runuser -u postgres -- sh -c '{dump} | {read}' >/dev/null")
    statements = ["ALTER TABLE deployment ADD PRIMARY KEY (id)", f"GRANT SELECT ON deployment TO {name}"]  # fmt: skip
    for statement in [*statements, "VACUUM ANALYZE deployment"]:
        STACK.run(f"{psql(name)} --command '{statement}'")


def asked(step: Step) -> Any:
    """Return what a step answers, as Python has it."""
    words = ["curl", "--silent", "--show-error", "--fail", "--insecure", "--max-time", "20"]
    if step.socket:
        words += ["--unix-socket", step.socket]
    elif step.port:
        words += ["--connect-to", f"::127.0.0.1:{step.port}"]
    words += [word for header in step.headers for word in ("--header", header)]
    return json.loads(STACK.run(shlex.join([*words, step.url])))


def check() -> None:
    """See that all answer, and the same."""
    for name, step in STEPS.items():
        if not name.endswith("/script"):
            assert eventually(lambda step=step: answers(step), 60), f"{name}: {step.url}"  # type: ignore[misc]
    row = asked(STEPS["ours/row"])
    first = rows_of(asked(STEPS["ours/list"]))[0]
    for name in ("template", "asynchronous", "template-nginx", "asynchronous-nginx", "direct"):
        theirs, listed = asked(STEPS[f"{name}/row"]), rows_of(asked(STEPS[f"{name}/list"]))
        for key in ("id", "app", "host", "release", "version", "status", "message"):
            assert theirs[key] == row[key], f"{name}: another {key} than ours"
            assert listed[0][key] == first[key], f"{name}: another {key} in the list than ours"
        assert len(listed) == 50, f"{name}: {len(listed)} rows"


def answers(step: Step) -> bool:
    """Tell whether a step answers."""
    try:
        asked(step)
    except (AssertionError, ValueError):
        return False
    return True


def rows_of(answer: Any) -> list[dict[str, Any]]:
    """Return the rows of a list, however it is wrapped."""
    found: list[dict[str, Any]] = (
        answer if isinstance(answer, list) else answer.get("items") or answer["data"]
    )
    return found


def versions() -> dict[str, str]:
    """Return what was measured, by name."""
    names = {
        "board": ["fastapi", "uvicorn", "gunicorn", "psycopg", "uvloop"],
        "template": ["sqlmodel", "sqlalchemy"],
        "asynchronous": ["asyncpg"],
    }
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found: dict[str, str] = {}
    for app, packages in names.items():
        python = f"/srv/{app}/live/release/venv/bin/python"
        said = STACK.run(f"{python} -c {shlex.quote(code)} {' '.join(packages)}").split()
        found |= dict(zip(packages, said, strict=True))
    python = STACK.run("/srv/board/live/release/venv/bin/python --version").split()[-1]
    return {
        "Debian": STACK.run("cat /etc/debian_version").strip(),
        "Linux": STACK.run("uname -r").strip(),
        "Nginx": STACK.run("nginx -v 2>&1").strip().rpartition("/")[2],
        "PostgreSQL": STACK.run("psql --version").split()[2],
        "Python": python,
        **found,
        "h2load": STACK.run("h2load --version").strip().rpartition("/")[2],
    }


def draws() -> list[str]:
    """Make the environment that plots are drawn in, and return the beginning of a command there."""
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", PLOT], check=True)
    lock = ROOT / "requirements/bench.txt"
    install = ["pip", "install", "--quiet", "--require-hashes", "--python", str(PLOT)]
    subprocess.run([uv, *install, "--requirement", lock], check=True)
    return [str(PLOT / "bin/python"), str(HERE / "plot.py")]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="5 unless told")
    parser.add_argument("--seconds", type=int, default=5, help="that each step lasts, 5 unless told")  # fmt: skip
    folder = ROOT / "docs/performance"
    parser.add_argument("--folder", type=Path, default=folder, help="where the figures go")
    parser.add_argument("--keep", action="store_true", help="leave the host there")
    given = parser.parse_args()
    plot = draws()
    material()
    prepare()
    check()
    say("warming up")
    round_of(0, min(2, given.seconds))
    rounds, rest = [], []
    for number in range(1, given.rounds + 1):
        time.sleep(5)  # at rest
        rest.append(memory())
        rounds.append(round_of(number, given.seconds))
        rates = ", ".join(f"{name} {each.rate:,.0f}" for name, each in rounds[-1].items())
        say(f"round {number}: {rest[-1]:.0f} MiB; {rates}")
    model = STACK.run("grep -m 1 '^model name' /proc/cpuinfo || true").rpartition(": ")[2].strip()
    cores = STACK.run("nproc").strip()
    facts = {
        "date": STACK.run("date --utc +%F").strip(),
        "how": f"{given.rounds} rounds of {given.seconds} s a step, {CLIENTS} clients on the host itself, "
        f"{cores} cores{f' ({model})' if model else ''}",
        "versions": versions(),
    }
    report.write(given.folder.resolve(), rounds, rest, facts)
    subprocess.run([*plot, given.folder.resolve()], check=True)
    compared = report.entries(rounds, rest)
    print(report.ratio_table(compared))
    short = [f"{one['against']}, {one['on']}: {by}" for one in compared if (by := report.missed(one))]  # fmt: skip
    print("\n".join([f"Aims missed: {len(short)}", *short]))
    if not given.keep:
        drop(NAME)


if __name__ == "__main__":
    main()
