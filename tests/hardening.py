"""How tests attack a host: from the next one, and as an application that was taken over; and what came of it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stack import Stack, eventually

Table = dict[str, dict[str, str]]  # what each line is about, and what each host has come to

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
