"""The stack's hosts, each test on each of them; a test that fails shows the journals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Stack, shows_journals


@pytest.fixture(scope="session", params=["stack13", "stack12"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return one of the scenario's hosts."""
    return Stack(request.param, ROOT / f".slipway/stack/{request.param}.pem")


@pytest.fixture(scope="session")
def inventory() -> Path:
    """Return the scenario's inventory."""
    return ROOT / "molecule/stack/inventory"


pytest_runtest_makereport = shows_journals("board@*", "notes@*", "ping@*", "nginx", "postgresql@*")
