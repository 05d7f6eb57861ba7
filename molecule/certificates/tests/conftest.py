"""The edges, each test on each of them; a test that fails shows the journals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.certificates import NAMES, Edge, edge
from tests.stack import shows_journals


@pytest.fixture(scope="session", params=NAMES)
def stack(request: pytest.FixtureRequest) -> Edge:
    """Return one of the edges."""
    return edge(request.param)


@pytest.fixture(scope="session")
def stacks() -> list[Edge]:
    """Return both, for what happens to both by one run."""
    return [edge(name) for name in NAMES]


pytest_runtest_makereport = shows_journals("nginx", "slipway-acme", "web@*")
