"""The scenario's hosts, what drives them, and the source of their application."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.hits import ALONE, CA, SCRATCH, figures
from tests.load import Source
from tests.stack import Stack, play, said, shows_journals


@pytest.fixture(scope="session")
def edge() -> Stack:
    """Return the edge."""
    return Stack("srvedge", CA)


@pytest.fixture(scope="session")
def stacks() -> list[Stack]:
    """Return the hosts behind it: the first has twice the weight of each other."""
    return [Stack(f"srvapp{number}", CA) for number in (1, 2, 3)]


@pytest.fixture(scope="session")
def lonely() -> list[Stack]:
    """Return the hosts without an edge, once they are set up: Gunicorn on Debian 12, Uvicorn on 13."""
    run = play("site.yml", ALONE)
    assert run.returncode == 0, run.stdout[-6000:]
    assert "hits answers at http://" in said(run) and "without TLS" in said(run)
    return [Stack("srvgun", CA, http_port=80), Stack("srvuvi", CA, http_port=80)]


@pytest.fixture(scope="session")
def source() -> Source:
    """Return the source that releases are made of."""
    return Source(SCRATCH / "hits")


pytest_runtest_makereport = shows_journals("hits@*", "nginx")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each test came to."""
    if figures:
        terminalreporter.section("what clients noticed")
        terminalreporter.line(
            "| what happened | requests | failed GETs | failed POSTs | tried once more | doubled | worst answer |"
        )
        terminalreporter.line("| --- | --- | --- | --- | --- | --- | --- |")
        for line in figures:
            terminalreporter.line(line)
