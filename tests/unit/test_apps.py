"""What the inventory says of an application is checked to the letter, and every message names the key and the fix."""

from __future__ import annotations

import copy
import datetime
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError

ROOT = Path(__file__).resolve().parents[2]
SPECS = yaml.safe_load((ROOT / "roles/fastapi_app/meta/argument_specs.yml").read_text())
KEYS = SPECS["argument_specs"]["app"]["options"]
BOARD: dict[str, Any] = {
    "source": "app/",
    "module": "board.main:app",
    "domains": ["board.example.org"],
}
MOMENTS = ("before_build", "after_migrate", "before_switch", "after_switch", "on_failure")
PASSWORD = "a/b:c@d%e f-0123456789"


class Tagged(datetime.date):
    """A value as Ansible hands it over: of a class of its own."""


def changed(**keys: Any) -> dict[str, Any]:
    """Return the inventory's apps: the board with some keys changed; a key set to None is left out."""
    return {
        "board": {
            key: value for key, value in (copy.deepcopy(BOARD) | keys).items() if value is not None
        }
    }


def several(**apps: dict[str, Any]) -> dict[str, Any]:
    """Return the inventory's apps: the board under other names, each with some keys changed."""
    return {name.replace("_", "-"): copy.deepcopy(BOARD) | keys for name, keys in apps.items()}


def database(**keys: Any) -> dict[str, Any]:
    """Return the inventory's apps: the board with a database."""
    return changed(database={"name": "board", **keys})


def tcp(**keys: Any) -> dict[str, Any]:
    """Return the inventory's apps: the board with a database over TCP."""
    return database(via="tcp", password=PASSWORD, **keys)


def only(filters: ModuleType, apps: dict[str, Any]) -> dict[str, Any]:
    """Return the only one of the applications, with its defaults."""
    (app,) = filters.validated_apps(apps).values()
    assert isinstance(app, dict)
    return app


def test_the_smallest_application_gets_every_default(filters: ModuleType) -> None:
    assert only(filters, changed()) == BOARD | {
        "name": "board",
        "state": "present",
        "delete_data": False,
        "version": "",
        "folder": "",
        "lock": "",
        "python": "system",
        "path": "/",
        "strip_path": True,
        "database": {},
        "migrate": [],
        "hooks": {moment: [] for moment in MOMENTS},
        "headers": {},
        "health": "/",
        "static": {},
        "frontend": {},
        "redirect_from": [],
        "tls": {"from": "local", "chain": "", "key": "", "challenge": "http", "hook": ""},
        "maintenance_page": "",
        "probe": {"rate": 10, "requests": [], "websocket": ""},
        "routes": [],
        "accel": {},
        "shared": [],
        "workers": "auto",
        "max_in_flight": "auto",
        "server": "gunicorn",
        "port": 8000,
        "balance": "round_robin",
        "services": [],
        "timers": [],
        "env": {},
        "secrets": {},
        "secrets_as": "environment",
        "secrets_generated": [],
        "sandbox": {},
    }


def test_what_is_within_an_application_gets_its_defaults_too(filters: ModuleType) -> None:
    app = only(filters, database())
    assert app["database"] == {
        "name": "board",
        "extensions": [],
        "host": "",
        "via": "socket",
        "password": "",
        "pool": 4,
        "readers": [],
        "statement_timeout": 30,
        "lock_timeout": 10,
        "idle_in_transaction_timeout": 60,
        "env": {"DATABASE_URL": "{url}"},
    }
    app = only(filters, changed(static={"path": "public"}, frontend={"path": "../dist"}))
    assert app["static"] == {"path": "public", "url": "/static/"}
    assert app["frontend"] == {"path": "../dist", "api": ["/api/"]}


# --- Messages --------------------------------------------------------------------------------


def folders(path: str) -> dict[str, dict[str, Any]]:
    """Return the keys that name a folder in the source, each as it is given."""
    return {
        "folder": {"folder": path},
        "static.path": {"static": {"path": path}},
        "maintenance_page": {"maintenance_page": path},
        "shared": {"shared": [path]},
    }


def settings(name: Any, value: Any) -> dict[str, dict[str, Any]]:
    """Return the keys that hold environment variables, each as it is given."""
    return {
        "env": {"env": {name: value}},
        "secrets": {"secrets": {name: value}},
        "database.env": {"database": {"name": "board", "env": {name: value}}},
    }


SHAPES: list[tuple[Any, str]] = [
    (["board"], "apps: must be a dict of applications by name, {} if there are none"),
    (None, "apps: must be a dict of applications by name, {} if there are none"),
    (
        {"board": "app/"},
        "apps.board: must be a dict with at least source, module and domains",
    ),
    ({"board": None}, "apps.board: must be a dict with at least source, module and domains"),
    (changed(modul="board.main:app"), "apps.board.modul: unknown key; did you mean module?"),
    (
        changed(zzz=1),
        f"apps.board.zzz: unknown key; known are: {', '.join(sorted(KEYS))}",
    ),
    (database(nam="board"), "apps.board.database.nam: unknown key; did you mean name?"),
    (
        changed(services=[{"name": "a", "run": "b", "nme": "c"}]),
        "apps.board.services[0].nme: unknown key; did you mean name?",
    ),
    (changed(source=None), "apps.board: missing required arguments: source"),
    (
        changed(database={"extensions": []}),
        "apps.board: missing required arguments: name found in database",
    ),
    (changed(database={}), "apps.board: missing required arguments: name found in database"),
    (
        changed(timers=[{"name": "a", "run": "b"}]),
        "apps.board: missing required arguments: on_calendar found in timers",
    ),
    (changed(domains="board.example.org"), "apps.board.domains: must be a list, not str"),
    (changed(env=["A=b"]), "apps.board.env: must be a dict, not list"),
    (changed(module=["board"]), "apps.board.module: must be a str, not list"),
    (changed(source=True), "apps.board.source: must be a str, not bool"),
    (changed(strip_path="no"), "apps.board.strip_path: must be a bool, not str"),
    (changed(version=Tagged(2026, 1, 2)), "apps.board.version: must be a str, not date"),
    (
        changed(python=3.1),
        "apps.board.python: 3.1 is a number to YAML, which drops zeros at its end; write it in quotes, such as '3.10'",
    ),
    (
        {"board": BOARD | {"migrate": None}},
        "apps.board.migrate: has no value; give it one or remove the key",
    ),
    (
        changed(shared=["uploads", None]),
        "apps.board.shared[1]: has no value; give it one or remove the key",
    ),
    (changed(domains=[{"a": "b"}]), "apps.board.domains[0]: must be a str, not dict"),
    (database(extensions=[["a"]]), "apps.board.database.extensions[0]: must be a str, not list"),
    (
        changed(frontend={"path": "dist", "api": [True]}),
        "apps.board.frontend.api[0]: must be a str, not bool",
    ),
    (changed(services=["celery"]), "apps.board.services[0]: must be a dict, not str"),
    (changed(source=" "), "apps.board.source: is empty; give it a value"),
    (changed(frontend={"path": ""}), "apps.board.frontend.path: is empty; give it a value"),
    (
        changed(timers=[{"name": "a", "run": "b", "on_calendar": ""}]),
        "apps.board.timers[0].on_calendar: is empty; give it a value",
    ),
    (
        changed(state="gone"),
        "apps.board: value of state must be one of: present, absent, got: gone",
    ),
]

