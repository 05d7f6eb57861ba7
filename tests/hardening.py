"""How tests attack a host: from the next one, and as an application that was taken over; and what came of it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.stack import Stack, eventually

Table = dict[str, dict[str, str]]  # what each line is about, and what each host has come to
Report = dict[str, list[str]]  # of Lynis: each key with all its values
Reports = dict[str, Report]

verdicts: Table = defaultdict(dict)
attacks: Table = defaultdict(dict)

# The secret of an application, so that whoever looks for it doesn't find himself looking.
TALLYS_SECRET = "nobody-else-may-read-thi[s]-0123456789"


def table(found: Table) -> str:
    """Return a table in Markdown: a line for each thing, a column for each host, in the order in which they came."""
    hosts = list(dict.fromkeys(host for cells in found.values() for host in cells))
    lines = [f"| | {' | '.join(hosts)} |", f"| --- |{' --- |' * len(hosts)}"]
    lines += [
        f"| {what} | {' | '.join(cells.get(host, '') for host in hosts)} |"
        for what, cells in found.items()
    ]
    return "\n".join(lines)


@contextmanager
def attack(stack: Stack, what: str) -> Iterator[None]:
    """Note what came of an attack: it was refused if the block, which says so, gets to its end.

    Args:
        stack: The host that is attacked.
        what: What is tried.
    """
    attacks[what][stack.name] = "NOT REFUSED"
    yield
    attacks[what][stack.name] = "refused"


def inside(stack: Stack, *command: str, seconds: float = 15) -> tuple[int, str]:
    """Run a command as the application that was taken over; return its exit code and all that it said."""
    answer = stack.request(
        "POST",
        "https://probeable.test/run",
        params={"seconds": seconds},
        json=list(command),
        timeout=seconds + 20,
    )
    assert answer.status_code == 200, answer.text
    came = answer.json()
    return came["code"], came["said"]


def outside(stack: Stack, user: str, *command: str) -> tuple[int, str]:
    """Run a command as a user of the host, in no sandbox; return the same."""
    done = stack.host.run(f"runuser -u {user} -- {shlex.join(command)} 2>&1")
    return done.rc, done.stdout


def reached(source: Stack, address: str, port: int) -> bool:
    """Tell whether a host gets a TCP connection to an address, which may have a zone, within some seconds."""
    program = f"import socket; socket.create_connection(('{address}', {port}), timeout=4)"
    return bool(source.host.run("python3 -c %s", program).rc == 0)


@contextmanager
def listening(stack: Stack, port: int) -> Iterator[None]:
    """Have something listen on a port of a host's address while the block runs."""
    unit = f"bait-{port}"
    serve = f"python3 -m http.server --bind {stack.address} --directory /usr/share/doc {port}"
    stack.run(f"systemd-run --quiet --collect --unit={unit} {serve}")
    try:
        assert eventually(lambda: reached(stack, stack.address, port), 20), stack.journal(unit)
        yield
    finally:
        stack.run(f"systemctl stop {unit}")


# Has Lynis judge the host that it runs on, and prints its report. What it has found is nobody's to find, and a second
# look finds the host as it was.
LYNIS = """
set -e
{ apt-get update --quiet
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends lynis
lynis audit system --quick --quiet --no-colors --logfile /root/judged.log --report-file /root/judged.dat; } >/dev/null
cat /root/judged.dat
{ rm /root/judged.*; apt-get purge --quiet --yes lynis; } >/dev/null
"""


def read(said: str) -> Report:
    """Return what a report of Lynis says."""
    report: Report = {}
    for line in said.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            report.setdefault(key.removesuffix("[]"), []).append(value)
    return report


def judged(hosts: list[Stack], also: str = "") -> Reports:
    """Have Lynis judge hosts, all at a time, since it takes a minute; return its reports by the hosts' names.

    Args:
        hosts: The hosts.
        also: What to add to their lines of the table.
    """
    with ThreadPoolExecutor() as pool:
        said = pool.map(lambda host: host.run(LYNIS), hosts)
        found = {host.name: read(each) for host, each in zip(hosts, said, strict=True)}
    for name, report in found.items():
        noted(name, report, also)
    return found


def noted(name: str, report: Report, also: str = "") -> None:
    """Have a report in the table."""
    for what, value in (
        ("hardening index", index(report)),
        ("warnings", len(report.get("warning", []))),
        ("suggestions", len(report.get("suggestion", []))),
    ):
        verdicts[f"Lynis: {what}{also}"][name] = str(value)


def index(report: Report) -> int:
    """Return Lynis' hardening index, of 100."""
    return int(report["hardening_index"][0])


def left(report: Report) -> str:
    """Return what Lynis would have otherwise, below its index."""
    kinds = ("warning", "suggestion")
    found = [f"{kind}: {value}" for kind in kinds for value in report.get(kind, [])]
    return "\n".join([f"{index(report)}; what is left:", *found])
