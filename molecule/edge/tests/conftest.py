"""The scenario's hosts, each test on each of them; a test that fails shows the journals."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Configure, Stack, play, shows_journals

HOSTS = ["edge13", "edge12"]


def named(name: str) -> Stack:
    """Return a host by its name."""
    return Stack(name, ROOT / f".slipway/edge/{name}.pem")


@pytest.fixture(scope="session", params=HOSTS)
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return one of the scenario's hosts."""
    return named(request.param)


@pytest.fixture(scope="session")
def stacks() -> list[Stack]:
    """Return all of them."""
    return [named(name) for name in HOSTS]


@pytest.fixture(scope="session")
def clients(stacks: list[Stack]) -> Stack:
    """Return the host from which clients ask that this machine may lack; it trusts the authority of each host."""
    (debian13, *_) = stacks
    debian13.run(
        "apt-get install --quiet --yes --no-install-recommends bind9-dnsutils curl nghttp2-client testssl.sh"
    )
    for each in stacks:
        debian13.run(f"tee {each.name}.pem <<'END'\n{each.ca.read_text()}END")
    return debian13


@pytest.fixture(scope="session")
def inventory() -> Path:
    """Return the scenario's inventory."""
    return ROOT / "molecule/edge/inventory"


@pytest.fixture(scope="module")
def configured(inventory: Path) -> Iterator[Configure]:
    """Return what sets the host up with options of the role, and have it as it was afterwards."""
    names = set()

    def configure(stack: Stack, **options: Any) -> None:
        names.add(stack.name)
        run = play(
            "site.yml", inventory, "--limit", stack.name, "--extra-vars", json.dumps(options)
        )
        assert run.returncode == 0, run.stdout[-4000:]

    yield configure
    for name in names:
        run = play("site.yml", inventory, "--limit", name)
        assert run.returncode == 0, run.stdout[-4000:]


pytest_runtest_makereport = shows_journals("edge@*", "plain@*", "nginx")