NAMES: list[tuple[Any, str]] = [
    *(
        (
            {name: BOARD},
            f"apps.{name}: the name must be a lower-case letter, then letters, digits, _ or -, at most 20",
        )
        for name in ("Board", "1st", "a" * 21, "a b", 7, False)
    ),
    *(
        (
            {name: BOARD},
            f"apps.{name}: the name is taken by the system or by another application's roles; choose another",
        )
        for name in (
            "root",
            "postgresql",
            "systemd-x",
            "shop_migrator",
            "shop_next",
            "pg_shop",
            "public",
        )
    ),
    (
        {"root": {"state": "absent"}},
        "apps.root: the name is taken by the system or by another application's roles; choose another",
    ),
]

VALUES: list[tuple[Any, str]] = [
    *(
        (
            changed(module=module),
            f"apps.board.module: {module!r} is not of the form package.module:attribute, such as shop.main:app",
        )
        for module in ("board.main", "board/main:app", "a:b.c", "a:b()()", "a:b(\n)", "a:", "a b:c")
    ),
    (changed(domains=[]), "apps.board.domains: is empty; name at least one host name"),
    (
        changed(domains=["*.a.org", "a.org"]),
        "apps.board.domains: *.a.org is the first, which its health is asked with and redirects lead to; "
        "put a host name before it",
    ),
    (
        changed(domains=["a.org", "*.a.org"], tls={"from": "acme"}),
        "apps.board.domains: *.a.org can't be had by challenge http; set apps.board.tls.challenge to dns, with a hook",
    ),
    (
        changed(redirect_from=["A.org"]),
        "apps.board.redirect_from: 'A.org' is not a host name in lower case; write it without scheme, port and path",
    ),
    (
        changed(redirect_from=["board.example.org"]),
        "apps.board.redirect_from: board.example.org is one of apps.board.domains; keep it in one place",
    ),
    (
        changed(tls={"from": "files", "chain": "a.pem"}),
        "apps.board.tls.key: is missing; name the file on the control node",
    ),
    (
        changed(tls={"chain": "a.pem"}),
        "apps.board.tls.chain: goes with 'from: files'; set that, or remove chain",
    ),
    (
        changed(tls={"from": "acme", "challenge": "dns"}),
        "apps.board.tls.hook: is missing; challenge dns needs a script that sets and cleans a TXT record",
    ),
    (
        changed(tls={"from": "acme", "hook": "x"}),
        "apps.board.tls.hook: goes with 'from: acme' and 'challenge: dns'; set those, or remove hook",
    ),
    (
        changed(tls={"challenge": "dns"}),
        "apps.board.tls.challenge: goes with 'from: acme'; set that, or remove challenge",
    ),
    *(
        (
            changed(domains=[domain]),
            f"apps.board.domains: {domain!r} is not a host name in lower case; write it without scheme, port and path",
        )
        for domain in (
            "https://a.org/",
            "a.org:80",
            "A.org",
            "a..org",
            "-a.org",
            "a.org\n",
            "**.org",
            "a.*.org",
        )
    ),
    *(
        (
            changed(workers=workers),
            f"apps.board.workers: {str(workers)!r} is neither 'auto' nor a number from 1 to 999",
        )
        for workers in ("many", 0, 1000, "4 ")
    ),
    *(
        (
            changed(max_in_flight=most),
            f"apps.board.max_in_flight: {str(most)!r} is neither 'auto' nor a number from 0 to 99999; 0 is no limit",
        )
        for most in ("many", -1, 100000, "4 ")
    ),
    *(
        (
            changed(health=health),
            f"apps.board.health: {health!r} is not a path; begin it with a slash, and leave out blanks",
        )
        for health in ("readyz", "", "/a b", "/a\n")
    ),
    *(
        (
            changed(path=path),
            f"apps.board.path: {path!r} must begin with a slash and not end with one, such as /shop",
        )
        for path in ("shop", "/shop/", "//", "/a//b", "/a b", "/../a", "/a/.", "")
    ),
    *(
        (
            changed(static={"path": "static", "url": url}),
            f"apps.board.static.url: {url!r} must begin and end with a slash, such as /static/",
        )
        for url in ("static", "/static", "static/", "/a//", "/../", "/a b/")
    ),
    (
        changed(frontend={"path": "dist", "api": ["/api/", "/ws"]}),
        "apps.board.frontend.api: '/ws' must begin and end with a slash, such as /static/",
    ),
    (
        changed(frontend={"path": "dist", "api": []}),
        "apps.board.frontend.api: is empty; name the paths that the application answers, such as /api/",
    ),
    (
        changed(path="/shop", strip_path=False, static={"path": "static"}),
        "apps.board.static.url: '/static/' must begin with /shop/, since strip_path is false",
    ),
    *(
        (changed(**keys), f"apps.board.{key}: {path!r} {wrong}")
        for path, wrong in {
            "../../etc": "must lie in the source; write it relative to it",
            "/etc": "must lie in the source; write it relative to it",
            "a/../../b": "must lie in the source; write it relative to it",
            ".": "is the source itself; name a folder in it",
        }.items()
        for key, keys in folders(path).items()
        if (key, path) != ("folder", ".")
    ),
    (
        changed(shared=["a/b", "ab", "a/"]),
        "apps.board.shared: 'a/b' is, or is in, 'a', which is enough; remove it",
    ),
    (
        changed(shared=["a", "./a"]),
        "apps.board.shared: 'a' is, or is in, 'a', which is enough; remove it",
    ),
    (
        changed(migrate="alembic upgrade head"),
        "apps.board.migrate: there is no database to migrate; add 'database: {name: board}' or remove it",
    ),
    (
        changed(delete_data=True),
        "apps.board.delete_data: goes with 'state: absent' and nothing else; remove it until then",
    ),
]

