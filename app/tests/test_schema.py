"""The migrations and the version that the code expects belong together."""

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from conftest import ROOT, Cluster

from board.database import SCHEMA_VERSION

INSERT = "INSERT INTO deployment (app, host, release, started_at) VALUES ('a', 'h', 'r', now())"


def test_expected_version_is_the_head() -> None:
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    assert scripts.get_heads() == [SCHEMA_VERSION]


def test_revisions_count_up() -> None:
    # /readyz compares versions: the newer one must be the greater one.
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert all(re.fullmatch(r"\d{4}", revision) for revision in revisions)
    assert revisions == sorted(revisions, reverse=True)


@pytest.mark.postgres
def test_down_and_up_again(database: Cluster) -> None:
    def tables() -> dict[str, str]:
        with psycopg.connect(database.url("postgres")) as connection:
            query = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"
            return dict(connection.execute(query).fetchall())

    before = tables()
    assert before == dict.fromkeys(
        ("deployment", "detail", "token", "alembic_version"), "board_owner"
    )
    database.alembic("downgrade", "base")
    assert tables() == {"alembic_version": "board_owner"}
    database.alembic("upgrade", "head")
    assert tables() == before
    assert f"{SCHEMA_VERSION} (head)" in database.alembic("current")


@pytest.mark.postgres
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE deployment",
        "ALTER TABLE deployment ADD COLUMN surprise text",
        "TRUNCATE deployment",
        "CREATE TABLE surprise (id int)",
        "SET ROLE board_owner",
    ],
)
def test_the_application_cannot_change_the_schema(database: Cluster, statement: str) -> None:
    with (
        psycopg.connect(database.url("board")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "values",
    [
        "'queued', now(), NULL",  # not a status
        "'running', now(), now()",  # running and finished
        "'failed', now(), NULL",  # neither running nor finished
        "'failed', now(), now() - interval '1 s'",  # ended before it started
    ],
)
def test_contradictions_are_refused(database: Cluster, values: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        database.execute(
            "INSERT INTO deployment (app, host, release, status, started_at, finished_at)"
            f" VALUES ('a', 'h', 'r', {values})"
        )


@pytest.mark.postgres
def test_a_log_of_the_first_release_is_kept(database: Cluster) -> None:
    database.alembic("downgrade", "0001")
    try:
        database.execute(INSERT)
    finally:
        database.alembic("upgrade", "head")
    with psycopg.connect(database.url("board")) as connection:
        query = "SELECT app, revision, requests FROM deployment"
        assert connection.execute(query).fetchall() == [("a", 0, None)]


@pytest.fixture
def without_indexes(database: Cluster) -> Iterator[Cluster]:
    """The schema before the migration that makes them."""
    database.alembic("downgrade", "0002")
    try:
        yield database
    finally:
        database.alembic("upgrade", "head")


def indexes(database: Cluster) -> dict[str, bool]:
    """The indexes of the log, and whether each is valid."""
    with psycopg.connect(database.url("postgres")) as connection:
        return dict(
            connection.execute(
                "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid"
                " WHERE indrelid = 'deployment'::regclass"
            ).fetchall()
        )


@pytest.mark.postgres
def test_indexes_are_made_beside_who_reads_and_writes(without_indexes: Cluster) -> None:
    url = without_indexes.url("board")
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'board migration'"
        " AND wait_event_type = 'Lock' AND now() - query_start > interval '4 s'"
    )
    with (
        ThreadPoolExecutor(1) as thread,
        psycopg.connect(url) as slow,
        psycopg.connect(url, autocommit=True, options="-c statement_timeout=1s") as quick,
        psycopg.connect(without_indexes.url("postgres"), autocommit=True) as look,
    ):
        slow.execute("LOCK TABLE deployment IN ROW EXCLUSIVE MODE")  # as one that has written
        migration = thread.submit(without_indexes.alembic, "upgrade", "head")
        # For longer than a migration waits for a lock that others wait behind.
        while look.execute(waiting).fetchone() != (1,):
            assert not migration.done()
            quick.execute(INSERT)
            quick.execute("SELECT * FROM deployment")
            time.sleep(0.1)
        slow.rollback()
        migration.result(60)
    assert len(indexes(without_indexes)) == 10
    assert all(indexes(without_indexes).values())


@pytest.mark.postgres
def test_an_index_that_was_cut_off_is_made_anew(without_indexes: Cluster) -> None:
    with (
        psycopg.connect(without_indexes.url("board")) as slow,
        psycopg.connect(without_indexes.url("board_migrator"), autocommit=True) as migrator,
    ):
        slow.execute("LOCK TABLE deployment IN ROW EXCLUSIVE MODE")
        migrator.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            migrator.execute(
                "CREATE INDEX CONCURRENTLY deployment_revision_idx ON deployment (revision)"
            )
    assert indexes(without_indexes)["deployment_revision_idx"] is False
    without_indexes.alembic("upgrade", "head")
    assert indexes(without_indexes)["deployment_revision_idx"] is True


@pytest.mark.postgres
def test_two_do_not_migrate_at_once(database: Cluster) -> None:
    with psycopg.connect(database.url("board_migrator")) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('board migrations'))")
        with pytest.raises(subprocess.CalledProcessError) as refused:
            database.alembic("upgrade", "head")
    assert "somebody else is at it" in refused.value.stderr


@pytest.mark.postgres
def test_numbers_of_changes_become_visible_in_their_order(database: Cluster) -> None:
    with (
        psycopg.connect(database.url("board")) as slow,
        psycopg.connect(database.url("board"), autocommit=True) as quick,
    ):
        slow.execute(INSERT)  # has its number, and isn't committed
        quick.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            quick.execute(INSERT)  # would be seen before it
        slow.commit()
        quick.execute(INSERT)
        numbers = quick.execute("SELECT revision FROM deployment ORDER BY id").fetchall()
    assert numbers == sorted(numbers)


@pytest.mark.postgres
def test_a_migration_does_not_queue_behind_a_lock(database: Cluster) -> None:
    with psycopg.connect(database.url("board")) as connection:
        connection.execute("SELECT * FROM deployment")  # and the transaction stays open
        try:
            with pytest.raises(Exception, match="returned non-zero exit status 1"):
                database.alembic("downgrade", "base")
        finally:
            connection.rollback()
    assert f"{SCHEMA_VERSION} (head)" in database.alembic("current")
