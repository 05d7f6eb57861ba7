"""The scenario's host under load, the source of its application, and a table of what each test came to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.load import Begin, Drive, Play, Source, State, Traffic, table, traffic
from tests.stack import ROOT, Run, Stack, play, shows_journals

INVENTORY = ROOT / "molecule/deploy/inventory"
SCRATCH = ROOT / ".slipway/deploy"

outcomes: list[tuple[str, Traffic, State]] = []


@pytest.fixture(scope="session")
def stack() -> Stack:
    """Return the scenario's host."""
    return Stack("deploy13", SCRATCH / "deploy13.pem")


@pytest.fixture(scope="session")
def source() -> Source:
    """Return the source that releases are made of."""
    return Source(SCRATCH / "tally")


@pytest.fixture(scope="session")
def load(stack: Stack) -> Drive:
    """Return what drives the application while something happens, and then checks that no row was lost or doubled."""

    @contextmanager
    def drive(what: str) -> Iterator[Traffic]:
        with traffic(stack) as driven:
            yield driven
        outcomes.append((what, driven, State.of(stack)))
        assert not driven.missing, f"confirmed, and not there: {sorted(driven.missing)}"
        assert not driven.doubled, f"sent once, and there twice: {sorted(driven.doubled)}"

    return drive


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return what starts a playbook on the scenario's inventory and doesn't wait for it."""
    runs: list[Run] = []

    def start(playbook: str, *arguments: str) -> Run:
        runs.append(Run(playbook, INVENTORY, *arguments))
        return runs[-1]

    yield start
    for run in runs:
        if not run.ended():
            run.kill()


@pytest.fixture(scope="session")
def deploy() -> Play:
    """Return what ships a release, to its end."""
    return lambda *arguments: play("playbooks/deploy.yml", INVENTORY, *arguments)


@pytest.fixture(scope="session")
def rollback() -> Play:
    """Return what takes one back, to its end."""
    return lambda *arguments: play("playbooks/rollback.yml", INVENTORY, *arguments)


pytest_runtest_makereport = shows_journals("tally@*", "tally-retire", "nginx", "postgresql@*")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each test came to, and leave it as Markdown in .slipway/deploy/outcomes.md."""
    if outcomes:
        terminalreporter.section("what was sent and what was lost")
        terminalreporter.write(table(outcomes))
        (SCRATCH / "outcomes.md").write_text(table(outcomes))