DATABASES: list[tuple[Any, str]] = [
    *(
        (
            database(name=name),
            f"apps.board.database.name: {name!r} must be a lower-case letter, then letters, digits, _ or -, at most 41",
        )
        for name in ("Board; DROP", "a\n", "a" * 42)
    ),
    (
        database(name="template1"),
        "apps.board.database.name: template1 is PostgreSQL's own; choose another",
    ),
    (
        database(extensions=["pg_trgm", "x; DROP"]),
        "apps.board.database.extensions: 'x; DROP' is not the name of one, such as pg_trgm",
    ),
    (
        database(via="udp"),
        "apps.board: value of via must be one of: socket, tcp, got: udp found in database",
    ),
    *(
        (
            database(via="tcp", password=password),
            "apps.board.database.password: via tcp needs 16 characters or more of ASCII; "
            "'openssl rand -hex 32' makes them",
        )
        for password in ("", "0123456789abcde", "0123456789abcdeä", "0123456789abcdef\n")
    ),
    (
        database(password=PASSWORD),
        "apps.board.database.password: the socket has none; remove it, or set via to tcp",
    ),
    (
        database(env={"A": "{usr}"}),
        "apps.board.database.env.A: {usr} can't be filled in; did you mean user?",
    ),
    (
        database(env={"A": "{zzz}"}),
        "apps.board.database.env.A: {zzz} can't be filled in; "
        "known are: host, name, password, pool, port, sslmode, sslrootcert, url, user",
    ),
    (
        database(env={"A": "{password}"}),
        "apps.board.database.env.A: the socket has no password; leave it out, or set apps.board.database.via to tcp",
    ),
]

VARIABLES: list[tuple[Any, str]] = [
    *(
        (changed(**keys), f"apps.board.{key}.{variable}: {wrong}")
        for variable, wrong in {
            "PATH": "the release's own environment comes first in it; remove it",
            "SLIPWAY_SHARED": "tells the application of its release; remove it",
            "SLIPWAY_RELEASE": "tells the application of its release; remove it",
            "A-B": "is not a name for an environment variable",
            1: "is not a name for an environment variable",
        }.items()
        for key, keys in settings(variable, "c").items()
    ),
    *(
        (changed(**keys), f"apps.board.{key}.A: must be a text, a number or a boolean; quote it")
        for value in (["c"], {"c": "d"}, None, datetime.date(2026, 1, 2))
        for key, keys in settings("A", value).items()
    ),
    (
        changed(env={"A": 1}, secrets={"A": 2}),
        "apps.board.env.A: stands in secrets too; keep one of them",
    ),
    (
        changed(secrets_generated=["A"], secrets={"A": 2}),
        "apps.board.secrets.A: stands in secrets_generated too; keep one of them",
    ),
    (
        changed(secrets_generated=["A-B"]),
        "apps.board.secrets_generated.A-B: is not a name for an environment variable",
    ),
    (
        changed(env={"CREDENTIALS_DIRECTORY": "/x"}),
        "apps.board.env.CREDENTIALS_DIRECTORY: is where systemd puts its secrets; remove it",
    ),
    (
        changed(sandbox={"Umask": "0077"}),
        "apps.board.sandbox.Umask: unknown key; did you mean UMask?",
    ),
    *(
        (
            changed(database={"name": "board"}, **{key: {"DATABASE_URL": "mine"}}),
            f"apps.board.{key}.DATABASE_URL: stands in database.env too; keep one of them; "
            "'env: {}' in database sets none",
        )
        for key in ("env", "secrets")
    ),
]

COMMANDS: list[tuple[Any, str]] = [
    *(
        (
            changed(database={"name": "board"}, migrate=migrate),
            f"apps.board.migrate: {wrong} is no command; write a command, or {{run: <command>, as: owner or app}}",
        )
        for migrate, wrong in (
            (["alembic upgrade head", ""], "item 2"),
            (" ", "item 1"),
            (7, "item 1"),
            ({"as": "app"}, "item 1"),
            ([{"run": "x", "as": "root"}], "item 1"),
            ([{"run": ["x"]}], "item 1"),
            ([["x"]], "item 1"),
            ([None], "item 1"),
            ([{"run": "x", "user": "y"}], "item 1, key user"),
        )
    ),
    *(
        (
            changed(hooks={"after_switch": hook}),
            f"apps.board.hooks.after_switch: {wrong!r} is neither a command nor {{tasks: <file>}}; write one of them",
        )
        for hook, wrong in (
            (7, 7),
            (["true", " "], " "),
            ({"script": "x"}, {"script": "x"}),
            ([{"run": "x", "tasks": "y"}], {"run": "x", "tasks": "y"}),
            ({"tasks": ["x"]}, {"tasks": ["x"]}),
        )
    ),
    (
        changed(hooks={"after_swich": "true"}),
        "apps.board.hooks.after_swich: unknown key; did you mean after_switch?",
    ),
    *(
        (
            changed(**{key: [{"name": name, "run": "x", **more}]}),
            f"apps.board.{key}: {name!r} must be a lower-case letter, then letters, digits or -, at most 30",
        )
        for key, more in {"services": {}, "timers": {"on_calendar": "daily"}}.items()
        for name in ("Worker", "a_b", "a" * 31, "a.b", "1")
    ),
    *(
        (
            changed(services=[{"name": "worker", "run": run}]),
            "apps.board.services: run of worker must be one command; put several into sh -c '...'",
        )
        for run in ("a && b", "a; b", "a | b", "a > b", "a &", "a\nb", "a 'b")
    ),
    (
        changed(timers=[{"name": "digest", "run": "x", "on_calendar": "daily\nUnit=sshd.service"}]),
        "apps.board.timers: on_calendar of digest must be one line, as systemd.time(7) writes it",
    ),
]

