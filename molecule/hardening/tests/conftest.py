"""The scenario's hosts, each test on each of them, and who attacks them; a test that fails shows the journals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.hardening import attacks, table, verdicts
from tests.stack import ROOT, Stack, shows_journals

HOSTS = ["hard13", "hard12"]


def named(name: str) -> Stack:
    """Return a host by its name."""
    return Stack(name, ROOT / f".slipway/hardening/{name}.pem")


@pytest.fixture(scope="session", params=HOSTS)
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return one of the hosts that are attacked."""
    return named(request.param)


@pytest.fixture(scope="session")
def stacks() -> list[Stack]:
    """Return all of them."""
    return [named(name) for name in HOSTS]


@pytest.fixture(scope="session")
def attacker(stacks: list[Stack]) -> Stack:
    """Return the host that attacks come from; it trusts the authority of each other, as a client would."""
    host = named("attacker")
    for each in stacks:
        host.run(f"tee /root/{each.name}.pem <<'END'\n{each.ca.read_text()}END")
    return host


@pytest.fixture(scope="session")
def bare() -> Stack:
    """Return a host as it was installed: what fails elsewhere must succeed there, or it would fail everywhere."""
    return named("bare13")


@pytest.fixture(scope="session")
def inventory() -> Path:
    """Return the scenario's inventory."""
    return ROOT / "molecule/hardening/inventory"


pytest_runtest_makereport = shows_journals("tally@*", "keeper@*", "probeable@*", "nginx", "ssh")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the judges say, before and after, and what came of each attack."""
    for title, found in {"what the judges say": verdicts, "what came of attacks": attacks}.items():
        if found:
            terminalreporter.section(title)
            terminalreporter.line(table(found))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what switches options on be the last, on each host: what that installs stays there."""
    items.sort(key=lambda item: item.path.name == "test_with_checklist.py")
