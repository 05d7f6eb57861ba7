"""`make doctor` draws the right conclusions from what it has seen, and says each so that it can be read."""

from __future__ import annotations

import io
import json
import platform
import socket
import ssl
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .conftest import load

Rows = list[dict[str, str]]

# Looks that were taken: at a bare Debian 12, and at one with everything on it.
BARE = """\
clock 1 none
address 10.213.0.4
user deploy 1000 deploy users
root yes
system debian 12 x86_64 systemd
python 3.11.2 x86_64 2.36
synchronised yes
disk 76161 /
memory MemTotal 24684084
memory MemAvailable 23681508
listen LISTEN 0      128    0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=52,fd=3))
listen LISTEN 0      128       [::]:22    [::]:* users:(("sshd",pid=52,fd=4))
"""
LIVE = f"""{BARE}\
listen LISTEN 0      511    0.0.0.0:443 0.0.0.0:* users:(("nginx",pid=5230,fd=9),("nginx",pid=5229,fd=9))
listen LISTEN 0      511       [::]:80     [::]:* users:(("nginx",pid=5229,fd=10))
listen LISTEN 0      200  127.0.0.1:5432  0.0.0.0:* users:(("postgres",pid=4471,fd=6))
ours /etc/nginx/conf.d/00-slipway.conf
ours /etc/postgresql/15/main/conf.d/slipway.conf
"""
PORTS = {"nginx_http_port": 80, "nginx_https_port": 443, "postgresql": 5432}
GROUPS = {"all": ["vm1"], "edge": ["vm1"], "app": ["vm1"], "db": ["vm1"]}


@pytest.fixture(scope="module")
def doctor() -> ModuleType:
    """Return the filters of the doctor."""
    return load("plugins/filter/doctor.py")


@pytest.fixture
def rows(doctor: ModuleType) -> Callable[..., Rows]:
    """Return what makes rows of one host's look, of which a part is replaced, and of more that was seen."""

    def diagnose(
        look: str = BARE,
        replaced: tuple[str, str] = ("", ""),
        ways: dict[str, str] | None = None,
        certificates: dict[str, Any] | None = None,
        addresses: dict[str, list[str]] | None = None,
        builds: list[dict[str, Any]] | None = None,
        imports: list[dict[str, Any]] | None = None,
        **said: Any,
    ) -> Rows:
        assert replaced[0] in look
        variables = {
            "__doctor": {
                "address": "vm1.example.org",
                "user": "deploy",
                "ports": PORTS,
                "disk_mb": 2048,
                "domains": {},
                "errors": [],
                "unknown": [],
                **said,
            },
            "__doctor_look": {"stdout": look.replace(*replaced)},
            "__doctor_reach": {
                "address": "vm1.example.org",
                "addresses": {"vm1.example.org": ["203.0.113.10"], **(addresses or {})},
                "ports": ways or {"80": "refused", "443": "refused", "5432": "refused"},
                "certificates": certificates or {},
            },
            "__fastapi_app_builds": {"results": builds or []},
            "__doctor_imports": {"results": imports or []},
        }
        return list(doctor.diagnosis({"vm1": variables}, GROUPS))

    return diagnose


def of(rows: Rows, check: str) -> tuple[str, str, str]:
    """Return verdict, what was seen and the fix of the one row of a check."""
    (row,) = [row for row in rows if row["check"] == check]
    return row["verdict"], row["seen"], row["fix"]


def test_nothing_is_wrong_with_a_bare_host(rows: Callable[..., Rows]) -> None:
    seen = {row["check"]: (row["verdict"], row["seen"]) for row in rows(domains={"shop": []})}
    assert seen == {
        "groups": ("pass", "edge, app and db: vm1"),
        "SSH": ("pass", "as deploy, at 10.213.0.4"),
        "sudo": ("pass", "deploy becomes root without a password"),
        "system": ("pass", "Debian 12, x86_64"),
        "Python": ("pass", "3.11.2, glibc 2.36"),
        "disk": ("pass", "74.4 GiB free on /"),
        "memory": ("pass", "23126 MiB of 24105 MiB available"),
        "clock": ("pass", "like this machine's, and synchronised"),
        "port 80": ("pass", "free, and reached from here"),
        "port 443": ("pass", "free, and reached from here"),
        "port 5432": ("pass", "free"),
        "inventory": ("pass", "nothing is wrong with its entry"),
    }


