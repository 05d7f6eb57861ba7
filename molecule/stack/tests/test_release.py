"""A release onto hosts with no route anywhere, one that is broken, and the way back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stack import ROOT, Stack, play

NOTES = ROOT / ".slipway/stack/notes"


def commit(change: str) -> str:
    """Append to the notes' code, commit it, and return the code as it was."""
    server = NOTES / "server.py"
    before = server.read_text()
    server.write_text(before + change)
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(
        ["git", *who, "commit", "--quiet", "--all", "-m", "change"], cwd=NOTES, check=True
    )
    return before


def releases(stacks: list[Stack]) -> list[str]:
    """Return the release that serves on each host, as the application itself says it."""
    return [stack.get("https://notes.test/up").json()["release"] for stack in stacks]


@pytest.fixture(scope="module")
def stacks() -> list[Stack]:
    """Return all hosts of the scenario."""
    return [Stack(name, ROOT / f".slipway/stack/{name}.pem") for name in ("stack13", "stack12")]


@pytest.fixture
def no_way_out(stacks: list[Stack]) -> Iterator[None]:
    """Take each host's only route to anywhere but this machine, for a while."""
    routes = {stack.name: stack.run("ip route show default").strip() for stack in stacks}
    for stack in stacks:
        stack.run("ip route del default")
        assert (
            stack.host.run(
                "apt-get update -o Acquire::Retries=0 -o Acquire::http::Timeout=3 -o APT::Update::Error-Mode=any"
            ).rc
            != 0
        )
    yield
    for stack in stacks:
        stack.run(f"ip route add {routes[stack.name]}")


@pytest.mark.usefixtures("no_way_out")
def test_a_release_needs_no_index_on_the_host_and_can_be_taken_back(
    stacks: list[Stack], inventory: Path
) -> None:
    before = releases(stacks)
    commit("\n# another release\n")
    deploy = play("playbooks/deploy.yml", inventory)
    assert deploy.returncode == 0, deploy.stdout[-4000:]
    after = releases(stacks)
    assert set(before).isdisjoint(after)
    assert len(set(after)) == 1  # one id on Debian 12 and 13

    back = play("playbooks/rollback.yml", inventory, "-e", "app=notes")
    assert back.returncode == 0, back.stdout[-4000:]
    assert releases(stacks) == before
    for stack in stacks:
        ledger = [
            json.loads(line) for line in stack.run("cat /srv/notes/releases.jsonl").splitlines()
        ]
        assert [line["release"] for line in ledger[-3:]] == [before[0], after[0], after[0]]
        assert ledger[-1]["status"] == "rolled_back"
        assert ledger[-1]["to"] == before[0]


def test_a_release_that_does_not_import_leaves_the_old_one_serving_and_says_why(
    stacks: list[Stack], inventory: Path
) -> None:
    before = releases(stacks)
    good = commit("\nimport nothing_of_that_name\n")
    deploy = play("playbooks/deploy.yml", inventory)
    assert deploy.returncode != 0
    assert "No module named 'nothing_of_that_name'" in deploy.stdout
    assert f"Release {before[0]} goes on serving" in deploy.stdout
    assert releases(stacks) == before

    (NOTES / "server.py").write_text(good)
    commit("")
    assert play("playbooks/deploy.yml", inventory).returncode == 0


@pytest.mark.parametrize("playbook", ["playbooks/deploy.yml", "site.yml"])
def test_where_it_fails_on_one_host_it_is_switched_on_none(
    stacks: list[Stack], inventory: Path, playbook: str
) -> None:
    before = releases(stacks)
    failing = stacks[1]
    idle = {"slots/blue": "green", "slots/green": "blue"}[
        failing.run("readlink /srv/notes/live").strip()
    ]
    drop_in = f"/run/systemd/system/notes@{idle}.service.d"
    failing.run(
        f"sh -c 'mkdir -p {drop_in} && printf [Service]\\\\nExecStartPre=false > {drop_in}/test.conf'"
    )
    commit(f"\n# a release that one host can not start, by {playbook}\n")
    deploy = play(playbook, inventory)
    assert deploy.returncode != 0
    assert releases(stacks) == before
    assert f"{failing.name}: notes" in deploy.stdout
    for stack in stacks:
        assert not stack.host.service(f"notes@{idle}").is_running

    failing.run(f"sh -c 'rm -r {drop_in} && systemctl daemon-reload'")
    assert play("playbooks/deploy.yml", inventory).returncode == 0
    assert set(releases(stacks)).isdisjoint(before)


def test_a_failure_after_the_switch_takes_nothing_down_and_the_next_run_ends_what_was_begun(
    stacks: list[Stack], inventory: Path
) -> None:
    before = releases(stacks)
    slots = [stack.run("readlink /srv/notes/live").strip() for stack in stacks]
    for stack in stacks:  # the ledger, which is written after the switch, can't be
        stack.run("sh -c 'cd /srv/notes && mv releases.jsonl kept && mkdir releases.jsonl'")
    commit("\n# a third release\n")
    assert play("playbooks/deploy.yml", inventory).returncode != 0
    after = releases(stacks)
    assert set(before).isdisjoint(after)
    old = [f"notes@{slot.removeprefix('slots/')}" for slot in slots]
    assert all(stack.host.service(unit).is_running for stack, unit in zip(stacks, old, strict=True))

    for stack in stacks:
        stack.run("sh -c 'cd /srv/notes && rmdir releases.jsonl && mv kept releases.jsonl'")
    run = play("playbooks/deploy.yml", inventory)
    assert run.returncode == 0, run.stdout[-4000:]
    assert releases(stacks) == after
    for stack, unit in zip(stacks, old, strict=True):
        service = stack.host.service(unit)
        assert not service.is_running and not service.is_enabled
