"""Filters that turn ``apps``, the inventory's description of the applications, into what each role takes.

The schema of one application is the entry point ``app`` of ``roles/fastapi_app/meta/argument_specs.yml``:
one place for types, defaults, checks and the README.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
import re
import shlex
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import combinations, pairwise, permutations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

sys.path.insert(0, str(Path(__file__).resolve().parent))

import sandbox  # plugins are in no package

App = dict[str, Any]

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,19}")
DOMAIN = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\([^()\n]*\))?")
URL_PATH = re.compile(r"(/(?!\.\.?(/|$))[\w.~-]+)+")
# As Nginx writes a size and a rate.
SIZE = re.compile(r"[1-9][0-9]*[kKmMgG]?")
RATE = re.compile(r"[1-9][0-9]*r/[sm]")
# What says nothing in a route without another key.
ROUTE_NEEDS = {
    "stale": ("cache",),
    "cache_cookies": ("cache",),
    "burst": ("rate",),
    "dry_run": ("rate", "connections"),
}
# Folders that are not in the source.
KEPT_IN = {"accel.path": "the shared folder"}
PROCESS = re.compile(r"[a-z][a-z0-9-]{0,29}")
# What no application can be called, whatever the host: users and services of Debian's, roles of PostgreSQL's, and
# names derived from others.
RESERVED = re.compile(
    r"root|postgres|postgresql|www-data|nginx|ssh|sshd|nobody|daemon|systemd.*|public|none|pg_.*|slipway_.*"
    r"|.*_(owner|migrator|readonly|next)"
)
# What a database or an extension can be called, and those that are PostgreSQL's own.
IDENTIFIER = re.compile(r"[a-z][a-z0-9_-]{0,40}")
RESERVED_DATABASES = {"postgres", "template0", "template1"}
# As useradd(8) takes it.
SYSTEM_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# More than printable ASCII is not the same to every client (RFC 4013).
PASSWORD = re.compile(r"[ -~]{16,}")
# The name of a header of HTTP (RFC 9110, 5.6.2).
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MAX_PROBE_RATE = 1000
# Two years, as Mozilla has it. Not with a certificate of the host's own authority, which nobody need trust tomorrow.
HSTS = 63072000
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
ESCAPED, ESCAPE = re.compile(r'(["\\`$])'), r"\\\1"


@cache
def options(role_path: Path, entry_point: str = "main") -> dict[str, Any]:
    """Return the options that a role's argument spec declares, by name.

    Raises:
        OSError: The role has no ``meta/argument_specs.yml``.
        KeyError: It has no such entry point.
    """
    # By libyaml where it is there: each of Ansible's workers reads it anew, and otherwise takes 50 ms for that.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    spec = yaml.load((role_path / "meta" / "argument_specs.yml").read_text(), loader)
    declared: dict[str, Any] = spec["argument_specs"][entry_point].get("options", {})
    return declared


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return the fix for an unknown word: the nearest known one, or all of them."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(known))}"


def unknown_options(names: Iterable[str], role_path: str) -> list[str]:
    """Return a message for each variable that carries a role's prefix but that the role does not have.

    Args:
        names: Names of variables, as ``query('ansible.builtin.varnames', '^nginx_')`` gives them.
        role_path: The role's folder.
    """
    known = options(Path(role_path))
    return [f"{name}: {_nearest(name, known)}" for name in sorted(names) if name not in known]


def _kind(value: Any) -> str:
    """Return what an argument spec calls the type of a value; Ansible hands over subclasses with names of their own."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "bool": bool,  # before int, which it is one of
        "int": int,
        "float": float,
        "str": str,
        "dict": Mapping,
        "list": (list, tuple),
        "date": date,
    }
    named = (name for name, kind in kinds.items() if isinstance(value, kind))
    return next(named, type(value).__name__)


def _shape_errors(given: Mapping[str, Any], spec: Mapping[str, Any], where: str) -> list[str]:
    """Return what the argument spec validator would accept or convert in silence: unknown keys and wrong shapes."""
    errors = [
        f"{where}.{key}: unknown key; {_nearest(str(key), spec)}"
        for key in given
        if key not in spec
    ]
    for key, option in spec.items():
        if key in given:
            errors += _type_errors(given[key], option, f"{where}.{key}")
    return errors


def _type_errors(value: Any, option: Mapping[str, Any], where: str) -> list[str]:
    """Return what is wrong with the shape of a value, and of all that is in it."""
    kind, wanted = _kind(value), option["type"]
    if value is None:
        return [f"{where}: has no value; give it one or remove the key"]
    if (wanted, kind) == ("str", "float"):
        return [
            f"{where}: {value} is a number to YAML, which drops zeros at its end; write it in quotes, such as '3.10'"
        ]
    if wanted not in ("raw", kind) and (wanted, kind) != ("str", "int"):
        return [f"{where}: must be a {wanted}, not {kind}"]
    if wanted == "str" and option.get("required") and not str(value).strip():
        return [f"{where}: is empty; give it a value"]
    if kind == "dict" and "options" in option:
        return _shape_errors(value, option["options"], where)
    if wanted == "list":
        within = {**option, "type": option["elements"]}
        return [
            error
            for number, item in enumerate(value)
            for error in _type_errors(item, within, f"{where}[{number}]")
        ]
    return []


def _within(path: str) -> bool:
    """Tell whether a path stays in the folder that it starts from."""
    return not path.startswith("/") and ".." not in Path(path).parts