def test_nothing_is_wrong_with_a_host_that_serves(rows: Callable[..., Rows]) -> None:
    seen = rows(LIVE, ways={"80": "open", "443": "open", "5432": "refused"})
    assert of(seen, "port 443") == (
        "pass",
        "held by nginx (process 5230), and reached from here",
        "",
    )
    assert of(seen, "port 5432") == ("pass", "held by postgres (process 4471)", "")
    assert {row["verdict"] for row in seen if row["where"] == "vm1"} == {"pass"}


@pytest.mark.parametrize(
    ("replaced", "check", "verdict", "seen", "fix"),
    [
        (
            ("root yes", "root sudo: a password is required"),
            "sudo",
            "FAIL",
            "can't become root: sudo: a password",
            "group",
        ),
        (
            ("root yes", "root bash: sudo: command not found"),
            "sudo",
            "FAIL",
            "root: bash: sudo: command",
            "ansible_user",
        ),
        (
            ("deploy users\nroot yes", "deploy sudo\nroot sudo: a password is required"),
            *(
                "sudo",
                "WARN",
                "deploy is asked for a password",
                "Add --ask-become-pass to each run",
            ),
        ),
        (
            ("debian 12", "ubuntu 24.04"),
            "system",
            "FAIL",
            "Ubuntu 24.04, x86_64",
            "Debian 12 and 13",
        ),
        (("debian 12", "debian 11"), "system", "FAIL", "Debian 11", "Debian 12 and 13"),
        (
            ("x86_64 systemd", "x86_64 tini"),
            "system",
            "FAIL",
            "its first process is tini",
            "boot the host with it",
        ),
        (
            ("python 3.11.2 x86_64 2.36\n", ""),
            "Python",
            "FAIL",
            "no /usr/bin/python3",
            "'apt-get install python3'",
        ),
        (
            ("python 3.11.2", "python 3.12.1"),
            "Python",
            "FAIL",
            "is 3.12.1, which isn't Debian's",
            "Debian's own",
        ),
        (("76161 /", "2047 /"), "disk", "FAIL", "2.0 GiB free on /", "baseline_disk_free_min_mb"),
        (("76161 /", "4095 /"), "disk", "WARN", "4.0 GiB free on /", "fastapi_app_keep_releases"),
        (("23681508", "200000"), "memory", "WARN", "195 MiB of 24105 MiB available", "workers"),
        (
            ("clock 1", "clock -90"),
            "clock",
            "FAIL",
            "90 s behind this machine's",
            "systemd-timesyncd",
        ),
        (
            ("clock 1", "clock 7"),
            "clock",
            "FAIL",
            "7 s ahead of this machine's",
            "systemd-timesyncd",
        ),
        (
            ("synchronised yes", "synchronised no"),
            "clock",
            "WARN",
            "nothing keeps it so",
            "systemd-timesyncd",
        ),
        (("none", "podman"), "clock", "pass", "a container has its host's", ""),
        (
            ("0.0.0.0:22", "0.0.0.0:80"),
            "port 80",
            "FAIL",
            "held by sshd (process 52)",
            "set nginx_http_port",
        ),
        (
            ("[::]:22", "[::]:443"),
            "port 443",
            "FAIL",
            "held by sshd (process 52)",
            "set nginx_https_port",
        ),
        (
            ('0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=52,fd=3))', "127.0.0.1:443 0.0.0.0:*"),
            *("port 443", "FAIL", "held by another program", "Stop and disable it"),
        ),
        (
            ("0.0.0.0:22", "127.0.0.1:5432"),
            "port 5432",
            "FAIL",
            "held by sshd (process 52)",
            "move it to another port",
        ),
        (
            ('0.0.0.0:22 0.0.0.0:* users:(("sshd"', '127.0.0.1:5432 0.0.0.0:* users:(("postgres"'),
            *("port 5432", "FAIL", "a PostgreSQL that Slipway hasn't set up", "pg_renamecluster"),
        ),
    ],
)
def test_what_is_wrong_with_a_host(
    rows: Callable[..., Rows],
    replaced: tuple[str, str],
    check: str,
    verdict: str,
    seen: str,
    fix: str,
) -> None:
    found = of(rows(BARE, replaced), check)
    assert found[0] == verdict and seen in found[1] and fix in found[2]
    assert bool(found[2]) == (verdict != "pass")


