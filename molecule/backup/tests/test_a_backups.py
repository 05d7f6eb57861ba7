"""Backups are taken, encrypted and told of, into each repository."""

from __future__ import annotations

import json
import re

from tests.backups import Kept, run
from tests.stack import ROOT, eventually


def test_the_first_backup_is_in_each_repository(stacks: list[Kept]) -> None:
    for stack in stacks:
        for key, name in enumerate(("local", "away"), 1):
            (first,) = stack.info(key)
            assert first["type"] == "full" and first["error"] is False
            assert stack.repositories[name]["backup"]["label"] == first["label"]


def test_what_is_stored_can_not_be_read_without_the_passphrase(stacks: list[Kept]) -> None:
    for stack in stacks:
        files = "find /var/lib/pgbackrest -name backup.info -o -name backup.manifest"
        for path in stack.run(files).split():
            assert stack.run(f"head -c 8 {path}") == "Salted__"
        for path, mode in (
            ("/etc/pgbackrest/pgbackrest.conf", "640 root postgres"),
            ("/etc/pgbackrest/conf.d/slipway-generated.conf", "640 root postgres"),
            ("/etc/slipway/backup/local.passphrase", "640 root postgres"),
            ("/etc/slipway/backup", "750 root postgres"),
        ):
            assert stack.run(f"stat -c '%a %U %G' {path}").strip() == mode, path


def test_wal_is_archived_though_it_is_not_full(stack: Kept) -> None:
    assert stack.sql("SHOW archive_timeout") == "10s"
    stack.sql("SELECT pg_current_xact_id()")
    before = stack.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    asked = f"SELECT coalesce(last_archived_wal, '') >= '{before}' FROM pg_stat_archiver"
    assert eventually(lambda: stack.sql(asked) == "t", 25)


def test_a_backup_now_says_what_it_does_and_what_it_did(stacks: list[Kept]) -> None:
    done = run("playbooks/backup.yml", "-e", "type=incr")
    assert done.returncode == 0, done.stdout[-4000:]
    text = " ".join(done.stdout.split())
    for stack in stacks:
        assert f"{stack.name}: a backup (incr) into each repository" in text
        for name in ("local", "away"):
            said = re.search(rf"{stack.name}, {name}: incr backup (\S+) of", text)
            assert said and stack.repositories[name]["backup"]["label"] == said[1]


def test_a_kind_that_is_none_is_refused(stack: Kept) -> None:
    done = run("playbooks/backup.yml", "-e", "type=all")
    assert done.returncode != 0
    assert "write -e type=full, -e type=diff or -e type=incr" in " ".join(done.stdout.split())


def test_the_figures_are_where_node_exporter_looks(stacks: list[Kept]) -> None:
    for stack in stacks:
        text = stack.run("cat /var/lib/prometheus/node-exporter/slipway_backup.prom")
        for name in ("local", "away"):
            assert f'slipway_backup_ok{{repository="{name}"}} 1' in text
            assert re.search(rf'slipway_backup_size_bytes{{repository="{name}"}} \d{{7,}}', text)


def test_the_status_has_them(stacks: list[Kept]) -> None:
    done = run("playbooks/status.yml", "-e", "output=json")
    assert done.returncode == 0
    rows = json.loads((ROOT / ".slipway/status.json").read_text())["backups"]
    assert {(row["host"], row["repository"]) for row in rows} == {
        (stack.name, name) for stack in stacks for name in ("local", "away")
    }
    assert all(row["backup_seconds"] < 3600 and not row["problems"] for row in rows), rows


def test_timers_take_backups_and_prove_them(stacks: list[Kept]) -> None:
    for stack in stacks:
        listed = stack.run("systemctl list-timers --all 'slipway-*'")
        for started in ("slipway-backup@full", "slipway-backup@diff", "slipway-drill.service"):
            assert started in listed
