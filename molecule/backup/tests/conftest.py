"""Two hosts with backups, the store of both, and figures of what came back; a test that fails shows the journals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.backups import SCRATCH, Figure, Kept, hosts
from tests.load import Source
from tests.stack import eventually, shows_journals

lines: list[str] = []


@pytest.fixture(scope="session")
def stacks() -> list[Kept]:
    """Return both hosts, once their first backups have come to an end."""
    both = hosts()
    for host in both:
        done = eventually(
            lambda host=host: all(of.get("backup") for of in host.repositories.values()),  # type: ignore[misc]
            180,
        )
        assert done, host.journal("slipway-backup@full")
    return both


@pytest.fixture(scope="session")
def stack(stacks: list[Kept]) -> Kept:
    """Return the host whose store is S3."""
    return stacks[0]


@pytest.fixture(scope="session")
def source() -> Source:
    """Return the source that releases are made of."""
    return Source(SCRATCH / "tally")


@pytest.fixture(scope="session")
def figure() -> Figure:
    """Return what keeps a figure, to be shown at the end."""
    return lines.append


pytest_runtest_makereport = shows_journals("slipway-backup@*", "slipway-drill*", "postgresql@*")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures, and leave them in .slipway/backup/figures.txt."""
    if lines:
        terminalreporter.section("what came back")
        terminalreporter.write("".join(f"{line}\n" for line in lines))
        (SCRATCH / "figures.txt").write_text("\n".join(lines) + "\n")
