"""Each gets in as who it is, and may do what it is there for."""

from __future__ import annotations

import re

import pytest
from tests.sql import answer, psql
from tests.stack import Stack

LOG = "cat /var/log/postgresql/postgresql-*-main.log"


@pytest.mark.parametrize(
    "attempt",
    ["CREATE TABLE mine ()", "DELETE FROM entry", "INSERT INTO entry VALUES ('a', 1, 'b')"],
)
def test_a_reader_reads_and_does_nothing_else(stack: Stack, attempt: str) -> None:
    reader = {"user": "anna", "role": "tally_readonly"}
    assert int(answer(stack, "SELECT count(*) FROM entry", **reader)) >= 0
    code, said = psql(stack, attempt, **reader)
    assert code == 1
    assert "permission denied" in said


def test_what_a_migration_makes_later_is_read_as_well(stack: Stack) -> None:
    owner = {"user": "tally_migrator"}
    answer(stack, "CREATE SCHEMA later; CREATE TABLE later.thing AS SELECT 1 AS n", **owner)
    try:
        reads = "SELECT n FROM later.thing"
        assert answer(stack, reads, user="anna", role="tally_readonly") == "1"
        assert answer(stack, reads, user="tally") == "1"
    finally:
        answer(stack, "DROP SCHEMA later CASCADE", **owner)


def test_a_monitor_sees_the_statements_and_no_rows(stack: Stack) -> None:
    monitor = {"user": "watcher", "role": "slipway_monitor", "database": "postgres"}
    seen = "SELECT count(*) > 0 FROM pg_stat_statements WHERE query LIKE '%entry%'"
    assert answer(stack, seen, **monitor) == "t"
    assert psql(stack, "SELECT 1", **monitor | {"database": "tally"})[0] == 2


def test_nobody_is_lent_a_role_that_is_not_theirs(stack: Stack) -> None:
    for user, role, database in (
        ("anna", "tally", "tally"),
        ("anna", "postgres", "postgres"),
        ("anna", "slipway_monitor", "postgres"),
        ("watcher", "tally_readonly", "tally"),
        ("tally", "tally_migrator", "tally"),
        ("www-data", "www-data", "tally"),
    ):
        code, said = psql(stack, "SELECT 1", user=user, role=role, database=database)
        assert code == 2, (user, role)
        assert "authentication failed" in said or "no pg_hba.conf entry" in said, said


def test_statements_locks_and_transactions_have_an_end(stack: Stack) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    limits = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    assert answer(stack, limits, user="tally") == "30s|10s|1min"
    assert answer(stack, limits, user="anna", role="tally_readonly") == "5min|10s|1min"
    monitor = {"user": "watcher", "role": "slipway_monitor", "database": "postgres"}
    code, said = psql(stack, "SELECT pg_sleep(20)", **monitor)
    assert (code, "statement timeout" in said) == (1, True)


def test_the_log_says_who_came_what_was_slow_and_who_waited(stack: Stack) -> None:
    answer(stack, "SELECT pg_sleep(1.1)", user="tally")
    lock = "BEGIN; LOCK entry IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({})"
    session = "runuser -u tally_migrator -- psql -Xd tally -c '{}'"
    first, second = (session.format(lock.format(seconds)) for seconds in (1.8, 0))
    stack.run(f"{first} & sleep 0.3; {second}; wait")
    answer(stack, "CHECKPOINT")
    log = stack.run(LOG)
    assert re.search(r"tally@tally .*connection authorized: user=tally database=tally", log)
    assert re.search(r"tally@tally .*disconnection: session time", log)
    assert re.search(r"tally@tally .*duration: 1\d\d\d\.\d+ ms .*pg_sleep", log)
    assert re.search(r"tally_migrator@tally .*still waiting for AccessExclusiveLock", log)
    assert re.search(r"checkpoint complete", log)


def test_the_log_is_rotated_and_goes_on(stack: Stack) -> None:
    stack.run("logrotate --force /etc/logrotate.d/postgresql-common")
    assert "postgresql" in stack.run("ls /var/log/postgresql/*.log.1*")
    code, _ = psql(stack, "SELECT 1/0", user="tally")
    assert code == 1
    assert "division by zero" in stack.run(LOG)
