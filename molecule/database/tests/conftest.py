"""The scenario's hosts, and what a server says when it is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.load import Play
from tests.stack import ROOT, Stack, play, shows_journals

INVENTORY = ROOT / "molecule/database/inventory"
SCRATCH = ROOT / ".slipway/database"


HOSTS = ["db13", "db12"]


def named(name: str) -> Stack:
    """Return a host by its name."""
    return Stack(name, SCRATCH / f"{name}.pem")


@pytest.fixture(params=HOSTS)
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return one of the scenario's hosts after the other."""
    return named(request.param)


@pytest.fixture(scope="session")
def stacks() -> list[Stack]:
    """Return both, for what happens to both by one run."""
    return [named(name) for name in HOSTS]


@pytest.fixture(scope="session")
def site() -> Play:
    """Return what runs site.yml, to its end."""
    return lambda *arguments: play("site.yml", INVENTORY, *arguments)


pytest_runtest_makereport = shows_journals("tally@*", "nginx", "postgresql@*")