CLAIMS: list[tuple[Any, str]] = [
    (
        changed(domains=["a.org", "a.org"]),
        "apps.board.domains, apps.board.domains: a.org is listed 2 times; "
        "keep it in one place, or give each application a path of its own",
    ),
    (
        several(left={"path": "/x"}, right={"path": "/x"}),
        "apps.left.path, apps.right.path: board.example.org/x is listed 2 times; "
        "keep it in one place, or give each application a path of its own",
    ),
    (
        several(left={"domains": ["a.org", "b.org"]}, right={"domains": ["a.org"], "path": "/x"}),
        "apps.left.domains, apps.right.domains: share a.org but not the others; "
        "applications that share one must list the same ones",
    ),
    (
        several(left={"static": {"path": "x", "url": "/shop/"}}, right={"path": "/shop"}),
        "apps.left.static.url, apps.right.path: board.example.org/shop is listed 2 times; "
        "keep it in one place, or give each application a path of its own",
    ),
    (
        changed(path="/x", static={"path": "x", "url": "/api/"}, frontend={"path": "x"}),
        "apps.board.static.url, apps.board.frontend.api: board.example.org/x/api is listed 2 times; "
        "keep it in one place, or give each application a path of its own",
    ),
    (
        several(
            left={"frontend": {"path": "dist", "api": ["/x/api/"]}},
            right={
                "path": "/x",
                "strip_path": False,
                "frontend": {"path": "dist", "api": ["/x/api/"]},
            },
        ),
        "apps.left.frontend.api, apps.right.frontend.api: board.example.org/x/api is listed 2 times; "
        "keep it in one place, or give each application a path of its own",
    ),
    (
        several(
            left={"database": {"name": "one"}}, right={"database": {"name": "one"}, "path": "/x"}
        ),
        "apps.left.database.name, apps.right.database.name: one is listed 2 times; keep it in one place",
    ),
    (
        several(
            left={"database": {"name": "one"}},
            right={"state": "absent", "delete_data": True, "database": {"name": "one"}},
        ),
        "apps.left.database.name, apps.right.database.name: one is listed 2 times; keep it in one place",
    ),
    (
        several(
            b={
                "services": [{"name": "worker", "run": "x"}],
                "timers": [{"name": "worker", "run": "x", "on_calendar": "daily"}],
            }
        ),
        "apps.b.services, apps.b.timers: b-worker@.service is listed 2 times; give one of them another name",
    ),
    (
        several(a={"services": [{"name": "b", "run": "x"}]}, a_b={"path": "/x"}),
        "apps.a.services, apps.a-b: a-b@.service is listed 2 times; give one of them another name",
    ),
    (
        several(
            a={"services": [{"name": "b-c", "run": "x"}]},
            a_b={"path": "/x", "services": [{"name": "c", "run": "x"}]},
        ),
        "apps.a.services, apps.a-b.services: a-b-c@.service is listed 2 times; give one of them another name",
    ),
]


def probe(app: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """Return the inventory's apps: the board, of which something is asked during a release."""
    return changed(probe=keys, **(app or {}))


PROBES: list[tuple[Any, str]] = [
    (probe(rte=1), "apps.board.probe.rte: unknown key; did you mean rate?"),
    (probe(rate="10"), "apps.board.probe.rate: must be a int, not str"),
    *(
        (
            probe(rate=rate),
            f"apps.board.probe.rate: {rate} is not a number of requests a second from 0 to 1000; 0 is none",
        )
        for rate in (-1, 1001)
    ),
    (
        probe(requests=[{"method": "GET"}]),
        "apps.board: missing required arguments: path found in probe -> requests",
    ),
    (
        probe(requests=[{"path": "/", "method": "FETCH"}]),
        "apps.board: value of method must be one of: GET, HEAD, POST, PUT, PATCH, DELETE, got: FETCH found in probe -> "
        "requests",
    ),
    (
        probe(requests=[{"path": "/"}, {"path": "up"}]),
        "apps.board.probe.requests[1].path: 'up' is not a path; begin it with a slash, and leave out blanks",
    ),
    (
        probe(websocket="wss://board.org/ws"),
        "apps.board.probe.websocket: 'wss://board.org/ws' is not a path; begin it with a slash, and leave out blanks",
    ),
    (
        probe({"frontend": {"path": "dist", "api": ["/api/", "/up/"]}}, websocket="/ws"),
        "apps.board.probe.websocket: '/ws' can't be reached from outside; name one that begins with /api/ or /up/",
    ),
    (
        probe({"path": "/x", "strip_path": False}, requests=[{"path": "/up"}]),
        "apps.board.probe.requests[0].path: '/up' can't be reached from outside; name one that begins with /x/",
    ),
    (
        probe(requests=[{"path": "/", "status": [200, 600]}]),
        "apps.board.probe.requests[0].status: 600 is no status; name those that are right, such as 200",
    ),
    (
        probe(requests=[{"path": "/", "status": []}]),
        "apps.board.probe.requests[0].status: an empty list is no status; name those that are right, such as 200",
    ),
    *(
        (
            probe(requests=[{"path": "/", "headers": {name: value}}]),
            f"apps.board.probe.requests[0].headers.{name}: is no header with a text in one line; mend or remove it",
        )
        for name, value in (("A b", "c"), ("A", "secret\nB: c"), ("A", "ö"))
    ),
    (
        changed(headers={"A b": "c"}),
        "apps.board.headers.A b: is no header with a text in one line; mend or remove it",
    ),
    (
        changed(headers={"X-Own": "of $host"}),
        "apps.board.headers.X-Own: has a $, which Nginx would take for a variable; write it without",
    ),
]


@pytest.mark.parametrize(
    ("apps", "message"),
    [*SHAPES, *NAMES, *VALUES, *DATABASES, *VARIABLES, *COMMANDS, *CLAIMS, *PROBES],
)
def test_what_is_wrong_is_named_with_the_fix(filters: ModuleType, apps: Any, message: str) -> None:
    assert filters.app_errors(apps) == [message]
    with pytest.raises(AnsibleFilterError, match=re.escape(message)):
        filters.validated_apps(apps)


def test_every_mistake_is_told_at_once(filters: ModuleType) -> None:
    apps = {
        "left": BOARD | {"health": "x", "workers": "x"},
        "right": BOARD | {"modul": "x", "domains": ["b.org"]},
    }
    assert len(filters.app_errors(apps)) == 3


def test_no_message_shows_a_password(filters: ModuleType) -> None:
    wrong = [
        database(password="hunter2"),
        database(via="tcp", password="hunter2"),
        database(via="tcp", password=["hunter2"]),
        changed(secrets={"A": ["hunter2"]}, env={"A": "hunter2"}),
        changed(secrets="hunter2"),
    ]
    for apps in wrong:
        assert filters.app_errors(apps) != []
        assert "hunter2" not in str(filters.app_errors(apps))


# --- What is right ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "apps",
    [
        {},
        changed(module="board.main:create_app()"),
        changed(module="board:create_app('a', debug=True)"),
        changed(workers=4),
        changed(path="/~shop/v1.2"),
        changed(health="/health?deep=1"),
        changed(folder="backend/"),
        changed(frontend={"path": "../shop/dist"}),
        changed(frontend={"path": "/builds/shop"}),
        changed(shared=["uploads", "data/uploads", "uploads2"]),
        changed(path="/shop", strip_path=False, static={"path": "x", "url": "/shop/static/"}),
        changed(services=[{"name": "worker", "run": "celery --app 'a b' --url 'x?a&b;c'"}]),
        changed(env={"A": 0.5, "B": True, "C": "", "D": 7}),
        changed(database={"name": "board", "env": {}}, secrets={"DATABASE_URL": "mine"}),
        tcp(env={"PGPORT": 5432, "JSON": '{"a": {}}', "PGPASSWORD": "{password}"}),
        changed(strip_path=False, static={"path": "x"}),
        several(left={}, right={"path": "/x"}),
        several(left={"static": {"path": "x"}}, right={"path": "/x", "static": {"path": "x"}}),
        several(left={}, right={"domains": ["b.org"], "static": {"path": "x"}}),
        # One takes over what another that is to be absent has had.
        several(
            left={"domains": ["a.org", "b.org"]}, right={"domains": ["a.org"], "state": "absent"}
        ),
        several(
            left={"database": {"name": "one"}},
            right={"state": "absent", "database": {"name": "one"}},
        ),
        several(shop={"services": [{"name": "x", "run": "x"}]}, shop_x={"state": "absent"}),
    ],
)
def test_what_is_right_is_accepted(filters: ModuleType, apps: dict[str, Any]) -> None:
    assert filters.app_errors(apps) == []


