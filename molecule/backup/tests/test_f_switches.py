"""A restore that fails leaves what there was; backups are turned off and on; a run with nothing to do does nothing."""

from __future__ import annotations

import uuid

from tests.backups import Kept, run, serves
from tests.load import State
from tests.stack import changes, eventually, said

SITE = ("site.yml", "--limit", "bak13,bak12")


def test_a_restore_that_fails_puts_back_what_there_was(stack: Kept) -> None:
    mark = uuid.uuid4().hex
    stack.write(mark, 1)
    before = State.of(stack)
    # Once it has begun to keep aside what there is, the repository can't be read any more.
    spoil = "until [ -e /var/lib/postgresql/17/main.slipway-aside ]; do sleep 0.01; done; chmod 0 /var/lib/pgbackrest"
    stack.run(f"systemd-run --collect --unit=spoil sh -c '{spoil}'")
    try:
        done = run(
            "playbooks/restore.yml", "-e", "to=latest", "-e", "live=bak13", "-e", "repository=local"
        )
    finally:
        stack.run("systemctl stop spoil; chmod 0750 /var/lib/pgbackrest")
    assert done.returncode != 0, done.stdout[-4000:]
    assert "What there was is in its place again" in said(done)
    assert serves(stack)
    assert stack.rows(mark) == {1}
    assert State.of(stack).release == before.release
    assert stack.run("ls /var/lib/postgresql/17").split() == ["main"]


def test_a_gap_in_the_wal_is_no_end_of_it(stack: Kept) -> None:
    for _ in range(3):
        stack.sql("SELECT pg_current_xact_id()")
        stack.sql("SELECT pg_switch_wal()")
    last = stack.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    assert eventually(
        lambda: stack.sql("SELECT last_archived_wal FROM pg_stat_archiver") < last, 20
    )
    archive = "/var/lib/pgbackrest/archive/bak13"
    listed = stack.run(f"find {archive} -name '0000*-*.zst' | sort -t / -k 9").split()
    with stack.spoilt(listed[-2]):
        stack.run(f"rm {listed[-2]}")
        given = ("-e", "to=latest", "-e", "host=bak13", "-e", "repository=local")
        done = run("playbooks/restore.yml", *given)
    assert done.returncode != 0
    assert "repository local lacks the WAL segment" in said(done)


def test_a_dry_run_on_a_converged_host_says_that_nothing_changes(stacks: list[Kept]) -> None:
    assert run(*SITE).returncode == 0
    done = run(*SITE, "--check", "--diff")
    assert done.returncode == 0, done.stdout[-4000:]
    assert {changes(done)[stack.name] for stack in stacks} == {0}, done.stdout
    assert "WARNING" not in done.stdout


def test_a_host_that_keeps_them_on_itself_alone_is_warned_of() -> None:
    done = run(
        *SITE, "-e", '{"backup_repositories": [{"name": "local", "type": "local"}]}', "--check"
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "WARNING: bak13 keeps its backups on itself" in said(done)


def test_turned_off_they_stop_and_the_repositories_stay(stacks: list[Kept]) -> None:
    before = [stack.run("find /var/lib/pgbackrest -type f | wc -l") for stack in stacks]
    done = run(*SITE, "-e", "backup_enabled=false")
    assert done.returncode == 0, done.stdout[-4000:]
    for stack, files in zip(stacks, before, strict=True):
        assert stack.sql("SHOW archive_command") == "/bin/true"
        assert (
            stack.run("systemctl list-timers --all 'slipway-backup*' 'slipway-drill*' --no-legend")
            == ""
        )
        assert stack.run("find /var/lib/pgbackrest -type f | wc -l") >= files
    again = run(*SITE, "-e", "backup_enabled=false")
    assert {changes(again)[stack.name] for stack in stacks} == {0}, again.stdout


def test_turned_on_again_they_go_on_without_a_restart(stacks: list[Kept]) -> None:
    started = [stack.sql("SELECT pg_postmaster_start_time()") for stack in stacks]
    done = run(*SITE)
    assert done.returncode == 0, done.stdout[-4000:]
    for stack, since in zip(stacks, started, strict=True):
        assert "pgbackrest" in stack.sql("SHOW archive_command")
        assert stack.sql("SELECT pg_postmaster_start_time()") == since
    assert run("playbooks/backup.yml", "-e", "type=full").returncode == 0
    again = run(*SITE)
    assert {changes(again)[stack.name] for stack in stacks} == {0}, again.stdout


def test_one_that_is_under_way_is_waited_for(stack: Kept) -> None:
    stack.run("systemctl start --no-block slipway-backup@full")
    done = run("playbooks/backup.yml", "--limit", "bak13", "-e", "type=full")
    assert done.returncode == 0, done.stdout[-4000:]
    for key, name in enumerate(("local", "away"), 1):
        last = stack.info(key)[-1]
        assert f"bak13, {name}: full backup {last['label']}" in said(done)
    assert stack.host.run("systemctl is-active slipway-backup@full").stdout.strip() == "inactive"


def test_a_timer_that_systemd_has_not_read_is_read(stack: Kept) -> None:
    # As a run leaves it that is cut off once it has written it.
    stack.run("touch /etc/systemd/system/slipway-drill.timer")
    unread = "systemctl show -P NeedDaemonReload slipway-drill.timer"
    assert stack.run(unread).strip() == "yes"
    assert run("site.yml", "--limit", "bak13").returncode == 0
    assert stack.run(unread).strip() == "no"


def test_without_an_archive_mode_it_says_what_to_allow(stack: Kept) -> None:
    allowed = ("site.yml", "--limit", "bak13", "-e", "postgresql_restart=true")
    done = run(*allowed, "-e", '{"postgresql_settings": {"archive_mode": false}}')
    assert done.returncode != 0
    assert "bak13: archive_mode waits for a restart of PostgreSQL" in said(done)
    assert "allow it: ansible-playbook site.yml -e postgresql_restart=true" in said(done)
    done = run(*allowed)
    assert done.returncode == 0, done.stdout[-4000:]
    assert stack.sql("SHOW archive_mode") == "on"