@pytest.mark.parametrize(
    ("look", "ways", "check", "seen"),
    [
        (BARE, {"80": "silent"}, "port 80", "free, but nothing comes back from there"),
        (
            LIVE,
            {"443": "silent"},
            "port 443",
            "held by nginx (process 5230), but nothing comes back from there",
        ),
        (
            LIVE,
            {"443": "refused"},
            "port 443",
            "held by nginx (process 5230), and refused from outside",
        ),
        (LIVE, {"5432": "open"}, "port 5432", "postgres (process 4471) answers from outside"),
    ],
)
def test_a_firewall_is_noticed(
    rows: Callable[..., Rows], look: str, ways: dict[str, str], check: str, seen: str
) -> None:
    verdict, said, fix = of(rows(look, ways=ways), check)
    assert (verdict, said) == ("WARN", seen) and fix


def test_without_root_what_slipway_has_set_up_is_taken_for_its_own(
    rows: Callable[..., Rows],
) -> None:
    plain = "".join(f"{line.split('users:')[0]}\n" for line in LIVE.splitlines())
    seen = rows(plain, ("root yes", "root no"), ways={"80": "open", "443": "open"})
    assert of(seen, "port 443")[0] == of(seen, "port 5432")[0] == "pass"


def test_of_a_host_that_is_not_reached_no_more_is_said(doctor: ModuleType) -> None:
    said = "Task failed: Failed to connect to the host via ssh: ssh: connect to host vm1 port 22: No route to host"
    variables = {
        "__doctor": {
            **{"address": "vm1", "user": "deploy", "ports": PORTS, "errors": [], "unknown": []},
            "domains": {"shop": ["shop.org"]},
        },
        "__doctor_look": {"unreachable": True, "msg": said},
        "__doctor_reach": {
            "addresses": {"vm1": []},
            "certificates": {"shop.org": {"problem": "refused"}},
        },
    }
    found = doctor.diagnosis({"vm1": variables}, GROUPS)
    assert [(row["check"], row["verdict"]) for row in found if row["where"] == "vm1"] == [
        ("SSH", "FAIL")
    ]
    assert of(found, "SSH")[1] == "ssh: connect to host vm1 port 22: No route to host"
    assert "'ssh deploy@vm1' by hand must work first" in of(found, "SSH")[2]
    assert {row["check"] for row in found if row["where"] == "shop"} == {"inventory"}


def test_a_host_beyond_the_limit_is_left_out_and_one_with_broken_variables_is_not(
    doctor: ModuleType,
) -> None:
    found = doctor.diagnosis({"far": {}, "broken": {"__doctor_look": {"stdout": BARE}}}, GROUPS)
    assert [row["verdict"] for row in found if row["where"] == "broken"] == ["FAIL"]
    assert not any(row["where"] == "far" for row in found)


@pytest.mark.parametrize(
    ("groups", "seen"),
    [
        ({}, ("FAIL", "no host in app")),
        ({"app": ["a"]}, ("WARN", "edge: none; app: a; db: none")),
        ({"edge": ["a"], "app": ["b", "c"]}, ("pass", "edge: a; app: b, c; db: none")),
    ],
)
def test_groups_that_differ_are_told(
    doctor: ModuleType, groups: dict[str, list[str]], seen: tuple[str, str]
) -> None:
    verdict, said, fix = of(doctor.diagnosis({}, groups), "groups")
    assert (verdict, said) == seen and bool(fix) == (verdict != "pass")


# --- Applications


def test_an_inventory_without_an_application_says_how_to_get_one(rows: Callable[..., Rows]) -> None:
    assert "make new APP=" in of(rows(), "apps")[2]