@pytest.mark.parametrize(
    ("given", "commands"),
    [
        ("alembic upgrade head", [{"run": "alembic upgrade head", "as": "owner"}]),
        ({"run": "seed", "as": "app"}, [{"run": "seed", "as": "app"}]),
        (
            ["a", {"run": "b"}, {"run": "c", "as": "app"}, {"run": "d", "as": "owner"}],
            [
                {"run": "a", "as": "owner"},
                {"run": "b", "as": "owner"},
                {"run": "c", "as": "app"},
                {"run": "d", "as": "owner"},
            ],
        ),
        ([], []),
    ],
)
def test_migrate_is_a_command_or_a_list_of_them(
    filters: ModuleType, given: Any, commands: list[dict[str, str]]
) -> None:
    app = only(filters, changed(database={"name": "board"}, migrate=given))
    assert app["migrate"] == commands


@pytest.mark.parametrize(
    ("given", "hooks"),
    [
        ("npm run build", [{"run": "npm run build"}]),
        ({"tasks": "notify.yml"}, [{"tasks": "notify.yml"}]),
        (["a", {"tasks": "b.yml"}, {"run": "c"}], [{"run": "a"}, {"tasks": "b.yml"}, {"run": "c"}]),
        ([], []),
    ],
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_hook_is_a_command_or_a_task_file_or_a_list_of_them(
    filters: ModuleType, moment: str, given: Any, hooks: list[dict[str, str]]
) -> None:
    app = only(filters, changed(hooks={moment: given}))
    assert app["hooks"] == {name: [] for name in MOMENTS} | {moment: hooks}


def test_one_that_is_to_be_absent_needs_nothing_else(filters: ModuleType) -> None:
    apps = changed() | {
        "old": {"state": "absent"},
        # As it stood there, with what was in the vault gone.
        "older": BOARD | {"state": "absent", "database": {"name": "x", "via": "tcp"}},
    }
    assert list(filters.validated_apps(apps)) == ["board"]
    absent = filters.validated_apps(apps, "absent")
    assert list(absent) == ["old", "older"]
    assert absent["old"]["name"] == "old"
    assert not absent["old"]["delete_data"]
    assert absent["old"]["database"] == {}


def test_of_one_that_is_to_be_absent_the_database_is_checked(filters: ModuleType) -> None:
    apps = {"old": {"state": "absent", "delete_data": True, "database": {"name": "postgres"}}}
    assert filters.app_errors(apps) == [
        "apps.old.database.name: postgres is PostgreSQL's own; choose another"
    ]
    apps = {"old": {"state": "absent", "delet_data": True}}
    assert filters.app_errors(apps) == [
        "apps.old.delet_data: unknown key; did you mean delete_data?"
    ]


# --- What the roles take ---------------------------------------------------------------------


def test_databases_are_made_for_who_is_present_and_dropped_only_by_the_second_word(
    filters: ModuleType,
) -> None:
    apps = filters.validated_apps(tcp(extensions=["pg_trgm"]) | {"plain": BOARD | {"path": "/x"}})
    gone = {"state": "absent", "database": {"name": "kept"}}
    absent = filters.validated_apps(
        {
            "old": gone,
            "older": gone | {"database": {"name": "goods"}, "delete_data": True},
            "oldest": {"state": "absent", "delete_data": True},
        },
        "absent",
    )
    board = {
        "name": "board",
        "user": "board",
        "extensions": ["pg_trgm"],
        "password": PASSWORD,
        "readers": [],
        "statement_timeout": 30,
        "lock_timeout": 10,
        "idle_in_transaction_timeout": 60,
        "connections": 8,
        "state": "present",
    }
    assert filters.databases(apps) == [board]
    assert filters.databases(apps, absent) == [
        board,
        {"name": "goods", "user": "older", "state": "absent"},
    ]


def test_a_database_has_room_for_the_pools_of_two_slots(filters: ModuleType) -> None:
    queue = {"services": [{"name": "queue", "run": "queue"}]}
    pools = {
        "auto": BOARD,
        "three": BOARD | {"path": "/three", "workers": 3},
        "queue": BOARD | queue | {"path": "/queue", "workers": 3},
    }
    given = {name: app | {"database": {"name": name, "pool": 5}} for name, app in pools.items()}
    found = filters.databases(filters.validated_apps(given), cores=8)
    assert [one["connections"] for one in found] == [8 * 5 * 2, 3 * 5 * 2, 4 * 5 * 2]
    assert filters.connections(filters.validated_apps({"plain": BOARD})["plain"], 8) == 0


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"pool": 0}, "pool: 0 must be 1 or more"),
        ({"lock_timeout": -1}, "lock_timeout: -1 must be a number of seconds, or 0 for no limit"),
        ({"readers": ["an na"]}, "readers: 'an na' is not the name of a system user, such as anna"),
    ],
)
def test_what_a_database_can_not_be_given(
    filters: ModuleType, given: dict[str, Any], wrong: str
) -> None:
    assert f"apps.board.database.{wrong}" in filters.app_errors(database(**given))


