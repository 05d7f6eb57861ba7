"""PostgreSQL's settings, its doors and its script, as the server's own programs read them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Host

CONF = "etc/postgresql/main/conf.d/slipway.conf.j2"
HBA = "etc/postgresql/main/pg_hba.slipway.conf.j2"
SCRIPT = "databases.sql.j2"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.mark.skipif(not SERVERS, reason="this machine has no PostgreSQL")
def test_the_server_reads_the_settings_as_they_were_meant(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "postgresql.conf"
    path.write_text(
        host.render(
            "postgresql",
            CONF,
            postgresql_max_connections=42,
            postgresql_settings={
                "work_mem": "16MB",
                "jit": False,
                "cluster_name": "it's",
                "log_min_duration_statement": 5,
            },
        )
    )

    def read(name: str) -> str:
        command = (SERVERS[-1], "-C", name, "-D", tmp_path, f"--config-file={path}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said: str = done.stdout
        return said.removesuffix("\n")

    version = {"12": "15", "13": "17"}[host.debian]
    wanted = {
        "cluster_name": "it's",
        "hba_file": f"/etc/postgresql/{version}/main/pg_hba.slipway.conf",
        "jit": "off",
        "listen_addresses": "",
        "log_lock_waits": "on",
        "log_min_duration_statement": "5",  # ms
        "max_connections": "42",
        "password_encryption": "scram-sha-256",
        "work_mem": "16384",  # kB
    }
    assert {name: read(name) for name in wanted} == wanted


def test_nobody_gets_in_but_by_the_socket_and_as_oneself(host: Host) -> None:
    lines = host.render("postgresql", HBA).splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert rules == [
        ["local", "all", "postgres", "peer"],
        ["local", '"goods"', '"shop","shop_migrator"', "peer"],
    ]


def test_clusters_are_made_by_the_role_with_checksums_and_utf_8(host: Host) -> None:
    text = host.render("postgresql", "etc/postgresql-common/createcluster.d/slipway.conf.j2")
    settings = [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]
    assert settings == [
        ["initdb_options", "=", "--data-checksums --encoding=UTF8 --locale=C.UTF-8"],
        ["create_main_cluster", "=", "false"],
    ]


def script(host: Host, **variables: Any) -> str:
    """Return the script that makes databases, roles and rights."""
    return host.render("postgresql", SCRIPT, **variables)


def test_a_dry_run_says_all_that_a_run_does_and_does_none_of_it(host: Host) -> None:
    query = re.compile(r"^(SELECT (?:(?!^\\).)+)^\\(g|gexec)$", re.DOTALL | re.MULTILINE)

    def queries(text: str, verb: str) -> list[str]:
        return [said for said, found in query.findall(text) if found == verb]

    real, dry = script(host), script(host, ansible_check_mode=True)
    assert len(queries(real, "g")) > 10
    assert queries(real, "g") == queries(real, "gexec") == queries(dry, "g")
    assert "gexec" not in dry


def test_a_dry_run_leaves_out_a_database_that_is_not_there_yet(host: Host) -> None:
    lines = script(host, ansible_check_mode=True).splitlines()
    assert lines.index(r"\if :exists") < lines.index(r'\connect :"db"') < lines.index(r"\endif")


def test_the_script_stops_at_the_first_error(host: Host) -> None:
    assert script(host).strip().splitlines()[0] == r"\set ON_ERROR_STOP on"


def test_only_applications_with_a_database_have_one(host: Host) -> None:
    text = script(host)
    assert re.findall(r"\\set db '(.+)'", text) == ["goods"]
    assert re.findall(r"\\set app '(.+)'", text) == ["shop"]
    assert re.findall(r"CREATE EXTENSION %I', '(\w+)'", text) == ["pg_trgm", "pg_trgm"]
