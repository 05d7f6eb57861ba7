"""With what is optional switched on, by molecule/hardening/vars/checklist.yml. The last of all: packages stay there."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hardening import index, judged, left
from tests.stack import ROOT, SSH_CONFIG, Stack, changes, eventually, play

PLAYBOOK = "molecule/hardening/host.yml"
GIVEN = ("-e", f"@{ROOT / 'molecule/hardening/vars/checklist.yml'}")
# Lynis' index, at least: a container leaves out the audit log, modules, most settings of the kernel and the clock.
# As in test_judges.py, one below what was measured.
INDEX = 77


@pytest.fixture(scope="module", autouse=True)
def switched(inventory: Path, stacks: list[Stack]) -> Iterator[None]:
    """Switch it all on, and off in the end."""
    banners = {
        (stack, path): stack.run(f"cat {path}")
        for stack in stacks
        for path in ("/etc/issue", "/etc/issue.net")
    }
    try:
        run = play(PLAYBOOK, inventory, *GIVEN)
        assert run.returncode == 0, run.stdout[-4000:]
        yield
    finally:
        for (stack, path), text in banners.items():
            stack.run(f"cat > {path} <<'END'\n{text}END")
        back = play(PLAYBOOK, inventory)
    assert back.returncode == 0, back.stdout[-4000:]


def test_a_second_run_changes_nothing(inventory: Path, stacks: list[Stack]) -> None:
    again = play(PLAYBOOK, inventory, *GIVEN)
    assert again.returncode == 0, again.stdout[-4000:]
    assert {stack.name: changes(again)[stack.name] for stack in stacks} == dict.fromkeys(
        (stack.name for stack in stacks), 0
    )


def test_lynis_has_less_to_say(stacks: list[Stack]) -> None:
    for report in judged(stacks, ", with the options of checklist.yml").values():
        assert index(report) >= INDEX, left(report)


def test_a_file_that_somebody_has_changed_is_told(stack: Stack) -> None:
    stack.run("chmod g+w /etc/debian_version")
    told = stack.host.run("aide --check --config /etc/aide/aide.conf --limit '^/etc/de'")
    stack.run("chmod g-w /etc/debian_version")
    assert "/etc/debian_version" in told.stdout, told.stdout + told.stderr
    assert "/etc/deluser.conf" not in told.stdout


def test_a_shell_that_is_left_ends(stack: Stack) -> None:
    assert stack.run("su - deploy --shell /bin/bash --command 'echo $TMOUT'").strip() == "900"
    assert "authorised users alone" in stack.run("cat /etc/issue.net")


@pytest.fixture
def shared() -> Iterator[list[str]]:
    """Return how ssh is asked to share a connection, by a socket whose path is short enough to be one's."""
    with tempfile.TemporaryDirectory() as folder:
        yield ["ssh", "-F", str(SSH_CONFIG), "-o", f"ControlPath={folder}/shared"]


def test_a_third_session_has_a_connection_of_its_own(stack: Stack, shared: list[str]) -> None:
    master = [*shared, "-o", "ControlMaster=yes", "-N", stack.name]
    begun = [subprocess.Popen(master, text=True)]
    try:
        asked = [*shared, "-O", "check", stack.name]
        assert eventually(
            lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0
        )
        connections = []
        for _ in range(3):
            session = subprocess.Popen(
                [*shared, stack.name, "echo $SSH_CONNECTION; exec sleep 60"],
                stdout=subprocess.PIPE,
                text=True,
            )
            begun.append(session)
            assert session.stdout
            connections.append(session.stdout.readline())
        first, second, third = connections
        assert first == second != third != "", connections
    finally:
        for each in begun:
            each.terminate()
            each.communicate()
