"""systemd, and what an application answers on its private socket."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Failed(Exception):
    """A command failed; the message is what it said."""


def run(*command: str, timeout: float | None = None, **options: Any) -> str:
    """Return what a command prints.

    Raises:
        Failed: It failed, or took longer than ``timeout`` seconds.
    """
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **options}
    try:
        done = subprocess.run(command, check=False, timeout=timeout, **options)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[0]} took longer than {timeout} s") from error
    if done.returncode:
        raise Failed(
            (done.stderr or done.stdout).strip() or f"{command[0]} ended with {done.returncode}"
        )
    return str(done.stdout).strip()


def systemctl(verb: str, *units: str) -> None:
    """Have systemd do something with units; nothing where there are none.

    Raises:
        Failed: It could not.
    """
    if units or verb == "daemon-reload":
        run("systemctl", "--quiet", verb, *units)


def properties(unit: str, *names: str) -> dict[str, str]:
    """Return properties of a unit, as ``systemctl show`` writes them."""
    said = run("systemctl", "show", f"--property={','.join(names)}", unit)
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def active(units: Iterable[str]) -> list[str]:
    """Return those of some units that run, or are on their way up or down."""
    units = list(units)
    if not units:
        return []
    # It prints a line for each unit, in order, and fails if any is not active: that is no error here.
    done = subprocess.run(
        ["systemctl", "is-active", *units], capture_output=True, text=True, check=False
    )
    at_rest = {"inactive", "failed", "unknown"}
    return [
        unit
        for unit, said in zip(units, done.stdout.splitlines(), strict=False)
        if said not in at_rest
    ]


def journal(units: Iterable[str], since: float, lines: int = 60) -> str:
    """Return the end of some units' journal since a time in seconds of the epoch."""
    of = (f"--unit={unit}" for unit in units)
    return run(
        "journalctl",
        "--quiet",
        "--no-pager",
        "--output=cat",
        *of,
        f"--since=@{since:.6f}",
        f"--lines={lines}",
    )


def processes(unit: str) -> list[int]:
    """Return the ids of a unit's first process and of its children; none where it does not run."""
    main = int(properties(unit, "MainPID").get("MainPID", "0"))
    return [main, *children(main)] if main else []


def children(process: int) -> list[int]:
    """Return the ids of a process's children, which for the first process of Gunicorn or Uvicorn are its workers."""
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [int(pid) for pid in found if not tracks(pid)]


def tracks(process: str) -> bool:
    """Tell whether a process is the one that Python itself starts beside Uvicorn's workers; it serves nothing."""
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return b"multiprocessing.resource_tracker" in command


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answer(path: Path, host: str, url: str, timeout: float = 5) -> tuple[int, str]:
    """Ask on a socket as Nginx would, and return the status and the beginning of the answer.

    The status is 0 where there was no answer; then the text says why.
    """
    connection = UnixConnection(path, timeout)
    try:
        connection.request(
            "GET", url, headers={"Host": host, "X-Forwarded-Proto": "https", "Connection": "close"}
        )
        response = connection.getresponse()
        return response.status, response.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__
    finally:
        connection.close()


def wait_for_health(path: Path, host: str, url: str, seconds: float) -> str:
    """Ask until the answer is 200. Return the empty text, or what the last answer was."""
    deadline = time.monotonic() + seconds
    while True:
        status, text = answer(path, host, url)
        if status == 200:
            return ""
        if time.monotonic() > deadline:
            return told(url, status, text)
        time.sleep(0.1)


def told(url: str, status: int, text: str) -> str:
    """Return an answer as people read it."""
    return (
        f"GET {url} answered {status}: {text}" if status else f"GET {url} was not answered: {text}"
    )
