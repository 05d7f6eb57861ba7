"""A database on another host: by verified TLS, for its application alone; its password is rotated under load."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import pytest
from tests.load import traffic
from tests.sql import answer
from tests.stack import ROOT, Stack, changes, eventually, play, said

from .conftest import SCRATCH

FAR = ROOT / "molecule/database/far"
OLD, NEW = "as-it-was-at-first", "another-one:with/50%@"


@dataclass(frozen=True)
class Far:
    """The application's host and the database's."""

    app: Stack
    database: Stack

    def log_in(self, password: str, *, stack: Stack | None = None, **settings: str) -> str:
        """Log in to the database from one of the hosts, and return as whom, or what psql said."""
        known = {
            "PGHOST": self.database.address,
            "PGUSER": "tally",
            "PGDATABASE": "tally",
            "PGPASSWORD": password,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": "/etc/slipway/database/dbfar.pem",
        } | settings
        exports = "".join(f"export {name}=%s; " for name in known)
        command = f"{exports} psql -XAtc 'SELECT current_user'"
        done = (stack or self.app).host.run(command, *known.values())
        return (done.stdout + done.stderr).strip()


@pytest.fixture(scope="module")
def far() -> Far:
    """Return the two hosts, once they are set up."""
    run = play("site.yml", FAR)
    assert run.returncode == 0, run.stdout[-6000:]
    return Far(Stack("apfar", SCRATCH / "apfar.pem"), Stack("dbfar", SCRATCH / "apfar.pem"))


def test_the_application_answers_over_tls_to_its_database(far: Far) -> None:
    assert far.app.get("https://tally.test/readyz").status_code == 200
    seen = (
        "SELECT DISTINCT client_addr, ssl, version FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
        " WHERE usename = 'tally'"
    )
    assert answer(far.database, seen) == f"{far.app.address}|t|TLSv1.3"


def test_a_second_run_changes_nothing(far: Far) -> None:
    run = play("site.yml", FAR)
    assert (run.returncode, changes(run)) == (0, {"apfar": 0, "dbfar": 0}), run.stdout[-6000:]


def test_another_certificate_is_shown_from_the_run_on_that_makes_it(far: Far) -> None:
    issued = "/etc/slipway/tls/postgresql"
    far.database.run(f"rm -r {issued}")
    run = play("site.yml", FAR)
    assert run.returncode == 0, run.stdout[-6000:]
    shown = f"openssl s_client -connect {far.database.address}:5432 -starttls postgres </dev/null"
    digest = "openssl x509 -noout -fingerprint -sha256"
    wanted = far.database.run(f"{digest} -in {issued}/fullchain.pem")
    assert far.app.run(f"{shown} 2>/dev/null | {digest}") == wanted
    assert far.log_in(OLD) == "tally"
    again = play("site.yml", FAR)
    assert (again.returncode, changes(again)) == (0, {"apfar": 0, "dbfar": 0})


def test_it_starts_once_the_host_has_its_address(far: Far) -> None:
    subprocess.run([str(ROOT / "tests/hosts/host"), "reboot", far.database.name], check=True)
    assert eventually(lambda: far.log_in(OLD) == "tally", 60), far.log_in(OLD)
    order = far.database.run("systemctl show -P After 'postgresql@17-main'").split()
    assert "network-online.target" in order
    listens = answer(far.database, "SHOW listen_addresses", database="postgres")
    assert listens == f"{far.database.address}, localhost"


def test_the_database_has_its_host_to_itself(far: Far) -> None:
    total = int(far.database.run("awk '/^MemTotal/ {print $2}' /proc/meminfo")) // 1024  # MB
    share = round(total / 128) * 128
    buffers = "SELECT pg_size_bytes(current_setting('shared_buffers')) / 1024 / 1024"
    assert int(answer(far.database, buffers)) == share // 4


def test_only_by_tls_only_from_there_and_only_to_that_server(far: Far) -> None:
    assert far.log_in(OLD) == "tally"
    assert "no pg_hba.conf entry" in far.log_in(OLD, PGSSLMODE="disable")
    assert "no pg_hba.conf entry" in far.log_in(OLD, PGUSER="postgres")
    assert "no pg_hba.conf entry" in far.log_in(OLD, PGDATABASE="postgres")
    assert "password authentication failed" in far.log_in("a wrong one")
    # Whoever can't be told from another is not spoken to.
    others = "/etc/slipway/ca/ca.pem"  # of the application's host
    assert "certificate verify failed" in far.log_in(OLD, PGSSLROOTCERT=others)
    elsewhere = Stack("db13", SCRATCH / "db13.pem")
    assert "no pg_hba.conf entry" in far.log_in(
        OLD, stack=elsewhere, PGSSLMODE="require", PGSSLROOTCERT=""
    )


def test_a_run_for_the_database_alone_keeps_its_clients(far: Far) -> None:
    run = play("site.yml", FAR, "--limit=dbfar")
    assert (run.returncode, changes(run)) == (0, {"dbfar": 0}), run.stdout[-6000:]


def test_a_release_has_its_restore_point_on_the_other_host(far: Far) -> None:
    ledger = far.app.run("cat /srv/tally/releases.jsonl").splitlines()
    point = json.loads(ledger[-1])["restore_point"]
    assert point["name"].startswith("tally_")

    back = play("playbooks/rollback.yml", FAR, "-e", "app=tally", "-e", "with_database=true")
    assert back.returncode == 2
    assert "the database of tally is on dbfar, which with_database doesn't reach" in said(back)

    # What it names is where that host can be restored to: here to a position that is after a backup.
    assert play("playbooks/backup.yml", FAR).returncode == 0
    answer(far.database, "CREATE TABLE there (n int)")
    position = answer(far.database, "SELECT pg_current_wal_insert_lsn()")
    answer(far.database, "CREATE TABLE not_yet_there (n int)")
    answer(far.database, "SELECT pg_switch_wal()")
    done = play("playbooks/restore.yml", FAR, "-e", f"to={point['timeline']}:{position}")
    assert done.returncode == 0, done.stdout[-4000:]
    asked = "SELECT to_regclass('there') IS NOT NULL, to_regclass('not_yet_there') IS NOT NULL"
    restored = f'runuser -u postgres -- psql -XAt -h /var/lib/slipway/scratch/restored -d tally -c "{asked}"'
    assert far.database.run(restored).strip() == "t|f"
    removed = play("playbooks/restore.yml", FAR, "-e", "scratch=remove")
    assert removed.returncode == 0, removed.stdout[-4000:]
    answer(far.database, "DROP TABLE there, not_yet_there")


def test_a_password_is_rotated_and_no_request_lost(far: Far) -> None:
    with traffic(far.app, database=far.database) as driven:
        run = play("playbooks/rotate.yml", FAR, "-e", "app=tally", "-e", f"far_password={NEW}")
    assert run.returncode == 0, run.stdout[-6000:]
    assert not driven.failed, driven.failures()
    assert not driven.missing and not driven.doubled
    for secret in (OLD, NEW, "SCRAM-SHA-256$"):
        assert secret not in run.stdout

    assert far.log_in(NEW) == "tally"
    assert "password authentication failed" in far.log_in(OLD)
    roles = (
        "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'tally%'"
    )
    assert answer(far.database, roles) == "tally tally_migrator tally_owner tally_readonly"
    again = play("site.yml", FAR, "-e", f"far_password={NEW}")
    assert changes(again) == {"apfar": 0, "dbfar": 0}


def test_there_is_nothing_to_rotate_where_nobody_has_a_password(far: Far) -> None:
    run = play("playbooks/rotate.yml", FAR, "-e", "app=till", "-e", f"far_password={NEW}")
    assert run.returncode == 2
    assert "app is till; name one whose database is reached by password" in said(run)
    assert changes(run) == {"apfar": 0, "dbfar": 0}
