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


@pytest.fixture(params=["db13", "db12"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return one of the scenario's hosts after the other."""
    return Stack(request.param, SCRATCH / f"{request.param}.pem")


@pytest.fixture(scope="session")
def site() -> Play:
    """Return what runs site.yml, to its end."""
    return lambda *arguments: play("site.yml", INVENTORY, *arguments)


pytest_runtest_makereport = shows_journals("tally@*", "nginx", "postgresql@*")
