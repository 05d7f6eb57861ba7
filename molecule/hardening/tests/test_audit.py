"""An audit tells what is so on each host, and the next one what has changed; it leaves the host as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stack import ROOT, Stack, changes, play, said

FOLDER = ROOT / ".slipway/audit"
# What an intruder leaves behind: a folder for all, a user with a key, a port.
INTRUDER = r"""
set -eu
mkdir -m 0777 /srv/everybody
useradd --create-home --shell /bin/bash eve
mkdir -m 0700 /home/eve/.ssh
ssh-keygen -q -t ed25519 -N '' -C eve@elsewhere -f /root/eve
cp /root/eve.pub /home/eve/.ssh/authorized_keys
systemd-run --quiet --unit=eve-listens python3 -m http.server --bind 0.0.0.0 9797
for attempt in $(seq 50); do ss -Hltn 'sport = :9797' | grep -q . && break; sleep 0.1; done
"""
GONE = "systemctl stop eve-listens; userdel --remove eve; rm -rf /srv/everybody /root/eve /root/eve.pub"


def report() -> dict[str, dict[str, Any]]:
    """Return what the last audit says of each host."""
    found = json.loads((FOLDER / "audit.json").read_text())
    return {row["host"]: row for row in found["hosts"]}


def fingerprint(stack: Stack) -> str:
    """Return what an audit might change: packages, settings, logs of its own."""
    return stack.run(
        "dpkg-query -W; find /etc -type f | sort | xargs -d '\\n' sha256sum; ls /var/log /tmp /root"
    )


@pytest.fixture(scope="module", autouse=True)
def fresh() -> Iterator[None]:
    """Begin without a last audit, and give back that of whoever works here."""
    kept = FOLDER.with_name("audit.kept")
    if FOLDER.exists():
        FOLDER.rename(kept)
    yield
    shutil.rmtree(FOLDER, ignore_errors=True)
    if kept.exists():
        kept.rename(FOLDER)


def test_it_reads_and_changes_nothing(stacks: list[Stack], inventory: Path) -> None:
    before = [fingerprint(stack) for stack in stacks]
    run = play("playbooks/audit.yml", inventory)
    assert run.returncode == 0, run.stdout[-4000:]
    assert [fingerprint(stack) for stack in stacks] == before
    assert set(changes(run).values()) == {0}
    for stack in stacks:
        # Quoted by Ansible, in which an apostrophe is doubled.
        assert f"{stack.name}: no index, as lynis isn''t there" in said(run)
        row = report()[stack.name]
        listening = {(one["port"], one["process"]) for one in row["ports"] if not one["inside"]}
        assert {("22", "sshd"), ("443", "nginx")} <= listening
        assert any(one["unit"].startswith("tally@") for one in row["exposure"])
        assert any(one["path"].endswith("/tally/fullchain.pem") for one in row["certificates"])
        (deploy,) = [one for one in row["users"] if one["name"] == "deploy"]
        assert deploy["root"] and len(deploy["keys"]) == 1 and "SHA256:" in deploy["keys"][0]
    for name in ("audit.json", "audit.html"):
        assert (FOLDER / name).stat().st_mode & 0o777 == 0o600


def test_the_next_tells_what_is_new_and_the_one_after_what_is_gone(
    stacks: list[Stack], inventory: Path
) -> None:
    stack, other = stacks
    stack.run(INTRUDER)
    try:
        run = play("playbooks/audit.yml", inventory)
    finally:
        stack.host.run(GONE)
    assert run.returncode == 0, run.stdout[-4000:]
    new = [f"{kind}: {text}" for kind, text in report()[stack.name]["changes"]["new"]]
    for expected in (
        "user: eve, /bin/bash",
        "key: eve: 256 SHA256:",
        "port: tcp 0.0.0.0:9797 python3",
    ):
        assert [one for one in new if one.startswith(expected)], (expected, new)
    assert "everybody may write to /srv/everybody/" in said(run)
    assert not [
        one for one in report()[other.name]["changes"]["new"] if one[0] in ("user", "key", "port")
    ]
    page = (FOLDER / "audit.html").read_text()
    assert "eve@elsewhere" in page and "<script" not in page

    again = play("playbooks/audit.yml", inventory, f"--limit={stack.name}")
    assert again.returncode == 0, again.stdout[-4000:]
    gone = [f"{kind}: {text}" for kind, text in report()[stack.name]["changes"]["gone"]]
    assert [one for one in gone if one.startswith("port: tcp 0.0.0.0:9797")], gone
    assert set(report()) == {one.name for one in stacks}  # the other as it was


def test_lynis_is_asked_where_it_may_be_installed(stacks: list[Stack], inventory: Path) -> None:
    stack = stacks[0]
    try:
        run = play("playbooks/audit.yml", inventory, f"--limit={stack.name}", "-e", "install=true")
        assert run.returncode == 0, run.stdout[-4000:]
        row = report()[stack.name]
        assert 0 < row["index"] <= 100 and row["findings"]
        assert f"{stack.name}: index {row['index']}" in said(run)
        # Nobody finds what Lynis has found, on the host.
        assert stack.host.run("ls /var/log/lynis*").rc != 0
    finally:
        stack.host.run("apt-get purge --quiet --yes lynis")


def test_a_host_that_is_not_reached_is_told_and_no_error(
    stacks: list[Stack], inventory: Path
) -> None:
    stack = stacks[0]
    run = play("playbooks/audit.yml", inventory, f"--limit={stack.name}", "-e", "ansible_port=1")
    assert run.returncode == 0, run.stdout[-4000:]
    assert f"{stack.name}: not looked at:" in said(run)
    assert f"{stack.name} was not looked at" in (FOLDER / "audit.html").read_text()
