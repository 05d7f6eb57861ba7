"""A release that is no good, under load: it is refused, what served goes on serving, and no request notices."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.load import Drive, Play, Source, State, Traffic, query
from tests.stack import ROOT, SSH_CONFIG, Stack, eventually, said


@contextmanager
def refused(
    what: str, stack: Stack, load: Drive, deploy: Play, because: str = ""
) -> Iterator[Traffic]:
    """Deploy under load what is no good; check that this is said, and that nothing else comes of it."""
    before = State.of(stack)
    with load(what) as traffic:
        run = deploy("-e", "fastapi_app_health_timeout=5")
    after = State.of(stack)
    assert run.returncode != 0
    assert because in said(run), run.stdout[-6000:]
    if "was not released" in run.stdout:  # else no host has been touched
        assert before.release in run.stdout  # what goes on serving
    assert (after.release, after.live) == (before.release, before.live)
    assert "failed" not in after.units.values() and not after.unfinished, after
    yield traffic


def test_it_does_not_import(stack: Stack, source: Source, load: Drive, deploy: Play) -> None:
    with (
        source.fault("GREETING =", "import nothing_of_that_name\n\nGREETING ="),
        refused(
            "a release that does not import",
            stack,
            load,
            deploy,
            "No module named 'nothing_of_that_name'",
        ) as traffic,
    ):
        assert not traffic.failed, traffic.failures()


def test_it_is_never_ready(stack: Stack, source: Source, load: Drive, deploy: Play) -> None:
    with (
        source.fault("FROM entry LIMIT 0", "FROM nowhere LIMIT 0"),
        refused(
            "a release that is never ready",
            stack,
            load,
            deploy,
            'relation "nowhere" does not exist',
        ) as traffic,
    ):
        assert not traffic.failed, traffic.failures()


def test_it_crashes_a_second_after_the_first_visitor(
    stack: Stack, source: Source, load: Drive, deploy: Play
) -> None:
    # With this status a worker tells Gunicorn to give up, so that nothing is left to answer.
    crash = "asyncio.get_running_loop().call_later(1, os._exit, 3)"
    with (
        source.fault(
            '    return {"release": RELEASE, "greeting": GREETING}',
            f'    {crash}\n    return {{"release": RELEASE, "greeting": GREETING}}',
        ),
        refused(
            "a release that crashes a second after its first visitor", stack, load, deploy
        ) as traffic,
    ):
        # From the crash until the old slot is live again nobody could answer.
        assert traffic.outage < 3000, traffic.failures()


def test_its_migration_fails_half_way(
    stack: Stack, source: Source, load: Drive, deploy: Play
) -> None:
    with (
        source.migration("ALTER TABLE entry ADD COLUMN colour text; SELECT 1 / 0;"),
        refused(
            "a migration that fails half-way", stack, load, deploy, "division by zero"
        ) as traffic,
    ):
        assert not traffic.failed, traffic.failures()
        assert not columns(stack) & {"colour"}


def test_its_migration_waits_for_a_lock(
    stack: Stack, source: Source, load: Drive, deploy: Play
) -> None:
    with (
        source.migration("ALTER TABLE entry ADD COLUMN colour text;"),
        somebody_reads(stack),
        refused(
            "a migration that waits for a lock", stack, load, deploy, "lock timeout"
        ) as traffic,
    ):
        # Whoever writes queues up behind the migration; it gives up before anybody loses patience.
        assert not traffic.failed, traffic.failures()
        assert traffic.worst < 10_000
        assert not columns(stack) & {"colour"}


def test_its_migration_can_not_be_undone_and_fails(
    stack: Stack, source: Source, load: Drive, deploy: Play
) -> None:
    index = "entry_release_key"
    try:
        with (
            source.migration(
                f"-- no transaction\nCREATE UNIQUE INDEX CONCURRENTLY {index} ON entry (release);"
            ),
            refused(
                "a migration that can't be undone, and fails",
                stack,
                load,
                deploy,
                f"index public.{index} (invalid)",
            ) as traffic,
        ):
            assert not traffic.failed, traffic.failures()
    finally:
        query(stack, f"DROP INDEX CONCURRENTLY IF EXISTS {index}")


def test_its_migration_breaks_the_release_that_serves(
    stack: Stack, source: Source, load: Drive, deploy: Play
) -> None:
    with source.migration("ALTER TABLE entry RENAME COLUMN n TO number;"):
        before = State.of(stack)
        with load("a migration that breaks the release that serves") as traffic:
            run = deploy("-e", "fastapi_app_health_timeout=5")
            assert run.returncode != 0
            query(stack, "ALTER TABLE entry RENAME COLUMN number TO n")
            assert 'column "n" does not exist' in said(run), run.stdout[-6000:]
            assert State.of(stack).release == before.release
            assert eventually(lambda: stack.get("https://tally.test/readyz").status_code == 200)
    # It is healthy no more; that nothing reads the column by name yet is its luck.
    assert not traffic.failed, traffic.failures()


def test_its_wheel_is_missing(stack: Stack, source: Source, load: Drive, deploy: Play) -> None:
    lock = source.folder / "requirements.txt"
    good = lock.read_text()
    lock.write_text(good.replace("idna==3.20", "idna==3.2099"))
    try:
        with refused("a dependency that no index has", stack, load, deploy, "idna") as traffic:
            assert not traffic.failed, traffic.failures()
    finally:
        lock.write_text(good)


def test_the_wheels_that_were_fetched_are_gone(
    stack: Stack, source: Source, load: Drive, deploy: Play
) -> None:
    source.change()
    before = State.of(stack)
    shutil.rmtree(ROOT / ".slipway/build/wheels")
    with load("the wheels that were fetched are gone") as traffic:
        run = deploy()
        assert run.returncode == 0, run.stdout[-4000:]
    assert State.of(stack).release != before.release
    assert not traffic.failed, traffic.failures()


def columns(stack: Stack) -> set[str]:
    """Return the columns of the application's table."""
    ask = "SELECT column_name FROM information_schema.columns WHERE table_name = 'entry'"
    return set(query(stack, ask))


@contextmanager
def somebody_reads(stack: Stack) -> Iterator[None]:
    """Hold a lock on the application's table, as a long report does: others may read and write, but not alter it."""
    report = "BEGIN; LOCK TABLE entry IN ACCESS SHARE MODE; SELECT pg_sleep(120);"
    psql = f"runuser -u postgres -- env PGAPPNAME=report psql -X tally -c {shlex.quote(report)}"
    session = subprocess.Popen(
        ["ssh", "-F", str(SSH_CONFIG), stack.name, f"sudo {psql}"], stdin=subprocess.DEVNULL
    )
    reports = "FROM pg_stat_activity WHERE application_name = 'report'"
    assert eventually(lambda: query(stack, f"SELECT 1 {reports} AND wait_event = 'PgSleep'"))
    try:
        yield
    finally:
        query(stack, f"SELECT pg_terminate_backend(pid) {reports}")
        session.wait()
