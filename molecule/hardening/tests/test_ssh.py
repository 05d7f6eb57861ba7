"""Keys open and nothing else does, today's algorithms alone are spoken, and no mistake shuts its author out."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stack import ROOT, Stack, eventually, play, said

INVENTORY = ROOT / "molecule/hardening/inventory"
CONFIG = ROOT / ".slipway/ssh/config"
DROP_IN = "/etc/ssh/sshd_config.d/00-slipway.conf"


def site(stack: Stack, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run what makes a host on one of them, with other options."""
    return play(
        "molecule/hardening/host.yml", INVENTORY, "--limit", stack.name, "-e", json.dumps(options)
    )


def ssh(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Open a new connection to a host, by ssh's own options and a command."""
    options = ("-F", str(CONFIG), "-o", "ControlPath=none", "-o", "ConnectTimeout=5")
    return subprocess.run(
        ["ssh", *options, *arguments], capture_output=True, text=True, check=False
    )


def ports(stack: Stack, by: str = "22") -> set[str]:
    """Return the ports on which sshd listens, asked by one of them."""
    asked = ssh(stack, "-p", by, stack.name, "sudo ss -Hltnp | grep '\"sshd\"'")
    assert asked.returncode == 0, asked.stderr
    lines = asked.stdout.splitlines()
    return {line.split()[3].rpartition(":")[2] for line in lines}


@pytest.fixture
def restored(stack: Stack) -> Iterator[None]:
    """Have the host as the inventory wants it, after a test that changes it."""
    yield
    run = site(stack)
    assert run.returncode == 0, run.stdout[-4000:]


@pytest.fixture
def guessed(stack: Stack) -> Iterator[str]:
    """Return a user whose password everybody knows."""
    stack.run("useradd --create-home --shell /bin/bash guessed")
    stack.run("sh -c 'echo guessed:secret | chpasswd'")
    yield "guessed"
    # While sshd takes its ports anew, it listens on none.
    assert eventually(lambda: ssh(stack, stack.name, "true").returncode == 0)
    stack.run("userdel --remove guessed")


def test_a_password_is_not_even_asked_for(stack: Stack, attacker: Stack, guessed: str) -> None:
    ask = (
        "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o NumberOfPasswordPrompts=0"
        f" -o PreferredAuthentications=password,keyboard-interactive {guessed}@{stack.address} true"
        " || exit 1"  # not 255, of which testinfra takes it that the attacker wasn't reached
    )
    done = attacker.host.run(ask)
    assert done.rc != 0
    assert "Permission denied (publickey)." in done.stderr


def test_a_drop_in_of_somebody_else_stays_and_switches_no_passwords_on(
    stack: Stack, attacker: Stack, guessed: str
) -> None:
    theirs = "/etc/ssh/sshd_config.d/50-cloud-init.conf"
    stack.run(f"sh -c 'echo PasswordAuthentication yes > {theirs}'")
    stack.run("systemctl reload ssh")
    try:
        test_a_password_is_not_even_asked_for(stack, attacker, guessed)
        assert site(stack).returncode == 0
        assert stack.run(f"cat {theirs}").strip() == "PasswordAuthentication yes"
    finally:
        stack.run(f"rm {theirs}")
        stack.run("systemctl reload ssh")


def test_ssh_audit_has_nothing_to_say(stack: Stack) -> None:
    command = [sys.executable, "-m", "ssh_audit", "--no-colors", "--level", "warn", stack.address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # 2 is a warning, 3 a failure
    # OpenSSH 10 has whoever comes and doesn't log in wait for a while.
    assert eventually(lambda: ssh(stack, stack.name, "true").returncode == 0, 60)


def test_the_banner_says_no_more_than_it_must(stack: Stack) -> None:
    with socket.create_connection((stack.address, 22), timeout=10) as connection:
        banner = connection.makefile("rb").readline()
    assert banner.startswith(b"SSH-2.0-OpenSSH_")
    assert b"Debian" not in banner


def test_a_client_of_yesterday_is_refused_unless_it_may_come(stack: Stack, restored: None) -> None:
    old = ("-o", "KexAlgorithms=curve25519-sha256", stack.name, "true")
    assert "no matching key exchange method" in ssh(stack, *old).stderr
    run = site(stack, ssh_older_clients=True)
    assert run.returncode == 0, run.stdout[-4000:]
    assert ssh(stack, *old).returncode == 0


def test_users_come_with_their_keys_become_root_if_they_may_and_go(
    stack: Stack, tmp_path: Path, restored: None
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    users = [
        {"name": "ada", "public_keys": [public], "sudo": "without_password"},
        {"name": "bob", "public_keys": [public]},
    ]

    def as_user(name: str, command: str) -> subprocess.CompletedProcess[str]:
        return ssh(stack, "-i", str(key), f"{name}@{stack.name}", command)

    run = site(stack, ssh_users=users)
    assert run.returncode == 0, run.stdout[-4000:]
    assert as_user("ada", "sudo -n id -u").stdout.strip() == "0"
    assert as_user("bob", "id -un").stdout.strip() == "bob"
    assert as_user("bob", "sudo -n id -u").returncode != 0

    again = site(stack, ssh_users=users)
    assert "changed=0" in again.stdout.split("PLAY RECAP")[1], again.stdout[-4000:]

    gone = [{"name": one["name"], "state": "absent"} for one in users]
    assert site(stack, ssh_users=gone).returncode == 0
    assert as_user("ada", "true").returncode != 0
    assert stack.host.run("getent passwd ada bob").stdout == ""
    assert not stack.host.file("/etc/sudoers.d/slipway").exists


def test_what_would_shut_ansible_out_is_put_back_and_the_run_says_so(stack: Stack) -> None:
    before = stack.run(f"cat {DROP_IN}")
    # Who is in which group is known to the host alone.
    run = site(stack, ssh_allow_groups=["nogroup"])
    assert run.returncode != 0
    assert f"{stack.name}: sshd would not have let Ansible in as it was to be" in said(run)
    assert stack.run(f"cat {DROP_IN}") == before
    # OpenSSH 10 has whoever fails wait for a while.
    assert eventually(lambda: ssh(stack, stack.name, "true").returncode == 0, 60)
    assert stack.host.run("systemctl is-active slipway-ssh-back.timer").rc != 0


def test_who_comes_by_sudo_goes_on_becoming_root(stack: Stack) -> None:
    users = [{"name": "deploy", "sudo": "with_password"}]
    run = site(stack, ssh_users=users)
    assert run.returncode != 0
    assert "sudo asks it for no password today" in said(run)
    assert not stack.host.file("/etc/sudoers.d/slipway").exists


def test_who_comes_as_root_does_not_shut_root_out(stack: Stack) -> None:
    before = stack.run(f"cat {DROP_IN}")
    run = site(stack, ansible_user="root", ssh_root_login="none")
    assert run.returncode != 0
    assert "Ansible comes as root, and would be shut out. ssh_root_login is none" in said(run)
    assert stack.run(f"cat {DROP_IN}") == before


def test_root_comes_with_a_key_or_not_at_all(stack: Stack, restored: None) -> None:
    assert ssh(stack, f"root@{stack.name}", "true").returncode == 0
    run = site(stack, ssh_root_login="none")
    assert run.returncode == 0, run.stdout[-4000:]
    assert ssh(stack, f"root@{stack.name}", "true").returncode != 0
    assert ssh(stack, stack.name, "true").returncode == 0


def test_another_port_opens_beside_the_old_one_which_goes_when_ansible_comes_by_the_new_one(
    stack: Stack,
) -> None:
    try:
        run = site(stack, ssh_port=2222)
        assert run.returncode == 0, run.stdout[-4000:]
        assert "Set ansible_port to 2222" in said(run)
        assert ports(stack) == {"22", "2222"}
        assert ssh(stack, "-p", "2222", stack.name, "true").returncode == 0

        run = site(stack, ssh_port=2222, ansible_port=2222)
        assert run.returncode == 0, run.stdout[-4000:]
        assert ssh(stack, "-p", "2222", stack.name, "true").returncode == 0
        assert ssh(stack, "-p", "22", stack.name, "true").returncode != 0

        # Neither no port nor no drop-in: it is the drop-in that keeps this one open.
        for options in ({}, {"ssh_enabled": False}):
            run = site(stack, ansible_port=2222, **options)
            assert run.returncode != 0
            assert f"sshd listens on 2222 by {DROP_IN} alone" in said(run)
        assert ports(stack, by="2222") == {"2222"}
    finally:
        # The same way back.
        assert site(stack, ssh_port=22, ansible_port=2222).returncode == 0
        assert site(stack, ssh_port=22).returncode == 0
        assert site(stack).returncode == 0
    assert ports(stack) == {"22"}


def test_sshd_is_its_owners_again_without_the_role(stack: Stack, restored: None) -> None:
    run = site(stack, ssh_enabled=False)
    assert run.returncode == 0, run.stdout[-4000:]
    assert not stack.host.file(DROP_IN).exists
    assert "passwordauthentication yes" in stack.run("/usr/sbin/sshd -T")
