"""PostgreSQL's settings, its doors and its script, as the server's own programs read them."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import slipway_release

from .conftest import ROOT, Host

CONF = "etc/postgresql/main/conf.d/slipway.conf.j2"
HBA = "etc/postgresql/main/pg_hba.slipway.conf.j2"
DROP_IN = "etc/systemd/system/postgresql@.service.d/slipway.conf.j2"
SCRIPT = "databases.sql.j2"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
needs_server = pytest.mark.skipif(not SERVERS, reason="this machine has no PostgreSQL")

SHOP: dict[str, Any] = {"name": "goods", "user": "shop", "extensions": ["pg_trgm"]}
# The script is the same for all.
HOST = Host("13", "3.13.5")
PASSWORD = """it's a "password", with 50 % $HOME \\ / : @ in it"""


@needs_server
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
            postgresql_memory_share=1.0,
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
        "random_page_cost": "1.1",
        "shared_buffers": "126976",  # pages of 8 kB: 1/4 of 3968 MB, all of it the server's
        "work_mem": "16384",  # kB
    }
    assert {name: read(name) for name in wanted} == wanted


@pytest.mark.parametrize(("version", "refused"), [("", False), ("15", False), ("14", True)])
def test_a_version_that_lacks_what_the_settings_say_is_refused(
    host: Host, version: str, refused: bool
) -> None:
    given = {"postgresql_version": version, "postgresql_repository_url": "https://example.org/pgdg"}
    assert host.refuses("postgresql", "Refuse a version that is too old", **given) is refused


def test_a_value_that_follows_from_the_host_says_how(host: Host) -> None:
    lines = host.render(
        "postgresql",
        CONF,
        postgresql_memory_share=0.5,
        postgresql_tuning_work_mem="9MB",
        postgresql_settings={"random_page_cost": 2},
    ).splitlines()
    assert "shared_buffers = '496MB' # 1/4 of 1984 MB" in lines
    (work_mem,) = (line for line in lines if line.startswith("work_mem"))
    assert work_mem.startswith("work_mem = '9MB' # chosen; else 4MB: (1984 - 496) MB / (3 * 100")
    assert [line for line in lines if "random_page_cost" in line] == ["random_page_cost = 2"]


def test_there_is_room_for_what_the_databases_need(host: Host) -> None:
    text = host.render("postgresql", CONF, postgresql_databases=[SHOP | {"connections": 120}])
    assert "max_connections = 135\n" in text


@pytest.mark.parametrize(
    ("addresses", "password", "wanted"),
    [
        ([], "", ""),
        ([], "secret", "localhost"),
        (["10.0.0.1"], "secret", "10.0.0.1, localhost"),
        (["localhost"], "secret", "localhost"),
        (["*"], "secret", "*"),  # an address that is taken twice is an error in the log
        (["0.0.0.0"], "secret", "0.0.0.0"),
        (["10.0.0.1"], "", "10.0.0.1"),
    ],
)
def test_the_server_listens_where_a_password_is_of_use(
    host: Host, addresses: list[str], password: str, wanted: str
) -> None:
    absent = {"name": "old", "user": "old", "password": "secret", "state": "absent"}
    text = host.render(
        "postgresql",
        CONF,
        postgresql_listen_addresses=addresses,
        postgresql_databases=[SHOP | {"password": password}, absent],
    )
    assert f"listen_addresses = '{wanted}'\n" in text


@pytest.mark.parametrize(
    ("addresses", "waits"),
    [([], False), (["localhost"], False), (["*"], False), (["10.0.0.2", "localhost"], True)],
)
def test_the_server_waits_for_the_address_that_it_listens_on(
    host: Host, addresses: list[str], waits: bool
) -> None:
    unit = host.render("postgresql", DROP_IN, postgresql_listen_addresses=addresses)
    section = unit[unit.index("[Unit]") : unit.index("[Service]")].splitlines()
    for key in ("Wants", "After"):
        assert (f"{key}=network-online.target" in section) is waits