def test_applications_that_share_their_domains_are_one_site(filters: ModuleType) -> None:
    both = ["a.org", "b.org"]
    apps = filters.validated_apps(
        several(
            front={"domains": both, "frontend": {"path": "dist"}},
            other={"domains": ["c.org"], "maintenance_page": "web/closed.html"},
            shop={
                "domains": both[::-1],
                "path": "/shop",
                "static": {"path": "x"},
                "frontend": {"path": "x"},
            },
            wiki={
                "domains": both,
                "path": "/wiki",
                "strip_path": False,
                "static": {"path": "x", "url": "/wiki/files/"},
                "frontend": {"path": "x", "api": ["/wiki/api/", "/wiki/ws/"]},
            },
        )
    )
    assert filters.leaves(apps) == [
        {"name": "front", "domains": both},
        {"name": "other", "domains": ["c.org"]},
    ]
    front, other = filters.sites(apps, "/opt", "/tls")

    def files(app: str, kind: str) -> dict[str, Any]:
        slots = [f"slots/{slot}/release/{kind}" for slot in ("blue", "green")]
        return {"root": f"/opt/{app}", "path": f"live/release/{kind}", "earlier": slots}

    assert other == {
        "name": "other",
        "domains": ["c.org"],
        "certificate": "/tls/other/fullchain.pem",
        "key": "/tls/other/privkey.pem",
        "apps": [
            {
                "name": "other",
                "path": "",
                "strip_path": False,
                "upstream": "unix:/opt/other/live/app.sock",
                "maintenance_page": "/opt/other/live/release/src/web/closed.html",
            }
        ],
    }
    assert front["name"] == "front"
    assert front["domains"] == both
    assert front["apps"] == [
        {
            "name": "front",
            "path": "",
            "strip_path": False,
            "upstream": "unix:/opt/front/live/app.sock",
            "frontend": {
                **files("front", "frontend"),
                "api": ["/api/"],
            },
        },
        {
            "name": "shop",
            "path": "/shop",
            "strip_path": True,
            "upstream": "unix:/opt/shop/live/app.sock",
            "static": {
                "url": "/shop/static/",
                **files("shop", "static"),
            },
            "frontend": {
                **files("shop", "frontend"),
                "api": ["/shop/api/"],
            },
        },
        {
            "name": "wiki",
            "path": "/wiki",
            "strip_path": False,
            "upstream": "unix:/opt/wiki/live/app.sock",
            "static": {
                "url": "/wiki/files/",
                **files("wiki", "static"),
            },
            "frontend": {
                **files("wiki", "frontend"),
                "api": ["/wiki/api/", "/wiki/ws/"],
            },
        },
    ]


def test_processes_have_units_of_their_own(filters: ModuleType) -> None:
    app = only(
        filters,
        changed(
            services=[{"name": "worker", "run": "x"}],
            timers=[{"name": "digest", "run": "y", "on_calendar": "daily"}],
        ),
    )
    service, timer = (f"etc/systemd/system/app@.{kind}.j2" for kind in ("service", "timer"))
    worker, digest = app["services"][0], app["timers"][0]
    assert filters.unit_files(app) == [
        {"name": "board@.service", "template": service, "process": {}},
        {"name": "board-worker@.service", "template": service, "process": worker},
        {"name": "board-digest@.service", "template": service, "process": digest},
        {"name": "board-digest@.timer", "template": timer, "process": digest},
    ]


# --- The environment -------------------------------------------------------------------------

ALL = {
    "URL": "{url}",
    "OWN": "postgresql+psycopg://{user}:{password}@{host}:{port}/{name}",
    "PGHOST": "{host}",
    "PGPORT": "{port}",
    "PGDATABASE": "{name}",
    "PGUSER": "{user}",
    "PGPASSWORD": "{password}",
}
QUOTED = "a%2Fb%3Ac%40d%25e%20f-0123456789"


def test_the_environment_names_the_release_and_what_outlives_it(filters: ModuleType) -> None:
    app = only(filters, changed(env={"DEBUG": False}, secrets={"KEY": "{url}"}))
    assert filters.environment(app, "r1", "/opt") == {
        "SLIPWAY_RELEASE": "r1",
        "SLIPWAY_SHARED": "/opt/board/shared",
        "DEBUG": False,
        "KEY": "{url}",  # only database.env is filled in
    }


def test_secrets_are_files_if_the_application_says_so_and_then_nothing_else(
    filters: ModuleType,
) -> None:
    secrets = {"secrets": {"KEY": "k", "FLAG": True}, "secrets_generated": ["MADE"]}
    variables = filters.environment(only(filters, changed(**secrets)), "r1")
    assert variables["KEY"] == "k" and "MADE" not in variables
    assert filters.secret_text(only(filters, changed(**secrets))) == ""
    assert filters.credentials(only(filters, changed(**secrets))) == []
    app = only(filters, changed(env={"A": "b"}, secrets_as="files", **secrets))
    assert filters.environment(app, "r1").keys() == {"SLIPWAY_RELEASE", "SLIPWAY_SHARED", "A"}
    assert filters.secret_text(app) == '{"FLAG": "true", "KEY": "k"}'
    assert filters.credentials(app) == ["FLAG", "KEY", "MADE"]


def test_what_tells_of_a_database_with_its_password_is_a_secret_too(filters: ModuleType) -> None:
    apps = tcp(env={"DB": "{url}", "HOST": "{host}", "PW": "{password}"})
    apps["board"]["secrets_as"] = "files"
    app = only(filters, apps)
    assert PASSWORD not in str(filters.environment(app, "r1"))
    assert filters.environment(app, "r1")["HOST"] == "127.0.0.1"
    assert filters.secret_files(app)["PW"] == PASSWORD
    assert "//board_migrator:" in filters.secret_files(app, migrates=True)["DB"]
    socket = database()
    socket["board"]["secrets_as"] = "files"
    assert filters.secret_files(only(filters, socket)) == {}


def test_the_environment_has_the_database_by_tcp_under_the_names_asked_for(
    filters: ModuleType,
) -> None:
    variables = filters.environment(only(filters, tcp(env=ALL)), "r1")
    assert {name: variables[name] for name in ALL} == {
        "URL": f"postgresql://board:{QUOTED}@127.0.0.1:5432/board",
        "OWN": f"postgresql+psycopg://board:{QUOTED}@127.0.0.1:5432/board",
        "PGHOST": "127.0.0.1",
        "PGPORT": "5432",
        "PGDATABASE": "board",
        "PGUSER": "board",
        "PGPASSWORD": PASSWORD,
    }


