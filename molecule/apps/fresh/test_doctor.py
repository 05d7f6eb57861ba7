"""`make doctor` tells a bare host that is well from one that is not, and leaves both as they are."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Stack, play

INVENTORY = ROOT / "molecule/apps/inventory"
NOTES = {"source": "tests/apps/notes", "module": "server:application", "domains": ["notes.test"]}


def fingerprint(host: Stack) -> str:
    """Return what a host has: packages, users, units, files in the usual places."""
    return host.run(
        "sh -c 'dpkg-query -W; cat /etc/passwd; ls -AlR --time-style=full-iso /etc /srv /usr/local; systemctl --plain'"
    )


def doctor(host: Stack, *arguments: str, **variables: object) -> tuple[int, list[str]]:
    """Run it on one host, which must stay as it is; return how it ended, and the lines of its table."""
    extra = json.dumps({"fastapi_app_board": "", **variables})
    before = fingerprint(host)
    limited = ("--limit", f"{host.name},localhost", "--extra-vars", extra, *arguments)
    run = play("playbooks/doctor.yml", INVENTORY, *limited)
    assert fingerprint(host) == before
    table = run.stdout.split("TASK [Doctor]")[1].split("TASK [Count]")[0]
    assert max(len(line) for line in table.splitlines()[1:]) <= 100
    assert "token-that-is-secret" not in run.stdout + run.stderr
    return run.returncode, [" ".join(line.split()) for line in table.splitlines()]


def test_a_bare_host_is_well() -> None:
    secrets = {"TOKEN": "token-that-is-secret"}
    code, table = doctor(
        Stack("apps12", Path("/nonexistent")), apps={"notes": NOTES | {"secrets": secrets}}
    )
    assert code == 0, "\n".join(table)
    assert not any(" FAIL " in line for line in table)
    for row in (
        "sudo pass deploy becomes root without a password",
        "system pass Debian 12, x86_64",
        "port 443 pass free, and reached from here",
        "port 5432 pass free",
        "notes inventory pass nothing is wrong with its entry",
        "DNS WARN notes.test leads nowhere",
        "certificate WARN none for notes.test on port 443 of apps12 yet",
    ):
        assert row in table, "\n".join(table)
    assert any(re.match("Python pass 3.11", line) for line in table)
    assert any(re.match("release pass [0-9a-f]{12} for cp311-", line) for line in table)
    # This machine is Debian 12, too, or has another Python.
    assert any(re.match("import (pass|WARN) ", line) for line in table)


@pytest.fixture
def ailing() -> Iterator[Stack]:
    """Return a bare host with a user who may do nothing, and with somebody else's server."""
    host = Stack("apps13", Path("/nonexistent"))
    host.run("sh -c 'useradd -m plain && cp -r ~deploy/.ssh ~plain/ && chown -R plain: ~plain'")
    host.run("systemd-run --unit=stranger python3 -m http.server 443")
    host.run("sh -c 'until ss -ltn | grep -q :443; do sleep 0.1; done'")
    try:
        yield host
    finally:
        host.run(
            "sh -c 'systemctl stop stranger; pkill -KILL -u plain; userdel --force --remove plain'"
        )


def test_all_that_is_wrong_is_in_one_table(ailing: Stack) -> None:
    apps = {
        "notes": NOTES | {"secrets": {"KEY": "{{ vault_notes_key }}"}},
        "typo": {"modul": "x:y"},
        "unlocked": {
            "source": "tests/apps/wrong/unlocked",
            "module": "main:app",
            "domains": ["u.test"],
        },
    }
    code, table = doctor(ailing, ansible_user="plain", nginx_htpps_port=444, apps=apps)
    assert code != 0
    for row in (
        "sudo FAIL plain can't become root: sudo: a password is required",
        "port 443 FAIL held by another program",
        "options FAIL no role has nginx_htpps_port",
        "-> Did you mean nginx_https_port?",
        "notes inventory FAIL secrets.KEY: 'vault_notes_key' is undefined",
        "typo inventory FAIL modul: unknown key",
        "-> Did you mean module?",
    ):
        assert row in table, "\n".join(table)
    assert any(re.match("release pass [0-9a-f]{12} for cp313-", line) for line in table)
    assert any(line.startswith("release FAIL lock: no uv.lock, ") for line in table)


def test_a_host_that_is_not_reached_stops_nothing() -> None:
    code, table = doctor(
        Stack("apps13", Path("/nonexistent")),
        ansible_user="stranger",
        apps={"typo": {"modul": "x:y"}},
    )
    assert code != 0
    assert any(re.match("apps13 SSH FAIL stranger@.*Permission denied", line) for line in table)
    assert "typo inventory FAIL modul: unknown key" in table
