"""The scenario's machine; a test that fails shows its journals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.hardening import attacks, table, verdicts
from tests.stack import ROOT, Stack, shows_journals


@pytest.fixture(scope="session")
def stack() -> Stack:
    """Return the machine, which is reached by ports of this one."""
    return Stack("metal13", ROOT / ".slipway/metal/metal13.pem", https_port=19443, http_port=19080)


pytest_runtest_makereport = shows_journals("tally@*", "probeable@*", "nginx", "postgresql@*")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what came of each attack, and what the reboot took."""
    if found := {**attacks, **verdicts}:
        terminalreporter.section("what came of it")
        terminalreporter.line(table(found))
