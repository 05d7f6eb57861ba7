"""The scenario's hosts, each test on each of them; a test that fails shows the journals."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Stack, add_journals

UNITS = ("notes@*", "ping@*", "shop*", "desk@*", "relay@*", "nginx", "postgresql@*")


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the services' journals to the report of a test that failed."""
    report = yield
    add_journals(report, item, UNITS)
    return report