def test_the_environment_has_the_database_by_the_socket(filters: ModuleType) -> None:
    env = {
        "DATABASE_URL": "{url}",
        "OWN": "postgresql+asyncpg://{user}@{host}/{name}",
        "PGHOST": "{host}",
        "DEBUG": True,
        "PORT": 5432,
    }
    variables = filters.environment(only(filters, database(env=env)), "r1")
    assert {name: variables[name] for name in env} == {
        "DATABASE_URL": "postgresql:///board?host=/run/postgresql",
        "OWN": "postgresql+asyncpg://board@%2Frun%2Fpostgresql/board",
        "PGHOST": "/run/postgresql",
        "DEBUG": True,
        "PORT": 5432,
    }


@pytest.mark.parametrize("address", ["10.0.0.20", "fd00::20", "2001:db8:0:ab::1:0", "FD00::20"])
def test_the_names_of_a_certificate_are_compared_as_openssl_lists_them(
    filters: ModuleType, tmp_path: Path, address: str
) -> None:
    leaf = {"name": "db", "domains": ["db1", "*.db.org"], "addresses": [address]}
    path = tmp_path / "crt.pem"
    names = f"subjectAltName=DNS:db1,DNS:*.db.org,IP:{address}"
    request = ("-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem", "-subj", "/CN=db")
    make = ("openssl", "req", "-x509", *request, "-addext", names, "-out", path)
    subprocess.run(make, capture_output=True, check=True)
    show = ("openssl", "x509", "-in", path, "-noout", "-ext", "subjectAltName")
    shown = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    # As roles/certificates/tasks/look.yml does: sed 1d | tr -d ' '
    assert shown.split("\n", 1)[1].replace(" ", "").strip() == filters.alternative_names(leaf)


def test_the_owners_commands_log_in_as_the_migrator(filters: ModuleType) -> None:
    variables = filters.environment(only(filters, tcp(env=ALL)), "r1", migrates=True)
    assert variables["URL"] == f"postgresql://board_migrator:{QUOTED}@127.0.0.1:5432/board"
    assert variables["OWN"].startswith(f"postgresql+psycopg://board_migrator:{QUOTED}@")
    assert variables["PGUSER"] == "board_migrator"
    assert variables["PGDATABASE"] == "board"


@pytest.mark.parametrize(
    "value",
    ["plain", 'a "quote"', "50 % $HOME `id` \\n \\", "two\nlines", " spaces ", "# no comment", ""],
)
def test_systemd_reads_an_environment_file_to_the_letter(
    filters: ModuleType, tmp_path: Path, value: str
) -> None:
    # Within double quotes a POSIX shell has the same four escapes as systemd, whom molecule/stack asks.
    content = filters.environment_file({"VALUE": value, "ON": True, "PORT": 80})
    assert content.splitlines()[0] == 'ON="true"'
    assert content.splitlines()[1] == 'PORT="80"'
    path = tmp_path / "environment"
    path.write_text(content)
    read = subprocess.run(
        ["sh", "-c", f'. "{path}"; printf %s "$VALUE"'], capture_output=True, text=True, check=True
    )
    assert read.stdout == value


# --- The rest --------------------------------------------------------------------------------


def test_a_verifier_is_of_one_user_and_one_password(filters: ModuleType) -> None:
    # That PostgreSQL takes it for the password is seen in tests/templates/test_postgresql.py.
    verifier = filters.scram_sha_256(PASSWORD, "shop")
    assert verifier == filters.scram_sha_256(PASSWORD, "shop")
    salt, keys = re.fullmatch(r"SCRAM-SHA-256\$4096:(.{24})\$(.{44}:.{44})", verifier).groups()  # type: ignore[union-attr]
    another_password = filters.scram_sha_256(PASSWORD + "!", "shop")
    another_user = filters.scram_sha_256(PASSWORD, "shop_migrator")
    assert keys not in another_password and keys not in another_user
    assert salt not in another_user
    # Anybody may ask for the salt: it tells nothing of the password.
    assert salt in another_password


def test_an_option_that_a_role_lacks_is_named_with_the_nearest(filters: ModuleType) -> None:
    role = str(filters.ROLES / "nginx")
    assert filters.unknown_options(["nginx_sites", "nginx_http_port"], role) == []
    assert filters.unknown_options(["nginx_htp_port"], role) == [
        "nginx_htp_port: did you mean nginx_http_port?"
    ]


# --- Paths with settings of their own --------------------------------------------------------


