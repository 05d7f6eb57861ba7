"""What is wrong with a host is said with the host and the fix, and a bare host stays as it is.

What people meet most is in docs/troubleshooting.md, which the scenario apps tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Stack, play

INVENTORY = ROOT / "molecule/stack/inventory"
HOST = Stack("stack13", Path("/nonexistent"))


def fingerprint() -> str:
    """Return what a run would change first: packages, users, units, and the folders of Slipway."""
    return HOST.run(
        "sh -c 'dpkg-query -W; cat /etc/passwd; ls -A /etc /etc/systemd/system /srv; ls -A /etc/slipway 2>&1 || true'"
    )


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Check after each test that the host is as it was before."""
    before = fingerprint()
    yield
    assert fingerprint() == before


def refused(*arguments: str) -> str:
    """Run site.yml on one host, which must fail, and return all that it said on one line."""
    run = play("site.yml", INVENTORY, "--limit", "stack13", *arguments)
    assert run.returncode != 0, run.stdout
    # YAML doubles a quote within quotes.
    return " ".join(f"{run.stdout} {run.stderr}".split()).replace("''", "'")


def test_an_application_with_the_name_of_somebody_else() -> None:
    app = {"source": "tests/apps/notes", "module": "server:application", "domains": ["taken.test"]}
    HOST.run("useradd --system taken")
    try:
        said = refused("-e", json.dumps({"fastapi_app_board": "", "apps": {"taken": app}}))
        assert "stack13 has, not made by Slipway: user taken" in said
        assert "another name" in said
    finally:
        HOST.run("userdel taken")


def test_a_distribution_that_is_not_supported() -> None:
    ubuntu = (
        'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'
    )
    HOST.run(
        f"sh -c 'printf %s \"$0\" > /run/os-release && mount --bind /run/os-release /usr/lib/os-release' '{ubuntu}'"
    )
    try:
        said = refused("--flush-cache")
        assert "stack13" in said
        assert "Ubuntu" in said
        assert "Debian 12" in said
    finally:
        HOST.run("umount /usr/lib/os-release")


def test_a_disk_that_is_too_small() -> None:
    said = refused("-e", "baseline_disk_free_min_mb=999999999")
    assert "stack13 has" in said and "MiB free on /" in said
    assert "baseline_disk_free_min_mb" in said


def test_a_repository_that_can_not_be() -> None:
    away = {
        "name": "away",
        "type": "s3",
        "bucket": "b",
        "endpoint": "s3.example.org",
        "access_key": "a",
    }
    said = refused(
        "-e", json.dumps({"backup_repositories": [away | {"passphrase": "only-a-secret"}]})
    )
    assert "stack13: backup_repositories[0].secret_key: is missing; type s3 needs it" in said
    assert "backup_repositories[0].passphrase: must be a text of 20 characters" in said
    assert "only-a-secret" not in said


def test_a_time_for_backups_that_is_none() -> None:
    said = refused("-e", "backup_full_on=weakly")
    assert "stack13: backup_full_on must be a time as systemd.time(7) writes it" in said


def test_an_option_of_backups_that_there_is_not() -> None:
    said = refused("-e", "backup_enable=false")
    assert "stack13 has a variable that the role backup doesn't know: backup_enable" in said
    assert "did you mean backup_enabled?" in said


def test_a_rule_of_the_firewall_that_is_none() -> None:
    said = refused(
        "-e", json.dumps({"firewall_allow": [{"port": 0}, {"port": 1, "from": ["db1"]}]})
    )
    assert "stack13: firewall_allow[0].port: 0 is no port" in said
    assert "firewall_allow[1].from: 'db1' is no address and no network" in said


def test_a_firewall_that_would_shut_ansible_out() -> None:
    said = refused("-e", json.dumps({"firewall_ssh_from": ["192.0.2.1"]}))
    assert "firewall_ssh_from of stack13 is 192.0.2.1, and Ansible comes from" in said


def test_a_user_without_a_key_that_is_one() -> None:
    said = refused("-e", json.dumps({"ssh_users": [{"name": "ada", "public_keys": ["ada.pub"]}]}))
    assert "stack13: ssh_users[0].public_keys: 'ada.pub' is no key" in said


def test_an_sshd_that_would_shut_ansible_out() -> None:
    said = refused("-e", json.dumps({"ssh_allow_users": ["ada"]}))
    assert "stack13: Ansible comes as deploy, and would be shut out" in said
    assert "ssh_allow_users has ada alone: add deploy" in said


def test_a_dry_run_changes_nothing_and_foresees_the_stack() -> None:
    for name in ("stack13", "stack12"):
        Stack(name, HOST.ca).run("apt-get update -q")  # a dry run can't, and asks for it
    run = play("site.yml", INVENTORY, "--check", "--diff")
    assert run.returncode == 0, run.stdout[-4000:]
    for task in ("Install Nginx", "Install packages", "Prepare the idle slot"):
        assert task in run.stdout