def test_what_is_wrong_with_an_entry_is_said_of_its_application(rows: Callable[..., Rows]) -> None:
    errors = [
        "apps.a.domains, apps.b.domains: x.org is listed 2 times; keep it in one place",
        "apps: must be a dict",
    ]
    found = rows(
        domains={"a": [], "c": []}, errors=errors, unknown=["nginx_prt: did you mean nginx_port?"]
    )
    said = [
        (row["where"], row["verdict"], row["seen"], row["fix"])
        for row in found
        if row["check"] in ("inventory", "options")
    ]
    assert sorted(said) == [
        ("a", "FAIL", "domains, apps.b.domains: x.org is listed 2 times", "Keep it in one place."),
        ("c", "pass", "nothing is wrong with its entry", ""),
        ("inventory", "FAIL", "apps: must be a dict", ""),
        ("vm1", "FAIL", "no role has nginx_prt", "Did you mean nginx_port?"),
    ]


SERVED = {"problem": "", "days": 80, "names": ["shop.org", "*.shop.net"], "issuer": "CA"}


@pytest.mark.parametrize(
    ("name", "leads", "verdict", "seen"),
    [
        (
            "shop.org",
            ["203.0.113.10", "2001:db8::1"],
            "pass",
            "shop.org leads to 2001:db8::1, 203.0.113.10",
        ),
        ("shop.org", ["198.51.100.7"], "WARN", "shop.org leads to 198.51.100.7"),
        ("shop.org", [], "WARN", "shop.org leads nowhere"),
        ("shop.localhost", [], "pass", "shop.localhost is always the machine that asks"),
    ],
)
def test_where_names_lead(
    rows: Callable[..., Rows], name: str, leads: list[str], verdict: str, seen: str
) -> None:
    found = rows(domains={"shop": [name]}, addresses={name: leads}, certificates={name: SERVED})
    said = of(found, "DNS")
    assert said[:2] == (verdict, seen)
    assert ("vm1 (203.0.113.10)" in said[2]) == (verdict != "pass")


@pytest.mark.parametrize(
    ("name", "changed", "verdict", "seen"),
    [
        ("shop.org", {}, "pass", "for shop.org, 80 days left, by CA"),
        ("www.shop.net", {}, "pass", "for www.shop.net, 80 days left, by CA"),
        ("a.b.shop.net", {}, "WARN", "vm1 answers a.b.shop.net with one for shop.org, *.shop.net"),
        (
            "shop.org",
            {"days": -3, "problem": "expired"},
            "FAIL",
            "that for shop.org ended 3 days ago",
        ),
        ("shop.org", {"days": 13}, "WARN", "for shop.org, 13 days left, by CA"),
        (
            "shop.org",
            {"problem": "no issuer"},
            "WARN",
            "for shop.org, 80 days left, by CA: no issuer",
        ),
    ],
)
def test_certificates(
    rows: Callable[..., Rows], name: str, changed: dict[str, Any], verdict: str, seen: str
) -> None:
    found = of(rows(domains={"shop": [name]}, certificates={name: SERVED | changed}), "certificate")
    assert found[:2] == (verdict, seen) and bool(found[2]) == (verdict != "pass")


def test_what_is_not_served_yet_is_said_in_one_row(rows: Callable[..., Rows]) -> None:
    none = {name: {"problem": "Connection refused"} for name in ("a.org", "b.org")}
    verdict, seen, fix = of(rows(domains={"shop": [*none]}, certificates=none), "certificate")
    assert (verdict, seen) == ("WARN", "none for a.org, b.org on port 443 of vm1 yet") and fix


def test_maintenance_that_is_on_is_said_with_its_end(rows: Callable[..., Rows]) -> None:
    closed = f"{LIVE}closed /var/lib/slipway/maintenance/shop/on\n"
    found = rows(closed, domains={"shop": ["shop.test"], "wiki": ["wiki.test"]})
    verdict, seen, fix = of(found, "maintenance")
    assert verdict == "WARN" and seen == "on: its clients get a page from vm1"
    assert "playbooks/maintenance.yml -e app=shop -e state=off" in fix


