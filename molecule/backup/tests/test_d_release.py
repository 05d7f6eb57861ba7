"""A release has a restore point before it migrates, and its database can be taken back to it, if that is confirmed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.backups import Figure, Kept, run, serves
from tests.load import Source, State
from tests.stack import said

LIMIT = ("--limit", "bak13")
BACK = ("playbooks/rollback.yml", *LIMIT, "-e", "with_database=true")
THERE = "SELECT to_regclass('public.added') IS NOT NULL"


@dataclass
class Released:
    """A release that has migrated, the one before it, and rows from before and after."""

    old: str
    new: str
    mark: str


@pytest.fixture(scope="module")
def released(stack: Kept, source: Source) -> Iterator[Released]:
    """Release with a migration, between two rows, on a server with another database."""
    mark = uuid.uuid4().hex
    old = State.of(stack).release
    stack.write(mark, 1)
    stack.sql("CREATE DATABASE other")
    try:
        with source.migration("CREATE TABLE added (n int);"):
            done = run("playbooks/deploy.yml", *LIMIT)
            assert done.returncode == 0, done.stdout[-4000:]
            stack.write(mark, 2)
            yield Released(old, State.of(stack).release, mark)
    finally:
        stack.sql("DROP DATABASE other")


def test_its_restore_point_is_in_the_ledger(stack: Kept, released: Released) -> None:
    lines = stack.run("cat /srv/tally/releases.jsonl").splitlines()
    point = json.loads(lines[-1])["restore_point"]
    assert point["name"] == f"tally_{released.new}"
    assert stack.sql(THERE, "tally") == "t"


def test_a_restore_to_the_release_is_one_to_before_it_migrated(
    stack: Kept, released: Released
) -> None:
    done = run("playbooks/restore.yml", "-e", f"to={released.new}", "-e", "host=bak13")
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"before release {released.new} of tally migrated" in said(done)
    socket = "/var/lib/slipway/scratch/restored"
    assert stack.rows(released.mark, socket) == {1}
    psql = f"runuser -u postgres -- psql -XAt -h {socket} -d tally -c"
    assert stack.run(f'{psql} "{THERE}"').strip() == "f"
    assert run("playbooks/restore.yml", "-e", "scratch=remove", "-e", "host=bak13").returncode == 0


@pytest.mark.parametrize("confirm", [[], ["-e", "confirm=tally"]])
def test_without_a_confirmation_it_says_what_is_lost_and_stops(
    stack: Kept, released: Released, confirm: list[str]
) -> None:
    done = run(*BACK, *confirm)
    assert done.returncode != 0
    assert f"before release {released.new} migrated" in said(done)
    assert "All that was written since is LOST: about" in said(done)
    assert "these databases: other. They lose as much" in said(done)
    assert "-e confirm=tally,other" in said(done)
    assert State.of(stack).release == released.new
    assert stack.rows(released.mark) == {1, 2}


def test_confirmed_the_database_is_as_it_was_and_the_old_release_serves(
    stack: Kept, released: Released, figure: Figure
) -> None:
    done = run(*BACK, "-e", "confirm=tally,other")
    assert done.returncode == 0, done.stdout[-6000:]
    assert serves(stack)
    assert State.of(stack).release == released.old
    assert stack.sql(THERE, "tally") == "f"
    assert stack.rows(released.mark) == {1}
    line = next(line for line in said(done).split("bak13: ") if line.startswith("restored up to"))
    figure(f"bak13: rollback with the database: {line[:120]}")
    # It writes as before, and nothing is left of what was kept aside.
    stack.write(released.mark, 3)
    assert stack.run("ls /var/lib/postgresql/17").split() == ["main"]


def test_released_again_it_migrates_again(stack: Kept, released: Released) -> None:
    done = run("playbooks/deploy.yml", *LIMIT)
    assert done.returncode == 0, done.stdout[-4000:]
    assert State.of(stack).release == released.new
    assert stack.sql(THERE, "tally") == "t"
