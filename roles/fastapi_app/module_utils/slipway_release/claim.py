"""Who releases an application on this host: one run at a time, and one step at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import slots

# Gone after a reboot, as the runs are that it speaks of.
CLAIMS = Path("/run/slipway")
STEP_SECONDS = 90


class Refused(Exception):
    """Another run has the application; the message says whose it is."""


def holder(app: str) -> dict[str, Any]:
    """Return the run that has an application: id, by, node, pid and since; empty if none has."""
    try:
        found: dict[str, Any] = json.loads((CLAIMS / f"{app}.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


@contextlib.contextmanager
def step(app: str, name: str, run: str = "") -> Iterator[None]:
    """Do one step of a release: alone on this host, and only while the run has the application.

    A step outlives a run that is killed: the next run waits for its end, or it would find the host half changed.

    Args:
        app: The application.
        name: The step's name, for those who wait.
        run: The id of the run; empty for a step that needs no claim.

    Raises:
        Refused: Another run has the application, or a step of it does not end.
    """
    CLAIMS.mkdir(mode=0o755, exist_ok=True)
    with (CLAIMS / f"{app}.lock").open("a+") as lock:
        deadline = time.monotonic() + STEP_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise Refused(
                        f"{lock.read()} of an earlier run is still at work; wait for it, and run this again"
                    ) from None
                time.sleep(0.1)
        lock.truncate(0)
        lock.write(name)
        lock.flush()
        if run and (other := holder(app)).get("run") != run:
            raise Refused(
                f"{whose(other)} has taken the release over"
                if other
                else "the host was restarted during the release; run it again"
            )
        yield


def whose(held: dict[str, Any]) -> str:
    """Return a holder as people read it."""
    return f"{held['by']} (since {held['since']}, process {held['pid']})"


def take(app: str, run: dict[str, Any], over: str) -> None:
    """Take an application for a run; within a step.

    Args:
        app: The application.
        run: The run, as the claim keeps it.
        over: The id of a run whose claim may be taken over, since it has ended; ``any`` for every one.

    Raises:
        Refused: Another run has it.
    """
    held = holder(app)
    if held and held["run"] != run["run"] and over not in ("any", held["run"]):
        raise Refused(
            f"{whose(held)} is releasing it. Wait for its end; if it has ended without a word, "
            "take over: -e takeover=true"
        )
    slots.write(CLAIMS / f"{app}.json", json.dumps(run))


def drop(app: str, run: str) -> None:
    """Give an application back, if the run has it."""
    if holder(app).get("run") == run:
        (CLAIMS / f"{app}.json").unlink(missing_ok=True)
