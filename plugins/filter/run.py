"""Filters that tell a run of Ansible from another, so that two of them don't release at once."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def _stat(pid: int) -> tuple[int, str]:
    """Return the parent and the start of a process, in ticks since boot.

    Raises:
        OSError: There is no such process.
    """
    # What precedes is the program's name, in which anything may stand.
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[19]


def _process() -> int:
    """Return the process of the run: the outermost ``ansible-playbook``, of which tasks are descendants."""
    found = pid = os.getpid()
    while pid > 1:
        if b"ansible-playbook" in (PROC / str(pid) / "cmdline").read_bytes():
            found = pid
        pid = _stat(pid)[0]
    return found


def _node() -> str:
    """Return what tells this control node, since it was started, from every other, and from containers on it."""
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {(PROC / 'self/ns/pid').readlink()}"


def this_run(_: Any = None) -> dict[str, Any]:
    """Return what tells this run from others: run (its id), by (who, and where), node and pid."""
    pid = _process()
    return {
        "run": f"{_node()} {pid} {_stat(pid)[1]}",
        "by": f"{getpass.getuser()}@{socket.gethostname()}",
        "node": _node(),
        "pid": pid,
    }


def has_ended(claim: Mapping[str, Any]) -> bool:
    """Tell whether the run that holds a claim is known to have ended: it was one of this control node.

    Args:
        claim: As ``releases_info`` says it; empty for none.
    """
    if not claim or claim["node"] != _node():
        return False
    try:
        start = _stat(int(claim["pid"]))[1]
    except OSError:
        return True
    return bool(f"{_node()} {claim['pid']} {start}" != claim["run"])


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {"slipway_has_ended": has_ended, "slipway_this_run": this_run}