def _path_errors(where: str, app: App) -> list[str]:
    """Return what is wrong with an application's folders in its source."""
    paths = {"folder": [app["folder"]], "shared": app["shared"]}
    paths |= {"static.path": [app["static"]["path"]]} if app["static"] else {}
    paths |= {"maintenance_page": [app["maintenance_page"]]} if app["maintenance_page"] else {}
    paths |= {"accel.path": [app["accel"]["path"]]} if app["accel"] else {}
    errors = [
        f"{where}.{key}: {path!r} must lie in {KEPT_IN.get(key, 'the source')}; write it relative to it"
        for key, given in paths.items()
        for path in given
        if not _within(path)
    ]
    # The source itself would be public, or would be thrown away with what is in it.
    errors += [
        f"{where}.{key}: {path!r} is {KEPT_IN.get(key, 'the source')} itself; name a folder in it"
        for key, given in paths.items()
        for path in given
        if key != "folder" and not Path(path).parts
    ]
    errors += [
        f"{where}.shared: '{inner}' is, or is in, '{outer}', which is enough; remove it"
        for outer, inner in combinations(sorted(map(Path, app["shared"])), 2)
        if inner.is_relative_to(outer)
    ]
    return errors


def _commands(given: Any) -> list[dict[str, str]]:
    """Return the commands of ``migrate``, each as ``{run, as}``, from one command or a list of them.

    Raises:
        ValueError: An item is no command; the message says which.
    """
    commands = []
    for number, item in enumerate(given if isinstance(given, list | tuple) else [given]):
        command = {"as": "owner", **(item if isinstance(item, Mapping) else {"run": item})}
        run = command.get("run")
        if not isinstance(run, str) or not run.strip() or command["as"] not in ("owner", "app"):
            raise ValueError(f"item {number + 1}")
        if unknown := command.keys() - {"run", "as"}:
            raise ValueError(f"item {number + 1}, key {', '.join(map(str, unknown))}")
        commands.append(command)
    return commands