def rules(host: Host, *databases: dict[str, Any]) -> list[list[str]]:
    """Return the lines of pg_hba.conf, each as its words."""
    lines = host.render("postgresql", HBA, postgresql_databases=list(databases)).splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def test_nobody_gets_in_but_by_the_socket_and_as_oneself(host: Host) -> None:
    assert rules(host, SHOP) == [
        ["local", "all", "postgres", "peer"],
        ["local", '"goods"', '"shop","shop_migrator"', "peer"],
    ]


def test_whoever_has_a_password_gets_in_from_the_host_itself_too(host: Host) -> None:
    other = {"name": "other", "user": "other"}
    gone = {"name": "old", "user": "old", "password": "secret", "state": "absent"}
    logins = '"shop","shop_migrator","shop_next"'
    assert rules(host, SHOP | {"password": "secret"}, other, gone) == [
        ["local", "all", "postgres", "peer"],
        ["local", '"goods"', '"shop","shop_migrator"', "peer"],
        ["hostssl", '"goods"', logins, "127.0.0.1/32", "scram-sha-256"],
        ["hostssl", '"goods"', logins, "::1/128", "scram-sha-256"],
        ["local", '"other"', '"other","other_migrator"', "peer"],
    ]


def test_whoever_has_a_password_gets_in_from_where_the_application_is(host: Host) -> None:
    shop = SHOP | {"password": "secret", "clients": ["10.0.0.7", "2001:db8::7"]}
    assert [rule[3] for rule in rules(host, shop) if rule[0] == "hostssl"] == [
        "127.0.0.1/32",
        "::1/128",
        "10.0.0.7/32",
        "2001:db8::7/128",
    ]
    text = host.render("postgresql", CONF, postgresql_databases=[shop])
    assert "listen_addresses = '*'\n" in text
    private = {"postgresql_listen_addresses": ["10.0.0.2"], "postgresql_databases": [shop]}
    assert "listen_addresses = '10.0.0.2, localhost'\n" in host.render(
        "postgresql", CONF, **private
    )


def test_who_reads_and_who_monitors_is_lent_a_role(host: Host) -> None:
    given = {
        "postgresql_databases": [SHOP | {"readers": ["anna"]}],
        "postgresql_monitors": ["prometheus"],
    }
    found = [line.split() for line in host.render("postgresql", HBA, **given).splitlines()]
    assert ["local", "postgres", "slipway_monitor", "peer", "map=slipway"] in found
    assert ["local", '"goods"', '"shop_readonly"', "peer", "map=slipway"] in found
    text = host.render("postgresql", "etc/postgresql/main/pg_ident.slipway.conf.j2", **given)
    assert [line.split() for line in text.splitlines() if not line.startswith("#")] == [
        ["slipway", "prometheus", "slipway_monitor"],
        ["slipway", "anna", '"shop_readonly"'],
    ]


def test_clusters_are_made_by_the_role_with_checksums_and_utf_8(host: Host) -> None:
    text = host.render("postgresql", "etc/postgresql-common/createcluster.d/slipway.conf.j2")
    settings = [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]
    assert settings == [
        ["initdb_options", "=", "--data-checksums --encoding=UTF8 --locale=C.UTF-8"],
        ["create_main_cluster", "=", "false"],
    ]


def test_two_databases_lead_to_no_role_of_one_name(host: Host) -> None:
    for user, refused in (("till", False), ("shop_readonly", True), ("shop_next", True)):
        given = {"postgresql_databases": [SHOP, {"name": "other", "user": user}]}
        roles = "{{ __postgresql_roles }}"
        assert (
            host.refuses("postgresql", "Refuse what is there twice", item=roles, **given) is refused
        )


def script(host: Host, **variables: Any) -> str:
    """Return the script that makes databases, roles and rights."""
    return host.render("postgresql", SCRIPT, **variables)