def routed(*routes: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Return the inventory's apps: the board with routes."""
    return changed(routes=list(routes), **keys)


@pytest.mark.parametrize(
    ("apps", "message"),
    [
        (routed({"path": "news"}), "apps.board.routes[0].path: 'news' is not a path; begin it"),
        (routed({"path": "/a b"}), "apps.board.routes[0].path: '/a b' is not a path; begin it"),
        (
            routed({"path": "/news"}, frontend={"path": "dist", "api": ["/api/"]}),
            "routes[0].path: '/news' can't be reached from outside; name one that begins with /api/",
        ),
        (
            routed({"path": "/static"}, static={"path": "public"}),
            "routes[0].path: '/static' is static.url, files of Nginx's own; remove it",
        ),
        (
            routed({"path": "/a"}, {"path": "/a/"}),
            "routes[1].path: '/a/' is that of routes[0]; make one of the two",
        ),
        (
            routed({"path": "/a", "allow": ["10.0.0.0/8", "all"]}),
            "routes[0].allow: 'all' is no address or network, or is everybody's; write one",
        ),
        (
            routed({"path": "/a", "allow": ["0.0.0.0/0"]}),
            "routes[0].allow: '0.0.0.0/0' is no address or network, or is everybody's",
        ),
        (
            routed({"path": "/.files"}, accel={"path": "logs"}),
            "routes[0].path: '/.files' is accel.url, which nobody may ask; remove it",
        ),
        (
            routed({"path": "/a", "max_body": "2 GB"}),
            "routes[0].max_body: '2 GB' is no size; write a number with k, m or g, such as 20m",
        ),
        (
            routed({"path": "/a", "rate": "5/min"}),
            "routes[0].rate: '5/min' is no rate; write requests a second or a minute",
        ),
        (
            routed({"path": "/a", "cache": -1}),
            "routes[0].cache: -1 is less than nothing; write a number from 0",
        ),
        (
            routed({"path": "/a", "cache": 1, "stream": True}),
            "routes[0].cache: a stream can't be kept; remove cache or stream",
        ),
        (
            routed({"path": "/a", "stale": 60}),
            "routes[0].stale: goes with cache, which is not given; add it, or remove stale",
        ),
        (
            routed({"path": "/a", "burst": 6}),
            "routes[0].burst: goes with rate, which is not given; add it, or remove burst",
        ),
        (
            routed({"path": "/a", "dry_run": True}),
            "routes[0].dry_run: goes with rate or connections, which is not given",
        ),
        (
            several(one={"routes": [{"path": "/two/x"}]}, two={"path": "/two"}),
            "apps.one.routes[0].path: '/two/x' lies below /two/, which is the path of apps.two",
        ),
    ],
)
def test_a_route_that_can_not_be_is_named_with_the_fix(
    filters: ModuleType, apps: dict[str, Any], message: str
) -> None:
    errors = filters.app_errors(apps)
    assert [error for error in errors if message in error], errors


def test_a_route_is_handed_on_as_clients_see_it_with_what_it_says(filters: ModuleType) -> None:
    apps = routed({"path": "/", "max_body": "1m"}, {"path": "/news", "cache": 60}, path="/board")
    (site,) = filters.sites(filters.validated_apps(apps))
    assert site["apps"][0]["routes"] == [
        {"path": "/board/", "max_body": "1m"},
        {"path": "/board/news", "cache": 60},
    ]


def test_files_of_its_own_are_told_to_nginx_as_clients_would_see_them(filters: ModuleType) -> None:
    apps = filters.validated_apps(changed(accel={"path": "logs/"}, path="/board"))
    (site,) = filters.sites(apps)
    assert site["apps"][0]["accel"] == {
        "url": "/board/.files/",
        "path": "/srv/board/shared/logs",
    }
    assert "accel" not in filters.sites(filters.validated_apps(changed()))[0]["apps"][0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"accel": {"path": "../other"}}, "accel.path: '../other' must lie in the shared folder"),
        ({"accel": {"path": "/srv"}}, "accel.path: '/srv' must lie in the shared folder"),
        ({"accel": {"path": "."}}, "accel.path: '.' is the shared folder itself; name a folder"),
        ({"accel": {"path": "a", "url": "/x"}}, "accel.url: '/x' must begin and end with a slash"),
        (
            {"accel": {"path": "a"}, "path": "/b", "strip_path": False},
            "accel.url: '/.files/' must begin with /b/, since strip_path is false",
        ),
        ({"accel": {"url": "/x/"}}, "missing required arguments: path found in accel"),
    ],
)
def test_files_of_its_own_that_can_not_be_are_named_with_the_fix(
    filters: ModuleType, keys: dict[str, Any], message: str
) -> None:
    errors = filters.app_errors(changed(**keys))
    assert [error for error in errors if message in error], errors


def test_what_is_no_network_is_named(filters: ModuleType) -> None:
    fine = ["10.0.0.0/8", "203.0.113.7", "2001:db8::/32"]
    assert filters.not_networks(fine) == []
    wrong = ["0.0.0.0/0", "::/0", "balancer.test", "10.0.0.0/40"]
    assert filters.not_networks([*fine, *wrong]) == wrong


def test_a_site_has_one_certificate_for_all_names_that_lead_there(filters: ModuleType) -> None:
    tls = {"from": "acme"}
    apps = filters.validated_apps(
        several(
            left={"domains": ["a.org"], "redirect_from": ["www.a.org"], "tls": tls},
            right={"domains": ["a.org"], "path": "/x", "redirect_from": ["old.org"], "tls": tls},
        )
    )
    assert filters.leaves(apps) == [
        {
            "name": "left",
            "domains": ["a.org", "www.a.org", "old.org"],
            "kind": "acme",
            "challenge": "http",
        }
    ]
    (site,) = filters.sites(apps)
    assert site["redirect_from"] == ["www.a.org", "old.org"]
    assert site["challenges"] == "/var/lib/slipway/acme/webroot"


def test_a_certificate_by_dns_needs_no_answer_by_http(filters: ModuleType) -> None:
    tls = {"from": "acme", "challenge": "dns", "hook": "dns.sh"}
    apps = filters.validated_apps(changed(domains=["a.org", "*.a.org"], tls=tls))
    assert filters.leaves(apps)[0] == {
        "name": "board",
        "domains": ["a.org", "*.a.org"],
        "kind": "acme",
        "challenge": "dns",
        "hook": "dns.sh",
    }
    assert "challenges" not in filters.sites(apps)[0]


@pytest.mark.parametrize(
    ("tls", "seconds"),
    [
        ({}, None),
        ({"from": "local"}, None),
        ({"from": "acme"}, 63072000),
        ({"from": "files", "chain": "c.pem", "key": "k.pem"}, 63072000),
    ],
)
def test_browsers_are_told_of_https_alone_unless_the_authority_is_the_hosts_own(
    filters: ModuleType, tls: dict[str, Any], seconds: int | None
) -> None:
    (site,) = filters.sites(filters.validated_apps(changed(tls=tls)))
    assert site.get("hsts") == seconds


def test_a_site_whose_certificate_names_a_responder_is_marked(filters: ModuleType) -> None:
    sites = [{"name": "board"}, {"name": "shop"}]
    assert filters.stapled(sites, ["shop"]) == [
        {"name": "board"},
        {"name": "shop", "stapling": True},
    ]


def test_applications_of_one_site_agree_on_its_certificate(filters: ModuleType) -> None:
    apart = several(
        left={"domains": ["a.org"]},
        right={"domains": ["a.org"], "path": "/x", "tls": {"from": "acme"}},
    )
    assert filters.app_errors(apart) == [
        "apps.left.tls, apps.right.tls: differ, but they share their domains and so a certificate; "
        "write the same into both"
    ]


def test_a_name_leads_to_one_site(filters: ModuleType) -> None:
    twice = several(
        left={"domains": ["a.org"], "redirect_from": ["c.org"]},
        right={"domains": ["b.org"], "redirect_from": ["c.org", "a.org"]},
    )
    assert filters.app_errors(twice) == [
        "apps.right.redirect_from: c.org is one of apps.left.redirect_from too; keep it in one place",
        "apps.right.redirect_from: a.org is one of apps.left.domains; keep it in one place",
    ]