def test_releases_and_imports(rows: Callable[..., Rows]) -> None:
    built = {
        "item": "shop",
        "id": "0123456789ab",
        "target": "cp313-x86_64-glibc2.41",
        "server": ["gunicorn 27.0.1"],
    }
    builds = [built, {"item": "blog", "msg": "apps.blog.lock: no uv.lock. Lock it"}]
    found = rows(builds=builds)
    said = {
        row["where"]: (row["verdict"], row["seen"]) for row in found if row["check"] == "release"
    }
    assert said == {
        "shop": ("pass", "0123456789ab for cp313-x86_64-glibc2.41; from the kit: gunicorn 27.0.1"),
        "blog": ("FAIL", "lock: no uv.lock. Lock it"),
    }
    for outcome, verdict in {
        "imported": "pass",
        "failed": "FAIL",
        "unsure": "WARN",
        "impossible": "WARN",
    }.items():
        trial = {"item": {"item": "shop"}, "outcome": outcome, "said": "so it was"}
        found = rows(builds=builds, imports=[trial, {"item": {"item": "blog"}, "skipped": True}])
        assert of(found, "import")[0] == verdict and "so it was" in of(found, "import")[1]


def test_what_cannot_be_read_hides_nothing_else(doctor: ModuleType, filters: ModuleType) -> None:
    class Vault(dict[str, str]):
        """Values that are looked up, of which none is there."""

        def __getitem__(self, key: str) -> str:
            raise LookupError(f"'vault_{key}' is undefined")

    apps = {
        "shop": {"source": "x", "module": "x:y", "domains": ["x.org"], "secrets": Vault(A="1")},
        "blog": {"source": Vault(a=""), "module": "x:y", "domains": ["y.org"]},
        "wiki": {"source": "x", "modul": "x:y", "domains": ["z.org"]},
    }
    found = doctor.readable_apps(apps)
    assert found["errors"] == [
        "apps.shop.secrets.A: 'vault_A' is undefined; define it, such as in a vault",
        "apps.blog.source.a: 'vault_a' is undefined; define it, such as in a vault",
    ]
    errors = found["errors"] + filters.app_errors(found["apps"])
    assert any(error.startswith("apps.wiki.modul: unknown key") for error in errors)
    # The release of one whose secrets are missing can be built all the same.
    assert list(doctor.sound(found["apps"], errors)) == ["shop"]


def test_the_table_can_be_read(doctor: ModuleType, rows: Callable[..., Rows]) -> None:
    none = {"shop.org": {"problem": "Connection refused"}}
    more = {"domains": {"shop": [*none]}, "certificates": none}
    text = doctor.table(rows(BARE, ("76161 /", "2047 /"), **more))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 92 and not any(line != line.rstrip() for line in lines)
    assert "vm1        SSH          pass  as deploy, at 10.213.0.4" in lines
    row = lines.index("           disk         FAIL  2.0 GiB free on /")
    assert lines[row + 1].strip() == "-> Make room or grow the disk: a run wants 2048 MiB there"
    assert lines[row + 2].strip() == "(baseline_disk_free_min_mb)."
    assert "" in lines and text.count("vm1        ") == 1


def test_what_two_hosts_say_of_an_application_is_said_once(doctor: ModuleType) -> None:
    of_both = {"domains": {"shop": []}, "errors": ["apps.blog.modul: unknown key"], "unknown": []}
    of_both |= {"address": "vm", "user": "x", "ports": {}}
    variables = {"__doctor": of_both, "__doctor_look": {}}
    found = doctor.diagnosis({"vm1": variables, "vm2": variables}, GROUPS)
    assert [row["where"] for row in found] == ["inventory", "vm1", "vm2", "blog", "shop"]


# --- What is looked at from here


@pytest.fixture(scope="module")
def reach() -> ModuleType:
    """Return the module that looks at a host as its clients do."""
    return load("playbooks/library/reach_info.py")


def test_ports_and_names(reach: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reach.connection("127.0.0.1", 2, port) == "open"
    assert reach.connection("127.0.0.1", 2, port) == "refused"
    assert "127.0.0.1" in reach.addresses("localhost")
    assert reach.addresses("nowhere.invalid") == []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Return the port of a server, and its certificate, which signs itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("shop.org")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9.5))
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1], folder / "cert.pem"
        server.shutdown(socket.SHUT_RDWR)


