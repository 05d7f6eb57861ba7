"""Repositories that can't be are refused with the key and the fix; what was backed up and restored is said plainly."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from .conftest import load

EMPTY = {
    **dict.fromkeys(("passphrase", "host", "private_key", "bucket", "endpoint"), ""),
    **dict.fromkeys(("access_key", "secret_key", "ca_file"), ""),
    "path": "/var/lib/pgbackrest",
    "full": 2,
    "diff": 6,
    "user": "pgbackrest",
    "host_keys": [],
    "region": "us-east-1",
}
LOCAL = EMPTY | {"name": "local", "type": "local"}
SSH = EMPTY | {
    "name": "away",
    "type": "ssh",
    "host": "store.example.org",
    "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "host_keys": ["ssh-ed25519 AAAA"],
    "passphrase": "p" * 20,
}
S3 = EMPTY | {
    "name": "bucket",
    "type": "s3",
    "bucket": "b",
    "endpoint": "s3.example.org",
    "access_key": "a",
    "secret_key": "s",
    "passphrase": "the-only-secret-there-is",
}


@pytest.fixture(scope="module")
def backup() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/backup.py")


def test_each_type_is_fine(backup: ModuleType) -> None:
    assert backup.errors([LOCAL, SSH | {"path": "/home/keeper"}, S3]) == []
    assert backup.errors([LOCAL | {"path": "/homes"}]) == []


@pytest.mark.parametrize(
    ("repositories", "said"),
    [
        ([], "backup_repositories: is empty"),
        ([LOCAL | {"name": "Local"}], "[0].name: 'Local' must be a lower-case letter"),
        ([LOCAL, SSH | {"name": "local"}], "[1].name: local is there twice"),
        ([LOCAL, LOCAL | {"name": "more"}], "[1]: is the same place as another one"),
        ([LOCAL | {"path": "here"}], "[0].path: 'here' must be an absolute path"),
        ([LOCAL | {"path": "/var/tmp"}], "[0].path: /var/tmp is hidden from the units"),
        ([LOCAL | {"path": "/home/backups"}], "[0].path: /home/backups is hidden from"),
        ([LOCAL | {"passphrase": "short"}], "[0].passphrase: must be a text of 20 characters"),
        ([LOCAL | {"bucket": "b"}], "[0].bucket: is of type s3, and this one is local"),
        ([LOCAL | {"full": 0}], "[0].full: is 0, and must be 1 or more"),
        ([SSH | {"passphrase": ""}], "[0].passphrase: must be a text of 20"),
        ([SSH | {"passphrase": "p" * 20 + "\n"}], "[0].passphrase: must be a text of 20"),
        ([SSH | {"host": ""}], "[0].host: is missing; type ssh needs it"),
        ([SSH | {"host_keys": []}], "[0].host_keys: is missing"),
        ([SSH | {"host_keys": ["AAAA"]}], "[0].host_keys: each must be a public key"),
        ([SSH | {"private_key": "x"}], "[0].private_key: is no private key"),
        ([S3 | {"secret_key": ""}], "[0].secret_key: is missing; type s3 needs it"),
        ([S3 | {"endpoint": "https://x"}], "[0].endpoint: takes a host name alone"),
        ([S3 | {"ca_file": "/nowhere.pem"}], "[0].ca_file: /nowhere.pem is no file"),
    ],
)
def test_what_can_not_be_is_told(
    backup: ModuleType, repositories: list[dict[str, Any]], said: str
) -> None:
    (error,) = backup.errors(repositories)
    assert said in error


def test_no_secret_is_in_what_is_told(backup: ModuleType) -> None:
    wrong = S3 | {"passphrase": "the-only", "secret_key": "the-only\n", "access_key": "the-only\n"}
    told = backup.errors([wrong])
    assert len(told) == 3
    assert "the-only" not in " ".join(told)


def test_what_is_lost_is_said_with_what_else_goes_back(backup: ModuleType) -> None:
    said = {
        "point": {"time": "2026-11-28T12:00:00.000+00:00", "release": "abc", "database": "goods"},
        "others": ["till"],
        "seconds": 7200,
        "transactions": 12,
        "rows": 34,
        "wal": "56 MB",
    }
    text = backup.lost(said, "vm1", "shop")
    for part in ("2 h ago (7200 s)", "about 12 transactions", "34 rows written in goods", "56 MB"):
        assert part in text
    assert "these databases: till. They lose as much" in text
    assert "-e confirm=shop,till" in text
    alone = backup.lost({**said, "others": [], "rows": None}, "vm1", "shop")
    assert "rows" not in alone and "as a whole" not in alone
    assert "-e confirm=shop" in alone


def test_a_restore_over_the_live_server_promises_what_it_keeps(backup: ModuleType) -> None:
    said = dict.fromkeys(("target", "type", "backup", "ended", "size", "repository"), "x")
    kept = backup.plan(said, "vm1", True, ["shop"], True)[1]
    assert "the units of shop stop meanwhile, and what there is is kept aside" in kept
    lost = backup.plan(said, "vm1", True, [], False)[1]
    assert "no application is stopped, and NOTHING of what there is is kept" in lost


def test_a_restore_says_what_did_not_start_and_what_is_not_backed_up(backup: ModuleType) -> None:
    said = {
        **dict.fromkeys(("lsn", "timeline", "last_transaction", "size", "seconds"), "1"),
        **{"seconds_per_gb": 1, "databases": [], "to_migrate": [], "not_started": ""},
    }
    assert backup.did({**said, "backed_up": True}, "vm1", True)[1:] == [
        "The live server has it now, and a backup of it is under way."
    ]
    failed, bare = backup.did({**said, "backed_up": False, "not_started": "shop"}, "vm1", True)[1:]
    assert failed == "NOT ALL of what was stopped has started again: shop"
    assert "there is NO backup of it until site.yml has run" in bare


def test_what_came_is_said_for_each_repository(backup: ModuleType) -> None:
    good = {
        "label": "20261128F",
        "type": "full",
        "ended": 0,
        "lsn": "0/1",
        "size": 25e6,
        "stored": 3e6,
        "seconds": 4,
    }
    state = {
        "local": {
            "backup": good,
            "backup_ok": True,
            "drill": {"ok": True, "ended": 1, "size": 25e6, "seconds": 9},
        },
        "away": {
            "backup_ok": False,
            "backup_said": "no way",
            "drill": {"ok": False, "ended": 1, "said": "gone"},
        },
    }
    local, away = backup.came(json.dumps({"repositories": state}), "vm1")
    assert "full backup 20261128F of 1970-01-01 00:00:00 UTC, up to 0/1; 25 MB, 3 MB in" in local
    assert "Proven 1970-01-01 00:00:01 UTC: 25 MB restored and checked in 9 s" in local
    assert "no backup. The last try FAILED: no way. NOT PROVEN" in away and "gone" in away
    assert backup.came("", "vm1") == ["vm1: nothing was noted yet"]
