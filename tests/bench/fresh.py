"""What benches begin with: a host that has only what their inventory asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT, play

HOST = ROOT / "tests/hosts/host"


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def set_up(name: str, inventory: Path) -> None:
    """Make a Debian 13 host anew and have ``site.yml`` set it up; if that fails, end with what it said.

    Args:
        name: The host's.
        inventory: One that has it.
    """
    say("setting up the host")
    drop(name)
    subprocess.run([HOST, "create", name, "--image=debian13"], check=True)
    done = play("site.yml", inventory)
    if done.returncode:
        sys.exit(done.stdout[-4000:])


def drop(name: str) -> None:
    """Destroy a host, if it is there."""
    subprocess.run([HOST, "destroy", name], check=True)