def test_a_certificate_as_a_client_sees_it(reach: ModuleType, served: tuple[int, Path]) -> None:
    port, authority = served
    look = partial(reach.certificate, "127.0.0.1", port)
    seen = {"days": 9, "names": ["shop.org"], "issuer": "Test CA"}
    assert look(str(authority), 2, "shop.org") == seen | {"problem": ""}
    assert look("", 2, "shop.org")["problem"] == "self-signed certificate"
    assert "mismatch" in look(str(authority), 2, "blog.org")["problem"]


def test_where_nothing_is_served_there_is_no_certificate(reach: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert reach.certificate("127.0.0.1", port, "", 2, "shop.org").keys() == {"problem"}


# What pydantic says of a setting: its value, in part.
REFUSED = """\
1 validation error for Settings
TOKEN
  String should have at least 40 characters [type=too_short, input_value='a lo...ret', input_type=str]
    For further information visit https://errors.pydantic.dev/2/v/too_short
"""


def release(folder: Path, code: str) -> dict[str, Any]:
    """Return the arguments of release_import for an application of one file; its gunicorn is a stand-in."""
    stand_in = """\
import importlib

def import_app(name):
    module, app = name.split(":")
    getattr(importlib.import_module(module), app)
"""
    source = {"shop": code, "gunicorn/__init__": "", "gunicorn/util": stand_in}
    files = {
        "release.tar.gz": {f"id/src/{name}.py": text for name, text in source.items()},
        "wheels.tar": {"wheels/requirements.txt": ""},
    }
    for archive, members in files.items():
        with tarfile.open(folder / archive, "w:gz" if archive.endswith("gz") else "w") as tar:
            for name, text in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
    return {
        "module": "shop:app",
        "archive": str(folder / "release.tar.gz"),
        "wheels_archive": str(folder / "wheels.tar"),
        "target": f"cp3{sys.version_info.minor}-{platform.machine()}-glibc2.36",
        "interpreter": "",
        "environment": json.dumps({"TOKEN": "a long secret", "DEBUG": True}),
        "secrets": json.dumps({"PIN": "another long one"}),
        "generated": ["MADE"],
        "generated_as": "environment",
        "timeout": 2,
    }


@pytest.mark.parametrize(
    ("code", "outcome", "said"),
    [
        ("import os\nassert os.environ['DEBUG'] == 'true'\napp = 1\n", "imported", "by Python 3."),
        (
            "import os\nopen(os.environ['CREDENTIALS_DIRECTORY'] + '/PIN')\nos.environ['MADE']\napp = 1\n",
            "imported",
            "by Python 3.",
        ),
        ("import nowhere\n", "failed", "ModuleNotFoundError: No module named 'nowhere'"),
        ("application = 1\n", "failed", "AttributeError: module 'shop' has no attribute 'app'"),
        ("import os\nraise ValueError(os.environ['TOKEN'])\n", "failed", "ValueError: …"),
        ("open('/srv/nowhere')\n", "unsure", "FileNotFoundError: [Errno 2]"),
        (
            "class ConnectError(Exception): ...\nraise ConnectError('x')\n",
            "unsure",
            "ConnectError: x",
        ),
        ("import time\ntime.sleep(600)\n", "unsure", "the import wasn't over after 2 s"),
        (
            f"import sys\nsys.exit({REFUSED!r})\n",
            "failed",
            "1 validation error for Settings TOKEN String",
        ),
    ],
)
def test_an_import_in_a_scratch_environment(
    tmp_path: Path, code: str, outcome: str, said: str
) -> None:
    importer = load("playbooks/library/release_import.py")
    (tmp_path / "scratch").mkdir()
    came = importer.tried(release(tmp_path, code), tmp_path / "scratch")
    assert came["outcome"] == outcome and said in came["said"], came
    assert "a long secret" not in str(came) and "a lo" not in str(came)


def test_without_such_a_python_nothing_is_imported(tmp_path: Path) -> None:
    importer = load("playbooks/library/release_import.py")
    target = f"cp399-{platform.machine()}-glibc2.36"
    came = importer.tried(release(tmp_path, "") | {"target": target}, tmp_path)
    assert came == {
        "outcome": "impossible",
        "said": f"no Python 3.99 for {platform.machine()} here",
    }
