"""The scenario's hosts, each test on each of them; a test that fails shows the journals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Stack, shows_journals


@pytest.fixture(scope="module", params=["apps13", "apps12"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return one of the scenario's hosts."""
    return Stack(request.param, ROOT / f".slipway/apps/{request.param}.pem")


@pytest.fixture(scope="session")
def stacks() -> list[Stack]:
    """Return all of them."""
    return [Stack(name, ROOT / f".slipway/apps/{name}.pem") for name in ("apps13", "apps12")]


@pytest.fixture(scope="session")
def inventory() -> Path:
    """Return the scenario's inventory."""
    return ROOT / "molecule/apps/inventory"


pytest_runtest_makereport = shows_journals(
    "notes@*", "ping@*", "shop*", "desk@*", "relay@*", "nginx", "postgresql@*"
)