def _hooks(given: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Return for each moment of ``hooks`` the list of its commands, ``{run}``, and task files, ``{tasks}``.

    Raises:
        ValueError: An item is neither; the message says which.
    """
    hooks: dict[str, list[dict[str, str]]] = {}
    for moment in options(ROLES / "fastapi_app", "app")["hooks"]["options"]:
        items = given.get(moment) or []
        hooks[moment] = []
        for item in items if isinstance(items, list | tuple) else [items]:
            hook = dict(item) if isinstance(item, Mapping) else {"run": item}
            ((key, value), *others) = hook.items() or (("", ""),)
            known = key in ("run", "tasks") and not others
            if not known or not isinstance(value, str) or not value.strip():
                raise ValueError(f"{moment}: {item!r}")
            hooks[moment].append(hook)
    return hooks


def _variable_errors(where: str, variables: Mapping[Any, Any]) -> list[str]:
    """Return what is wrong with environment variables."""
    errors = []
    for variable, value in variables.items():
        if variable == "PATH":
            errors.append(
                f"{where}.PATH: the release's own environment comes first in it; remove it"
            )
        elif variable in ("SLIPWAY_RELEASE", "SLIPWAY_SHARED"):
            errors.append(f"{where}.{variable}: tells the application of its release; remove it")
        elif variable == "CREDENTIALS_DIRECTORY":
            errors.append(f"{where}.{variable}: is where systemd puts its secrets; remove it")
        elif not VARIABLE.fullmatch(str(variable)):
            errors.append(f"{where}.{variable}: is not a name for an environment variable")
        if _kind(value) not in ("str", "int", "float", "bool"):
            errors.append(f"{where}.{variable}: must be a text, a number or a boolean; quote it")
    return errors


def _database_name_errors(where: str, name: str) -> list[str]:
    """Return what is wrong with a database's name."""
    if not IDENTIFIER.fullmatch(name):
        fix = "must be a lower-case letter, then letters, digits, _ or -, at most 41"
        return [f"{where}.name: {name!r} {fix}"]
    if name in RESERVED_DATABASES:
        return [f"{where}.name: {name} is PostgreSQL's own; choose another"]
    return []


def _database_errors(where: str, database: App) -> list[str]:
    """Return what is wrong with an application's ``database``."""
    errors = _database_name_errors(where, database["name"])
    errors += [
        f"{where}.extensions: {extension!r} is not the name of one, such as pg_trgm"
        for extension in database["extensions"]
        if not IDENTIFIER.fullmatch(extension)
    ]
    if database["via"] == "tcp" and not PASSWORD.fullmatch(database["password"]):
        errors.append(
            f"{where}.password: via tcp needs 16 characters or more of ASCII; 'openssl rand -hex 32' makes them"
        )
    if database["via"] == "socket" and database["password"]:
        errors.append(f"{where}.password: the socket has none; remove it, or set via to tcp")
    if database["pool"] < 1:
        errors.append(f"{where}.pool: {database['pool']} must be 1 or more")
    errors += [
        f"{where}.{key}: {database[key]} must be a number of seconds, or 0 for no limit"
        for key in ("statement_timeout", "lock_timeout", "idle_in_transaction_timeout")
        if database[key] < 0
    ]
    errors += [
        f"{where}.readers: {user!r} is not the name of a system user, such as anna"
        for user in database["readers"]
        if not SYSTEM_USER.fullmatch(user)
    ]
    errors += _variable_errors(f"{where}.env", database["env"])
    facts = _database_facts(database, "user")
    for variable, text in database["env"].items():
        for fact in PLACEHOLDER.findall(str(text)):
            if fact not in facts:
                errors.append(
                    f"{where}.env.{variable}: {{{fact}}} can't be filled in; {_nearest(fact, facts)}"
                )
            elif fact == "password" and database["via"] == "socket":
                errors.append(
                    f"{where}.env.{variable}: the socket has no password; leave it out, or set {where}.via to tcp"
                )
    return errors


def _is_one_command(run: str) -> bool:
    """Tell whether a shell would take a text for one command, which it can then give its place to."""
    words = shlex.shlex(run, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    try:
        found = list(words)
    except ValueError:  # a quotation without end
        return False
    return (
        bool(found) and "\n" not in run and not any(set(word) <= set(";&|()<>") for word in found)
    )


def _process_errors(where: str, app: App) -> list[str]:
    """Return what is wrong with an application's services and timers."""
    errors = []
    processes = [(key, item) for key in ("services", "timers") for item in app[key]]
    for key, item in processes:
        if not PROCESS.fullmatch(item["name"]):
            errors.append(
                f"{where}.{key}: {item['name']!r} must be a lower-case letter, then letters, digits or -, at most 30"
            )
        if not _is_one_command(item["run"]):
            errors.append(
                f"{where}.{key}: run of {item['name']} must be one command; put several into sh -c '...'"
            )
    errors += [
        f"{where}.timers: on_calendar of {item['name']} must be one line, as systemd.time(7) writes it"
        for item in app["timers"]
        if "\n" in item["on_calendar"]
    ]
    return errors


def _url_errors(where: str, app: App) -> list[str]:
    """Return what is wrong with an application's paths as a browser sees them."""
    errors = []
    if app["path"] != "/" and not URL_PATH.fullmatch(app["path"]):
        errors.append(
            f"{where}.path: {app['path']!r} must begin with a slash and not end with one, such as /shop"
        )
    prefix = "/" if app["strip_path"] or app["path"] == "/" else f"{app['path']}/"
    for key, url in _urls(app):
        if not (url.endswith("/") and URL_PATH.fullmatch(url[:-1])):
            errors.append(
                f"{where}.{key}: {url!r} must begin and end with a slash, such as /static/"
            )
        elif not url.startswith(prefix):
            errors.append(
                f"{where}.{key}: {url!r} must begin with {prefix}, since strip_path is false"
            )
    return errors


def outside(app: App, path: str) -> str:
    """Return a path that the application names as it is seen from outside; empty if it can't be reached from there."""
    prefix = app["path"].rstrip("/")
    reached = [url for key, url in _urls(app) if key == "frontend.api"] or ["/"]
    if not app["strip_path"]:
        reached = [url for url in reached if url != "/"] or [f"{prefix}/"]
        prefix = ""
    return prefix + path if path.startswith(tuple(reached)) else ""


def _route_errors(where: str, app: App) -> list[str]:
    """Return what is wrong with the paths that an application has settings of its own for."""
    errors = []
    seen: dict[str, int] = {}
    static = app["static"].get("url")
    for number, route in enumerate(app["routes"]):
        at, path = f"{where}.routes[{number}]", route["path"]
        if path != "/" and not URL_PATH.fullmatch(path.removesuffix("/")):
            errors.append(
                f"{at}.path: {path!r} is not a path; begin it with a slash, such as /upload, and leave out blanks"
            )
        elif not outside(app, path.rstrip("/") + "/"):
            errors.append(f"{at}.path: {path!r} can't be reached from outside; {_reachable(app)}")
        elif path.rstrip("/") + "/" == app["accel"].get("url"):
            errors.append(f"{at}.path: {path!r} is accel.url, which nobody may ask; remove it")
        elif static and path.rstrip("/") + "/" == static:
            errors.append(f"{at}.path: {path!r} is static.url, files of Nginx's own; remove it")
        if (first := seen.setdefault(path.rstrip("/"), number)) != number:
            errors.append(f"{at}.path: {path!r} is that of routes[{first}]; make one of the two")
        if route["max_body"] and not SIZE.fullmatch(route["max_body"]):
            errors.append(
                f"{at}.max_body: {route['max_body']!r} is no size; write a number with k, m or g, such as 20m"
            )
        if route["rate"] and not RATE.fullmatch(route["rate"]):
            errors.append(
                f"{at}.rate: {route['rate']!r} is no rate; write requests a second or a minute, such as 10r/s or 5r/m"
            )
        errors += [
            f"{at}.{key}: {route[key]} is less than nothing; write a number from 0"
            for key in ("timeout", "cache", "stale", "burst", "connections")
            if route[key] < 0
        ]
        errors += [
            f"{at}.allow: {network!r} is no address or network, or is everybody's; write one such as 10.0.0.0/8, or "
            "remove it"
            for network in not_networks(route["allow"])
        ]
        if route["cache"] and route["stream"]:
            errors.append(f"{at}.cache: a stream can't be kept; remove cache or stream")
        errors += [
            f"{at}.{key}: goes with {' or '.join(needed)}, which is not given; add it, or remove {key}"
            for key, needed in ROUTE_NEEDS.items()
            if route[key] and not any(route[each] for each in needed)
        ]
    return errors


def not_networks(given: Iterable[Any]) -> list[str]:
    """Return what is no address and no network, or is all of them."""
    wrong = []
    for one in given:
        try:
            if not ip_network(str(one), strict=False).prefixlen:
                wrong.append(str(one))
        except ValueError:
            wrong.append(str(one))
    return wrong


def _probe_errors(where: str, app: App) -> list[str]:
    """Return what is wrong with what is asked of an application during a release."""
    probe = app["probe"]
    errors = []
    if not 0 <= probe["rate"] <= MAX_PROBE_RATE:
        errors.append(
            f"{where}.rate: {probe['rate']} is not a number of requests a second from 0 to {MAX_PROBE_RATE}; 0 is none"
        )
    paths = [(f"requests[{n}].path", one["path"]) for n, one in enumerate(probe["requests"])]
    paths += [("websocket", probe["websocket"])] if probe["websocket"] else []
    for key, path in paths:
        if not re.fullmatch(r"/[!-~]*", path):
            errors.append(
                f"{where}.{key}: {path!r} is not a path; begin it with a slash, and leave out blanks"
            )
        elif not outside(app, path):
            errors.append(
                f"{where}.{key}: {path!r} can't be reached from outside; {_reachable(app)}"
            )
    for number, request in enumerate(probe["requests"]):
        at = f"{where}.requests[{number}]"
        errors += [
            f"{at}.status: {status} is no status; name those that are right, such as 200"
            for status in request["status"] or ["an empty list"]
            if status not in range(100, 600)
        ]
        errors += _header_errors(f"{at}.headers", request["headers"])
    return errors


def _header_errors(where: str, headers: Mapping[Any, Any]) -> list[str]:
    """Return what is wrong with headers."""
    return [
        f"{where}.{name}: is no header with a text in one line; mend or remove it"
        for name, value in headers.items()
        if not HEADER.fullmatch(str(name)) or not re.fullmatch(r"[ -~]*", str(value))
    ]


def _reachable(app: App) -> str:
    """Return which paths of an application are reached from outside, where not all are."""
    api = app["frontend"].get("api") or [f"{app['path']}/"]
    return f"name one that begins with {' or '.join(api)}"


def _urls(app: App) -> Iterator[tuple[str, str]]:
    """Yield the paths that an application's front end and static files are told apart by, each with its key."""
    if app["static"]:
        yield "static.url", app["static"]["url"]
    if app["frontend"]:
        yield from (("frontend.api", url) for url in app["frontend"]["api"])
    if app["accel"]:
        yield "accel.url", app["accel"]["url"]


def _domain_errors(where: str, app: App) -> list[str]:
    """Return what is wrong with an application's ``domains`` and ``redirect_from``."""
    errors = [
        f"{where}.{key}: {domain!r} is not a host name in lower case; write it without scheme, port and path"
        for key in ("domains", "redirect_from")
        for domain in app[key]
        if not DOMAIN.fullmatch(str(domain).removeprefix("*."))
    ]
    if app["domains"] and str(app["domains"][0]).startswith("*."):
        errors.append(
            f"{where}.domains: {app['domains'][0]} is the first, which its health is asked with and redirects lead to; "
            "put a host name before it"
        )
    if app["tls"]["from"] == "acme" and app["tls"]["challenge"] == "http":
        errors += [
            f"{where}.{key}: {domain} can't be had by challenge http; set {where}.tls.challenge to dns, with a hook"
            for key in ("domains", "redirect_from")
            for domain in app[key]
            if str(domain).startswith("*.")
        ]
    return errors


def _tls_errors(where: str, tls: App) -> list[str]:
    """Return what is wrong with where an application's certificate comes from."""
    errors = []
    for key, goes_with in (("chain", "files"), ("key", "files")):
        if tls[key] and tls["from"] != goes_with:
            errors.append(
                f"{where}.{key}: goes with 'from: {goes_with}'; set that, or remove {key}"
            )
        elif not tls[key] and tls["from"] == goes_with:
            errors.append(f"{where}.{key}: is missing; name the file on the control node")
    by_dns = tls["from"] == "acme" and tls["challenge"] == "dns"
    if tls["challenge"] == "dns" and tls["from"] != "acme":
        errors.append(f"{where}.challenge: goes with 'from: acme'; set that, or remove challenge")
    elif tls["hook"] and not by_dns:
        errors.append(
            f"{where}.hook: goes with 'from: acme' and 'challenge: dns'; set those, or remove hook"
        )
    elif by_dns and not tls["hook"]:
        errors.append(
            f"{where}.hook: is missing; challenge dns needs a script that sets and cleans a TXT record"
        )
    return errors


def _value_errors(name: str, app: App) -> list[str]:
    """Return what no type can say of a well-shaped application, each with its key and the fix."""
    where = f"apps.{name}"
    errors = []
    if not MODULE.fullmatch(app["module"]):
        errors.append(
            f"{where}.module: {app['module']!r} is not of the form package.module:attribute, such as shop.main:app"
        )
    if not app["domains"]:
        errors.append(f"{where}.domains: is empty; name at least one host name")
    errors += _domain_errors(where, app)
    errors += _tls_errors(f"{where}.tls", app["tls"])
    if app["workers"] != "auto" and not re.fullmatch(r"[1-9][0-9]{0,2}", app["workers"]):
        errors.append(
            f"{where}.workers: {app['workers']!r} is neither 'auto' nor a number from 1 to 999"
        )
    if app["max_in_flight"] != "auto" and not re.fullmatch(r"[0-9]{1,5}", app["max_in_flight"]):
        errors.append(
            f"{where}.max_in_flight: {app['max_in_flight']!r} is neither 'auto' nor a number from 0 to 99999; "
            "0 is no limit"
        )
    if not 1 <= app["port"] <= 65535:
        errors.append(f"{where}.port: {app['port']} is not a port; take one from 1 to 65535")
    factory = re.search(r"\(.*\S.*\)$", app["module"])
    if app["server"] == "uvicorn" and factory:
        errors.append(
            f"{where}.module: Uvicorn calls a function without arguments, and not with {factory[0]}; "
            "remove them, or set server to gunicorn"
        )
    if not re.fullmatch(r"/[!-~]*", app["health"]):
        errors.append(
            f"{where}.health: {app['health']!r} is not a path; begin it with a slash, and leave out blanks"
        )
    errors += _url_errors(where, app)
    errors += _route_errors(where, app)
    errors += _probe_errors(f"{where}.probe", app)
    errors += _header_errors(f"{where}.headers", app["headers"])
    errors += [
        f"{where}.headers.{name}: has a $, which Nginx would take for a variable; write it without"
        for name, value in app["headers"].items()
        if "$" in str(value)
    ]
    if app["frontend"] and not app["frontend"]["api"]:
        errors.append(
            f"{where}.frontend.api: is empty; name the paths that the application answers, such as /api/"
        )
    errors += _path_errors(where, app)
    if app["migrate"] and not app["database"]:
        errors.append(
            f"{where}.migrate: there is no database to migrate; add 'database: {{name: {name}}}' or remove it"
        )
    if app["database"]:
        errors += _database_errors(f"{where}.database", app["database"])
    errors += _process_errors(where, app)
    if app["delete_data"]:
        errors.append(
            f"{where}.delete_data: goes with 'state: absent' and nothing else; remove it until then"
        )
    errors += sandbox.errors(f"{where}.sandbox", app["sandbox"])
    made = dict.fromkeys(app["secrets_generated"], "")
    for key, variables in (
        ("env", app["env"]),
        ("secrets", app["secrets"]),
        ("secrets_generated", made),
    ):
        errors += _variable_errors(f"{where}.{key}", variables)
    given = {"env": app["env"], "secrets": app["secrets"], "secrets_generated": made}
    given["database.env"] = app["database"].get("env", {})
    fixes = {"database.env": "keep one of them; 'env: {}' in database sets none"}
    errors += [
        f"{where}.{one}.{variable}: stands in {other} too; {fixes.get(other, 'keep one of them')}"
        for one, other in combinations(given, 2)
        for variable in given[one]
        if variable in given[other]
    ]
    return errors


def _absent_errors(name: str, app: App) -> list[str]:
    """Return what is wrong with an application that is to be removed."""
    if app["database"]:
        return _database_name_errors(f"apps.{name}.database", app["database"]["name"])
    return []


def _plain(value: Any) -> Any:
    """Return a value in containers of Python's own: Ansible's, when the validator copies them, copy all variables."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _filled(where: str, given: Mapping[str, Any]) -> tuple[App, list[str]]:
    """Return an application with its defaults filled in, and what is wrong with its shape."""
    spec = options(ROLES / "fastapi_app", "app")
    if given.get("state") == "absent":  # of such a one no more is needed than it takes to remove it
        spec = {key: {**option, "required": False} for key, option in spec.items()}
    if errors := _shape_errors(given, spec, where):
        return {}, errors
    result = ArgumentSpecValidator(spec).validate(_plain(given))
    if errors := [f"{where}: {message}" for message in result.error_messages]:
        return {}, errors
    # A dict with options of its own, if not given, would else come as None.
    app = {
        key: ({} if spec[key]["type"] == "dict" else value) if value is None else value
        for key, value in result.validated_parameters.items()
    }
    try:
        app["migrate"] = _commands(app["migrate"])
    except ValueError as error:
        fix = "write a command, or {run: <command>, as: owner or app}"
        return {}, [f"{where}.migrate: {error} is no command; {fix}"]
    try:
        app["hooks"] = _hooks(app["hooks"])
    except ValueError as error:
        return {}, [
            f"{where}.hooks.{error} is neither a command nor {{tasks: <file>}}; write one of them"
        ]
    return app, []


def _validated(apps: Mapping[str, Any]) -> tuple[dict[str, App], list[str]]:
    valid: dict[str, App] = {}
    errors = []
    for name, given in apps.items():
        where = f"apps.{name}"
        if not NAME.fullmatch(str(name)):
            errors.append(
                f"{where}: the name must be a lower-case letter, then letters, digits, _ or -, at most 20"
            )
        elif RESERVED.fullmatch(str(name)):
            errors.append(
                f"{where}: the name is taken by the system or by another application's roles; choose another"
            )
        if not isinstance(given, Mapping):
            errors.append(f"{where}: must be a dict with at least source, module and domains")
            continue
        app, found = _filled(where, given)
        if not found:
            valid[name] = {"name": name, **app}
            found = (_absent_errors if app["state"] == "absent" else _value_errors)(
                name, valid[name]
            )
        errors += found
    return valid, errors


def _claims(app: App) -> Iterator[tuple[str, str, str]]:
    """Yield what an application lays claim to and nobody else may: what it is, the key that says so, and the fix."""
    where = f"apps.{app['name']}"
    if app["database"] and (app["state"] == "present" or app["delete_data"]):
        yield app["database"]["name"], f"{where}.database.name", "keep it in one place"
    if app["state"] == "absent":
        return
    fix = "keep it in one place, or give each application a path of its own"
    path = app["path"].rstrip("/")
    for domain in app["domains"]:
        yield f"{domain}{path}", f"{where}.{'path' if path else 'domains'}", fix
    prefix = path if app["strip_path"] else ""
    for key, url in _urls(app):
        for domain in dict.fromkeys(app["domains"]):
            yield f"{domain}{prefix}{url[:-1]}", f"{where}.{key}", fix
    own = {app["path"].rstrip("/"), *(prefix + url[:-1] for _, url in _urls(app))}
    for number, route in enumerate(app["routes"]):
        url = prefix + route["path"].rstrip("/")
        for domain in dict.fromkeys(app["domains"]) if url not in own else ():
            yield f"{domain}{url}", f"{where}.routes[{number}].path", fix
    # The units of shop's service worker are called as those of an application shop-worker would be.
    fix = "give one of them another name"
    yield f"{app['name']}@.service", where, fix
    for key in ("services", "timers"):
        for item in app[key]:
            yield f"{app['name']}-{item['name']}@.service", f"{where}.{key}", fix


def _duplicates(apps: Mapping[str, App]) -> list[str]:
    """Return a message for each thing that two applications, or one twice, lay claim to."""
    claimed: dict[tuple[str, str], list[str]] = {}
    for app in apps.values():
        for value, key, fix in _claims(app):
            claimed.setdefault((value, fix), []).append(key)
    errors = [
        f"{', '.join(keys)}: {value} is listed {len(keys)} times; {fix}"
        for (value, fix), keys in claimed.items()
        if len(keys) > 1
    ]
    errors += _lost_routes(_in_state("present", apps))
    domains = {name: set(app["domains"]) for name, app in _in_state("present", apps).items()}
    errors += [
        f"apps.{one}.domains, apps.{other}.domains: share {', '.join(sorted(domains[one] & domains[other]))} "
        "but not the others; applications that share one must list the same ones"
        for one, other in combinations(domains, 2)
        if domains[one] & domains[other] and domains[one] != domains[other]
    ]
    return errors + _site_errors(_in_state("present", apps))


def _site_errors(apps: Mapping[str, App]) -> list[str]:
    """Return where applications that share a site differ in what is the site's, or redirect what another answers to."""
    errors = [
        f"apps.{one['name']}.tls, apps.{other['name']}.tls: differ, but they share their domains and so a certificate; "
        "write the same into both"
        for members in _sites(apps).values()
        for one, other in pairwise(members)
        if one["tls"] != other["tls"]
    ]
    answered = {domain: app["name"] for app in apps.values() for domain in app["domains"]}
    redirected: dict[str, str] = {}
    for members in _sites(apps).values():
        for app in members:
            where = f"apps.{app['name']}.redirect_from"
            for domain in app["redirect_from"]:
                if domain in answered:
                    errors.append(
                        f"{where}: {domain} is one of apps.{answered[domain]}.domains; keep it in one place"
                    )
                elif redirected.setdefault(domain, app["name"]) not in {
                    one["name"] for one in members
                }:
                    errors.append(
                        f"{where}: {domain} is one of apps.{redirected[domain]}.redirect_from too; keep it in one place"
                    )
    return errors


def _lost_routes(apps: Mapping[str, App]) -> Iterator[str]:
    """Yield a message for each route of an application that lies below the path of a neighbour."""
    for (one, app), (other, neighbour) in permutations(apps.items(), 2):
        path = neighbour["path"].rstrip("/") + "/"
        if set(app["domains"]) & set(neighbour["domains"]) and path.startswith(app["path"]):
            for number, route in enumerate(app["routes"]):
                if outside(app, route["path"]).startswith(path):
                    yield (
                        f"apps.{one}.routes[{number}].path: {route['path']!r} lies below {path}, "
                        f"which is the path of apps.{other}; give it to that one"
                    )


def _in_state(state: str, apps: Mapping[str, App]) -> dict[str, App]:
    """Return those of the applications that are to be present, or absent."""
    return {name: app for name, app in apps.items() if app["state"] == state}


def _checked(apps: Any) -> tuple[dict[str, App], list[str]]:
    """Return the applications that are sound in themselves, and everything that is wrong with any."""
    if not isinstance(apps, Mapping):
        return {}, ["apps: must be a dict of applications by name, {} if there are none"]
    valid, errors = _validated(apps)
    return valid, errors + _duplicates(valid)


def app_errors(apps: Any) -> list[str]:
    """Return everything that is wrong with ``apps``, a line each with the key and the fix; empty if nothing is."""
    return _checked(apps)[1]


def validated_apps(apps: Any, state: str = "present") -> dict[str, App]:
    """Return the applications that are to be present, or absent, by name, each with its ``name`` and every default.

    Raises:
        AnsibleFilterError: Something is wrong with any of them; the message lists it all.
    """
    valid, errors = _checked(apps)
    if errors:
        raise AnsibleFilterError("\n".join(errors))
    return _in_state(state, valid)


def connections(app: App, cores: int) -> int:
    """Return how many connections to its database an application may open on one host.

    Each of its workers and services has a pool of its own, and during a release there are two slots of them.

    Args:
        app: One of what ``slipway_apps`` gives.
        cores: The host's, which ``workers: auto`` goes by.
    """
    if not app["database"]:
        return 0
    workers = cores if app["workers"] == "auto" else int(app["workers"])
    return (workers + len(app["services"])) * int(app["database"]["pool"]) * 2


def databases(
    apps: Mapping[str, App], absent: Mapping[str, App] | None = None, cores: int = 1
) -> list[dict[str, Any]]:
    """Return what ``postgresql_databases`` takes.

    Args:
        apps: The applications that are to be present.
        absent: Those that are to be absent: the database of one is on the list only if its data is to be deleted.
        cores: Those of the applications' host.
    """
    handed_on = (
        *("name", "extensions", "password", "readers"),
        *("statement_timeout", "lock_timeout", "idle_in_transaction_timeout"),
    )
    wanted = [
        {key: app["database"][key] for key in handed_on}
        | {"user": app["name"], "connections": connections(app, cores), "state": "present"}
        for app in apps.values()
        if app["database"]
    ]
    unwanted = [
        {"name": app["database"]["name"], "user": app["name"], "state": "absent"}
        for app in (absent or {}).values()
        if app["database"] and app["delete_data"]
    ]
    return wanted + unwanted


def _sites(apps: Mapping[str, App]) -> dict[str, list[App]]:
    """Return the applications by site: those that share their domains are one, called as the first of them."""
    names: dict[frozenset[str], str] = {}
    grouped: dict[str, list[App]] = {}
    for app in apps.values():
        name = names.setdefault(frozenset(app["domains"]), app["name"])
        grouped.setdefault(name, []).append(app)
    return grouped


def leaves(apps: Mapping[str, App]) -> list[dict[str, Any]]:
    """Return what ``certificates_leaves`` takes: one certificate for each site, for all the names that lead there."""
    found = []
    for name, members in _sites(apps).items():
        tls = members[0]["tls"]
        leaf = {"name": name, "domains": members[0]["domains"] + _redirected(members)}
        needs = {"local": (), "files": ("chain", "key"), "acme": ("challenge", "hook")}[tls["from"]]
        kind = {} if tls["from"] == "local" else {"kind": tls["from"]}
        found.append(leaf | kind | {key: tls[key] for key in needs if tls[key]})
    return found


def names(app: App) -> list[str]:
    """Return the names of an application that can be looked up: those without an asterisk, redirected ones too."""
    return [name for name in app["domains"] + app["redirect_from"] if not name.startswith("*.")]


def _redirected(members: list[App]) -> list[str]:
    """Return the names that a site's applications want redirected, each once."""
    return list(dict.fromkeys(name for app in members for name in app["redirect_from"]))


def sites(
    apps: Mapping[str, App],
    root: str = "/srv",
    tls: str = "/etc/slipway/tls",
    webroot: str = "/var/lib/slipway/acme/webroot",
) -> list[dict[str, Any]]:
    """Return what ``nginx_sites`` takes: domains and certificate of each site, and the applications that answer there.

    Args:
        apps: The applications, as ``slipway_apps`` gives them.
        root: ``fastapi_app_root``, under which each application has its folder.
        tls: Where the role ``certificates`` puts its leaves.
        webroot: Where it puts answers to an ACME authority that asks by HTTP.
    """
    return [
        {
            "name": name,
            "domains": members[0]["domains"],
            **({"redirect_from": names} if (names := _redirected(members)) else {}),
            **({"challenges": webroot} if _asked_by_http(members[0]["tls"]) else {}),
            "certificate": f"{tls}/{name}/fullchain.pem",
            "key": f"{tls}/{name}/privkey.pem",
            **({"hsts": HSTS} if members[0]["tls"]["from"] != "local" else {}),
            "apps": [_location(app, f"{root}/{app['name']}") for app in members],
        }
        for name, members in _sites(apps).items()
    ]


def stapled(sites: list[dict[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return ``nginx_sites``, those marked whose certificate names a responder of OCSP.

    Args:
        sites: As ``slipway_sites`` gives them.
        names: The names of such sites.
    """
    named = set(names)
    return [site | ({"stapling": True} if site["name"] in named else {}) for site in sites]


def _asked_by_http(tls: App) -> bool:
    """Tell whether an ACME authority will ask for something by HTTP."""
    return bool(tls["from"] == "acme" and tls["challenge"] == "http")


def _location(app: App, home: str) -> dict[str, Any]:
    """Return what one of ``nginx_sites[].apps`` takes; paths that the application names are seen from outside."""
    path = app["path"].rstrip("/")
    prefix = path if app["strip_path"] else ""
    location: dict[str, Any] = {
        "name": app["name"],
        "path": path,
        "strip_path": bool(prefix),
        "upstream": f"unix:{home}/live/app.sock",
    }
    if app["static"]:
        location["static"] = {
            "url": prefix + app["static"]["url"],
            **_files(home, "static"),
        }
    if app["frontend"]:
        location["frontend"] = {
            **_files(home, "frontend"),
            "api": [prefix + url for url in app["frontend"]["api"]],
        }
    if app["accel"]:
        location["accel"] = {
            "url": prefix + app["accel"]["url"],
            "path": f"{home}/shared/{app['accel']['path'].strip('/')}",
        }
    if app["headers"]:
        location["headers"] = app["headers"]
    if app["routes"]:
        location["routes"] = [
            # What says nothing is left out, so that a site shows what there is.
            {"path": prefix + route["path"]}
            | {key: value for key, value in route.items() if value and key != "path"}
            for route in app["routes"]
        ]
    if app["maintenance_page"]:
        location["maintenance_page"] = f"{home}/live/release/src/{app['maintenance_page']}"
    return location


def _files(home: str, kind: str) -> dict[str, Any]:
    """Return where files of a release are: of the one that serves, and of those in either slot."""
    slots = [f"slots/{slot}/release/{kind}" for slot in ("blue", "green")]
    return {"root": home, "path": f"live/release/{kind}", "earlier": slots}


def _database_facts(
    database: Mapping[str, Any], user: str, server: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return what the texts of ``database.env`` may name."""
    tcp, server = database["via"] == "tcp", server or {}
    host = str(server.get("address") or ("127.0.0.1" if tcp else "/run/postgresql"))
    authority = str(server.get("authority") or "")
    facts = {
        "host": host,
        "port": "5432",
        "name": database["name"],
        "user": user,
        "password": database["password"],
        "pool": str(database["pool"]),
        "sslmode": "verify-full" if authority else "prefer",
        "sslrootcert": authority,
    }
    place = f"[{host}]" if ":" in host else host
    url = (
        f"postgresql://{user}:{quote(facts['password'], safe='')}@{place}:5432/{facts['name']}"
        if tcp
        else f"postgresql:///{facts['name']}?host={host}"
    )
    verified = f"?sslmode=verify-full&sslrootcert={authority}" if authority else ""
    return {"url": url + verified, **facts}


def _filled_in(text: str, facts: Mapping[str, str]) -> str:
    """Return a text of ``database.env`` with its placeholders filled in, percent-encoded where it is a URL."""

    def fact(match: re.Match[str]) -> str:
        found = facts[match[1]]
        return quote(found, safe="") if "://" in text else found

    return PLACEHOLDER.sub(fact, text)


def environment(
    app: App,
    release: str,
    root: str = "/srv",
    migrates: bool = False,
    server: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the environment of an application's processes.

    Args:
        app: One of what ``slipway_apps`` gives.
        release: The release's id.
        root: ``fastapi_app_root``.
        migrates: Whether it is for a command with the rights of the database's owner.
        server: Its entry in ``fastapi_app_databases``, if the database is on another host.
    """
    variables: App = {
        "SLIPWAY_RELEASE": release,
        "SLIPWAY_SHARED": f"{root}/{app['name']}/shared",
    }
    if app["database"]:
        facts = _facts_for(app, migrates, server)
        if facts["sslrootcert"]:  # for whatever connects by libpq without a URL
            variables |= {"PGSSLMODE": facts["sslmode"], "PGSSLROOTCERT": facts["sslrootcert"]}
        variables |= _database_variables(app, facts)
    told = {**variables, **app["env"], **app["secrets"]}
    return {name: value for name, value in told.items() if name not in secret_files(app)}


def _facts_for(app: App, migrates: bool, server: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what is known of an application's database, for who logs in there."""
    user = f"{app['name']}_migrator" if migrates else (server or {}).get("user") or app["name"]
    return _database_facts(app["database"], user, server)


def _database_variables(app: App, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the variables that tell of an application's database."""
    return {
        variable: _filled_in(value, facts) if isinstance(value, str) else value
        for variable, value in app["database"]["env"].items()
    }


def secret_files(
    app: App, migrates: bool = False, server: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the secrets that an application gets as files, by name; none if it has them in its environment.

    What tells of a database with its password is one of them.

    Args:
        app: One of what ``slipway_apps`` gives.
        migrates: Whether they are for a command with the rights of the database's owner.
        server: Its entry in ``fastapi_app_databases``, if the database is on another host.
    """
    if app["secrets_as"] != "files":
        return {}
    found = dict(app["secrets"])
    if app["database"] and app["database"]["via"] == "tcp":
        told = _database_variables(app, _facts_for(app, migrates, server))
        holds = {"password", "url"}
        found |= {
            name: told[name]
            for name, value in app["database"]["env"].items()
            if holds & set(PLACEHOLDER.findall(str(value)))
        }
    return {name: _value(value) for name, value in found.items()}


def secret_text(app: App, migrates: bool = False, server: Mapping[str, Any] | None = None) -> str:
    """Return ``secret_files`` as JSON, the same for the same secrets; empty for none.

    One text, which a module keeps out of every output as one.
    """
    found = secret_files(app, migrates, server)
    return json.dumps(found, sort_keys=True) if found else ""


def credentials(app: App) -> list[str]:
    """Return the names of all the files that systemd hands to an application, those with generated secrets too."""
    made = app["secrets_generated"] if app["secrets_as"] == "files" else []
    return sorted([*secret_files(app), *made])


def _value(value: Any) -> str:
    """Return a setting as an environment has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def alternative_names(leaf: Mapping[str, Any]) -> str:
    """Return the names of one of ``certificates_leaves`` as OpenSSL lists those of a certificate, without blanks."""

    def listed(address: str) -> str:
        if ":" not in address:
            return address
        return ":".join(f"{int(group, 16):X}" for group in ip_address(address).exploded.split(":"))

    names = [f"DNS:{domain}" for domain in leaf["domains"]]
    return ",".join(names + [f"IPAddress:{listed(one)}" for one in leaf.get("addresses", [])])


def scram_sha_256(password: str, user: str) -> str:
    """Return the verifier that PostgreSQL keeps of a password in ASCII (RFC 5803), the same for the same input.

    So what the server has can be compared with what it should have, and the password itself is never sent. The salt is
    the user's alone: a server tells it to whoever asks, so it must say nothing of the password.
    """
    salt = hashlib.sha256(f"slipway {user}".encode()).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [b64encode(value).decode() for value in (salt, client, server)]
    return "SCRAM-SHA-256$4096:{}${}:{}".format(*texts)


def unit_files(app: App) -> list[dict[str, Any]]:
    """Return the unit files of an application: name, template in the role, and the service or timer that it is for."""
    folder = "etc/systemd/system"
    service, timer = f"{folder}/app@.service.j2", f"{folder}/app@.timer.j2"
    files: list[dict[str, Any]] = [
        {"name": f"{app['name']}@.service", "template": service, "process": {}}
    ]
    for process in app["services"] + app["timers"]:
        unit = f"{app['name']}-{process['name']}@"
        files.append({"name": f"{unit}.service", "template": service, "process": process})
        if "on_calendar" in process:
            files.append({"name": f"{unit}.timer", "template": timer, "process": process})
    return files


def environment_file(variables: Mapping[str, Any]) -> str:
    """Return a systemd ``EnvironmentFile=`` that hands each value over to the letter.

    Within double quotes systemd takes newlines as they are, and a backslash as an escape before a double quote,
    a backslash, a backtick and a dollar (systemd.exec(5)). Booleans become ``true`` and ``false``.
    """
    lines = []
    for name, value in sorted(variables.items()):
        lines.append(f'{name}="{ESCAPED.sub(ESCAPE, _value(value))}"\n')
    return "".join(lines)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_alternative_names": alternative_names,
            "slipway_app_errors": app_errors,
            "slipway_apps": validated_apps,
            "slipway_credentials": credentials,
            "slipway_databases": databases,
            "slipway_environment": environment,
            "slipway_environment_file": environment_file,
            "slipway_leaves": leaves,
            "slipway_names": names,
            "slipway_not_networks": not_networks,
            "slipway_scram_sha_256": scram_sha_256,
            "slipway_secret_files": secret_text,
            "slipway_sites": sites,
            "slipway_stapled": stapled,
            "slipway_unit_files": unit_files,
            "slipway_unknown_options": unknown_options,
        }
