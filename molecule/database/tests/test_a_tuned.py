"""What follows from the host is in force; what takes a restart waits until somebody allows it."""

from __future__ import annotations

import re

from tests.load import Play
from tests.sql import answer
from tests.stack import Stack, changes, play, said

from .conftest import INVENTORY

MEGABYTE = 1024 * 1024


def number(stack: Stack, setting: str) -> int:
    """Return a setting in bytes, or as the number that it is."""
    return int(answer(stack, f"SELECT pg_size_bytes(current_setting('{setting}'))"))


def test_it_is_sized_by_half_of_the_host(stack: Stack) -> None:
    total = int(stack.run("awk '/^MemTotal/ {print $2}' /proc/meminfo")) // 1024  # MB
    share = round(total / 128) * 128 // 2
    assert number(stack, "shared_buffers") // MEGABYTE == share // 4
    assert number(stack, "effective_cache_size") // MEGABYTE == share - share // 4
    left = (share - share // 4) / (3 * 100)
    assert number(stack, "work_mem") // MEGABYTE == int(min(64, max(4, left)))
    cores = stack.run("nproc").strip()
    assert answer(stack, "SHOW max_parallel_workers") == cores
    disk = int(stack.run("df -m --output=size /var/lib/postgresql | tail -1"))
    assert number(stack, "max_wal_size") // MEGABYTE == min(16384, max(256, disk // 20))


def test_nothing_waits_for_a_restart_after_the_first_run(stack: Stack) -> None:
    assert answer(stack, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"
    in_force = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN "
    assert (
        answer(stack, in_force + "('archive_mode', 'max_connections', 'shared_preload_libraries')")
        == "archive_mode=on max_connections=100 shared_preload_libraries=pg_stat_statements"
    )


def test_the_file_says_what_each_value_follows_from(stack: Stack) -> None:
    text = stack.run("cat /etc/postgresql/*/main/conf.d/slipway.conf")
    (line,) = re.findall(r"(?m)^shared_buffers = .*$", text)
    assert re.fullmatch(r"shared_buffers = '\d+MB' # 1/4 of \d+ MB", line)


def test_a_restart_waits_until_it_is_allowed(stacks: list[Stack], site: Play) -> None:
    def shown(setting: str) -> list[str]:
        return [answer(stack, f"SHOW {setting}") for stack in stacks]

    def started() -> list[str]:
        return [answer(stack, "SELECT pg_postmaster_start_time()") for stack in stacks]

    only = "--limit=db13,db12"
    before, was = started(), shown("shared_buffers")
    smaller = (
        "-e",
        "postgresql_tuning_shared_buffers=96MB",
        "-e",
        "postgresql_tuning_work_mem=7MB",
    )
    waits = "PostgreSQL takes shared_buffers only at a restart"

    dry = site(only, *smaller, "--check")
    assert dry.returncode == 0, dry.stdout[-3000:]
    assert "7MB" not in shown("work_mem")

    run = site(only, *smaller)
    assert run.returncode == 0, run.stdout[-3000:]
    assert said(run).count(waits) == 2
    assert (started(), shown("shared_buffers")) == (before, was)
    assert shown("work_mem") == ["7MB", "7MB"]

    # Whoever comes later is told as well, though there is nothing new.
    again = site(only, *smaller)
    assert set(changes(again).values()) == {0}
    assert said(again).count(waits) == 2

    allowed = site(only, *smaller, "-e", "postgresql_restart=true")
    assert allowed.returncode == 0, allowed.stdout[-3000:]
    assert set(changes(allowed).values()) == {1}
    assert not set(started()) & set(before)
    assert shown("shared_buffers") == ["96MB", "96MB"]

    back = site(only, "-e", "postgresql_restart=true")
    assert back.returncode == 0, back.stdout[-3000:]
    assert shown("shared_buffers") == was


def test_a_release_is_refused_that_would_open_more_than_there_is_room_for(stack: Stack) -> None:
    before = stack.run("ls /srv/tally/releases; systemctl list-units 'tally@*' --plain --no-legend")
    run = play(
        "playbooks/deploy.yml",
        INVENTORY,
        f"--limit={stack.name}",
        "-e",
        "database_pool=50",
        "-e",
        "probe=false",
    )
    assert run.returncode == 2
    assert (
        f"{stack.name}: PostgreSQL takes 100 connections, and tally may open 215 with those"
        in said(run)
    )
    assert changes(run)[stack.name] == 0
    after = stack.run("ls /srv/tally/releases; systemctl list-units 'tally@*' --plain --no-legend")
    assert after == before


def test_a_number_of_connections_that_is_too_small_is_refused_before_anything(
    stack: Stack, site: Play
) -> None:
    run = site(f"--limit={stack.name}", "-e", "postgresql_max_connections=20")
    assert run.returncode == 2
    assert "postgresql_max_connections is 20, and must be 0 or at least 31" in said(run)
    assert changes(run)[stack.name] == 0