@dataclass(frozen=True)
class Server:
    """A throw-away server with the role's own pg_hba.conf, but that the socket trusts everybody."""

    folder: Path
    port: int

    def control(self, program: str, *arguments: str) -> None:
        """Run one of the programs that refuse to be root. Output goes to a file: the server keeps it open."""
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        with (self.folder / "output").open("a") as output:
            subprocess.run(
                [SERVERS[-1].parent / program, "-D", self.folder / "data", *arguments],
                stdout=output, stderr=output, check=True, cwd=self.folder,
                **(user if os.geteuid() == 0 else {}),  # type: ignore[call-overload]
            )  # fmt: skip

    def psql(self, host: str, user: str, *arguments: str, password: str = "") -> Popen[str]:
        """Start psql, which asks nobody for a password."""
        command = (SERVERS[-1].parent / "psql", "-XqAtw", "-h", host, "-p", str(self.port))
        return Popen(
            [*command, "-U", user, *arguments], env={"PGPASSWORD": password}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def query(self, statement: str, database: str = "postgres") -> str:
        """Return what a statement of the superuser says."""
        asks = ("-d", database, "-c", statement)
        said, error = self.psql(str(self.folder), "postgres", *asks).communicate()
        assert error == ""
        return said.strip()

    def script(self, *databases: dict[str, Any], dry: bool = False) -> list[str]:
        """Run the role's script as its task does, and return what it shows."""
        text = script(HOST, postgresql_databases=list(databases), ansible_check_mode=dry)
        shown, error = self.psql(str(self.folder), "postgres", "-f", "-").communicate(text)
        assert error == ""
        assert "SCRAM" not in shown
        return shown.splitlines()

    def log_in(self, user: str, password: str, database: str = "goods") -> str:
        """Return as whom one is logged in over TCP, or why one is not."""
        asks = ("-d", database, "-c", "SELECT current_user")
        return "".join(self.psql("127.0.0.1", user, *asks, password=password).communicate()).strip()


def certify(data: Path) -> None:
    """Give a server a certificate, as Debian's package does."""
    names = ("-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.crt")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", *names)
    subprocess.run(command, cwd=data, capture_output=True, check=True)
    for name in ("server.key", "server.crt"):
        (data / name).chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(data / name, "nobody", "nogroup")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    """Return a server of this machine's newest PostgreSQL, where a shop has a password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="slipway-"))  # a socket's path must be short
    server = Server(folder, port)
    try:
        folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        server.control("initdb", "-U", "postgres", "-N", "--no-locale", "-E", "UTF8")
        certify(folder / "data")
        rules = HOST.render("postgresql", HBA, postgresql_databases=[SHOP | {"password": PASSWORD}])
        (folder / "data/pg_hba.conf").write_text(f"local all all trust\n{rules}")
        options = f"-k {folder} -p {port} -c listen_addresses=localhost -c fsync=off -c ssl=on"
        server.control("pg_ctl", "-w", "-s", "-o", options, "start")
        yield server
        server.control("pg_ctl", "-w", "-s", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def server(cluster: Server) -> Iterator[Server]:
    """Return the server, which is emptied afterwards."""
    yield cluster
    databases, roles = catalog(cluster)
    for name in databases:
        cluster.query(f"DROP DATABASE {name} WITH (FORCE)")
    for role in roles:
        cluster.query(f"DROP ROLE {role}")


def catalog(server: Server) -> tuple[set[str], set[str]]:
    """Return the databases and the roles that there are, but for the server's own."""
    databases = server.query("SELECT datname FROM pg_database").split()
    roles = server.query("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'").split()
    own = {"postgres", "slipway_monitor"}
    return set(databases) - {"postgres", "template0", "template1"}, set(roles) - own


@needs_server
def test_what_the_script_has_made_it_does_not_make_again(server: Server) -> None:
    assert len(server.script(SHOP | {"password": PASSWORD})) > 20
    assert server.script(SHOP | {"password": PASSWORD}) == []
    assert catalog(server) == ({"goods"}, {"shop", "shop_migrator", "shop_owner", "shop_readonly"})
    asked = "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension"
    assert server.query(asked, "goods") == "pg_trgm plpgsql"


@needs_server
def test_a_password_opens_its_own_database_from_the_host_itself(server: Server) -> None:
    server.script(SHOP | {"password": PASSWORD})
    assert server.log_in("shop", PASSWORD) == "shop"
    assert server.log_in("shop_migrator", PASSWORD) == "shop_owner"
    assert server.query("SELECT count(DISTINCT rolpassword) FROM pg_authid") == "2"
    assert "password authentication failed" in server.log_in("shop", PASSWORD + " ")
    assert "no pg_hba.conf entry" in server.log_in("shop", PASSWORD, "postgres")
    for user in ("shop_owner", "postgres"):
        assert "no pg_hba.conf entry" in server.log_in(user, PASSWORD)


@needs_server
def test_a_password_is_set_anew_where_it_is_another_and_none_where_there_is_none(
    server: Server,
) -> None:
    server.script(SHOP)
    hidden = [f"ALTER ROLE {role} PASSWORD (not shown)" for role in ("shop", "shop_migrator")]
    for password in (PASSWORD, "another"):
        given = SHOP | {"password": password}
        assert sorted(server.script(given, dry=True)) == hidden
        assert "password authentication failed" in server.log_in("shop", password)
        assert sorted(server.script(given)) == hidden
        assert server.log_in("shop", password) == "shop"
    assert "password authentication failed" in server.log_in("shop", PASSWORD)
    gone = [f"ALTER ROLE {role} PASSWORD NULL" for role in ("shop", "shop_migrator")]
    assert sorted(server.script(SHOP, dry=True)) == gone
    assert sorted(server.script(SHOP)) == gone
    assert "password authentication failed" in server.log_in("shop", "another")


@needs_server
def test_while_a_password_is_rotated_a_second_role_has_the_new_one(server: Server) -> None:
    old, new = SHOP | {"password": "the old one"}, SHOP | {"password": "the new one"}
    cluster_rules = server.query(
        "SELECT count(*) FROM pg_hba_file_rules WHERE 'shop_next' = ANY (user_name)"
    )
    assert int(cluster_rules) > 0
    server.script(old)
    server.query("SET ROLE shop_owner; CREATE TABLE thing AS SELECT 1 AS n", "goods")

    server.script(new | {"rotation": "begun"})
    assert server.script(new | {"rotation": "begun"}) == []
    assert server.log_in("shop", "the old one") == "shop"
    assert server.log_in("shop_next", "the new one") == "shop"
    assert server.log_in("shop_migrator", "the new one") == "shop_owner"
    asks = ("-d", "goods", "-c", "TABLE thing; SHOW statement_timeout")
    said, _ = server.psql("127.0.0.1", "shop_next", *asks, password="the new one").communicate()
    assert said == "1\n30s\n"

    server.script(new | {"rotation": "both"})
    assert (
        server.log_in("shop", "the new one") == server.log_in("shop_next", "the new one") == "shop"
    )

    assert server.script(new) == ["DROP ROLE shop_next"]
    assert server.script(new) == []
    assert server.log_in("shop", "the new one") == "shop"
    assert "password authentication failed" in server.log_in("shop", "the old one")


@needs_server
def test_a_dry_run_says_the_password_of_a_role_that_is_not_there_yet(server: Server) -> None:
    said = server.script(SHOP | {"password": PASSWORD}, dry=True)
    assert "ALTER ROLE shop PASSWORD (not shown)" in said
    assert catalog(server) == (set(), set())


@needs_server
def test_what_is_to_be_absent_is_dropped_with_its_roles(server: Server) -> None:
    twin, other = SHOP | {"name": "twin"}, {"name": "other", "user": "other"}
    absent = {"state": "absent"}
    server.script(SHOP, twin, other)
    drops = ["DROP DATABASE goods WITH (FORCE)"]
    # Its twin still needs the roles.
    assert server.script(SHOP | absent, twin, other, dry=True) == drops
    assert catalog(server)[0] == {"goods", "twin", "other"}
    assert server.script(SHOP | absent, twin, other) == drops
    assert catalog(server)[0] == {"twin", "other"}
    assert {"shop", "shop_migrator", "shop_owner", "shop_readonly"} < catalog(server)[1]

    # While a password is rotated there is one more.
    server.script(SHOP | {"rotation": "begun"}, twin | {"rotation": "begun"}, other)
    every = [
        *drops,
        "DROP DATABASE twin WITH (FORCE)",
        *(f"DROP ROLE shop{end}" for end in ("", "_migrator", "_next", "_owner", "_readonly")),
    ]
    assert sorted(server.script(SHOP | absent, twin | absent, other, dry=True)) == every
    assert sorted(server.script(SHOP | absent, twin | absent, other)) == every
    assert catalog(server) == (
        {"other"},
        {"other", "other_migrator", "other_owner", "other_readonly"},
    )
    assert server.script(SHOP | absent, twin | absent, other) == []


@needs_server
def test_a_database_of_somebody_else_is_not_dropped(server: Server) -> None:
    server.query("CREATE DATABASE goods")
    assert server.script(SHOP | {"state": "absent"}) == []
    assert catalog(server)[0] == {"goods"}


@needs_server
def test_a_database_that_is_in_use_is_dropped(server: Server) -> None:
    server.script(SHOP)
    with server.psql(str(server.folder), "shop", "-d", "goods") as session:
        assert session.stdin is not None and session.stdout is not None
        session.stdin.write("SELECT 'here';\n")
        session.stdin.flush()
        assert session.stdout.readline() == "here\n"
        assert "DROP DATABASE goods WITH (FORCE)" in server.script(SHOP | {"state": "absent"})
        assert "terminating connection" in session.communicate("SELECT 1;\n")[1]


@needs_server
def test_a_release_goes_on_where_its_migrator_may_note_no_restore_point_yet(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ansible.module_utils.slipway_release", slipway_release)
    step = runpy.run_path(str(ROOT / "roles/fastapi_app/library/release_migrate.py"))
    runuser = tmp_path / "runuser"
    runuser.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')  # without --user <user> --
    runuser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{SERVERS[-1].parent}:/usr/bin:/bin")
    server.script(SHOP)
    server.query(
        "REVOKE EXECUTE ON FUNCTION pg_create_restore_point, pg_switch_wal FROM shop_migrator",
        "goods",
    )
    way = {"PGHOST": str(server.folder), "PGPORT": str(server.port), "PGUSER": "shop_migrator"}
    database = step["Database"]("shop_migrator", "goods", **way)
    try:
        app = step["Application"]("shop", str(tmp_path))
        assert step["restore_point"](database, app, "blue") == {}
        assert database.ask("SELECT current_user;") == ["shop_owner"]
    finally:
        database.close()


def test_a_dry_run_says_all_that_a_run_does_and_does_none_of_it(host: Host) -> None:
    query = r"(SELECT (?:(?!^\\).)+)"
    shown = re.compile(
        rf"FROM \(\n{query}\) AS lacking \(statement\)\n\\g$", re.DOTALL | re.MULTILINE
    )
    done = re.compile(rf"^{query}^\\gexec$", re.DOTALL | re.MULTILINE)

    real, dry = script(host), script(host, ansible_check_mode=True)
    assert len(shown.findall(real)) > 10
    assert shown.findall(real) == done.findall(real) == shown.findall(dry)
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
