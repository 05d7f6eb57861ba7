"""Filters that turn ``apps``, the inventory's description of the applications, into what each role takes.

The schema of one application is the entry point ``app`` of ``roles/fastapi_app/meta/argument_specs.yml``:
one place for types, defaults, checks and the README.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import re
import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

App = dict[str, Any]

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,19}")
DOMAIN = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*((\.[A-Za-z_]\w*)*|\([^()\n]*\))")
PROCESS = re.compile(r"[a-z][a-z0-9-]{0,29}")
# What no application can be called, whatever the host: users and services of Debian's, and names derived from others.
RESERVED = re.compile(
    r"root|postgres|postgresql|www-data|nginx|ssh|sshd|nobody|daemon|systemd.*|.*_(owner|migrator)"
)
RESERVED_DATABASES = {"postgres", "template0", "template1"}
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
    spec = yaml.safe_load((role_path / "meta" / "argument_specs.yml").read_text())
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


def _shape_errors(given: Mapping[str, Any], spec: Mapping[str, Any], where: str) -> list[str]:
    """Return what the argument spec validator would accept or convert in silence: unknown keys and wrong shapes."""
    errors = [
        f"{where}.{key}: unknown key; {_nearest(str(key), spec)}"
        for key in given
        if key not in spec
    ]
    for key, option in spec.items():
        value = given.get(key)
        if value is None:
            if key in given:
                errors.append(f"{where}.{key}: has no value; give it one or remove the key")
            continue
        kind = option["type"]
        right = {
            "str": isinstance(value, str | int | float) and not isinstance(value, bool),
            "bool": isinstance(value, bool),
            "dict": isinstance(value, Mapping),
            "list": isinstance(value, list | tuple),
            "raw": True,
        }[kind]
        if not right:
            errors.append(
                f"{where}.{key}: must be a {kind}, not {type(value).__name__.lstrip('_')}"
            )
        elif kind == "dict" and value and "options" in option:
            errors += _shape_errors(value, option["options"], f"{where}.{key}")
        elif kind == "list" and "options" in option:
            for number, item in enumerate(value):
                if isinstance(item, Mapping):
                    errors += _shape_errors(item, option["options"], f"{where}.{key}[{number}]")
                else:
                    errors.append(f"{where}.{key}[{number}]: must be a dict")
    return errors


def _within(path: str) -> bool:
    """Tell whether a path stays in the folder that it starts from."""
    return not path.startswith("/") and ".." not in Path(path).parts


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


def _database_errors(where: str, database: App) -> list[str]:
    """Return what is wrong with an application's ``database``."""
    errors = []
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", database["name"]):
        errors.append(
            f"{where}.name: {database['name']!r} must be a letter, then letters, digits, _ or -"
        )
    if database["name"] in RESERVED_DATABASES:
        errors.append(f"{where}.name: {database['name']} is PostgreSQL's own; choose another")
    if database["via"] == "tcp" and len(database["password"]) < 16:
        errors.append(
            f"{where}.password: via tcp needs one of 16 characters or more; 'openssl rand -hex 32' makes one"
        )
    if database["via"] == "socket" and database["password"]:
        errors.append(f"{where}.password: the socket has none; remove it, or set via to tcp")
    facts = _database_facts(database, "user")
    for variable, text in database["env"].items():
        if not VARIABLE.fullmatch(str(variable)):
            errors.append(f"{where}.env.{variable}: is not a name for an environment variable")
        for fact in PLACEHOLDER.findall(str(text)):
            if fact not in facts:
                errors.append(
                    f"{where}.env.{variable}: {{{fact}}} is none; {_nearest(fact, facts)}"
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
    for name, times in Counter(item["name"] for _, item in processes).items():
        if times > 1:
            errors.append(f"{where}.services, {where}.timers: {name} is listed {times} times")
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
    for domain in app["domains"]:
        if not DOMAIN.fullmatch(str(domain)):
            errors.append(
                f"{where}.domains: {domain!r} is not a host name in lower case; write it without scheme, port and path"
            )
    if app["workers"] != "auto" and not re.fullmatch(r"[1-9][0-9]{0,2}", app["workers"]):
        errors.append(
            f"{where}.workers: {app['workers']!r} is neither 'auto' nor a number from 1 to 999"
        )
    if not app["health"].startswith("/"):
        errors.append(f"{where}.health: {app['health']!r} is not a path; begin it with a slash")
    if app["path"] != "/" and not re.fullmatch(r"(/[\w.~-]+)+", app["path"]):
        errors.append(
            f"{where}.path: {app['path']!r} must begin with a slash and not end with one, such as /shop"
        )
    urls = {"frontend.api": app["frontend"]["api"]} if app["frontend"] else {}
    urls |= {"static.url": [app["static"]["url"]]} if app["static"] else {}
    errors += [
        f"{where}.{key}: {url!r} must begin and end with a slash, such as /static/"
        for key, given in urls.items()
        for url in given
        if not re.fullmatch(r"/([\w.~-]+/)+", str(url))
    ]
    paths = {"folder": [app["folder"]], "shared": app["shared"]}
    paths |= {"static.path": [app["static"]["path"]]} if app["static"] else {}
    errors += [
        f"{where}.{key}: {path!r} must lie in the source; write it relative to it"
        for key, given in paths.items()
        for path in given
        if not _within(str(path))
    ]
    if app["migrate"] and not app["database"]:
        errors.append(
            f"{where}.migrate: there is no database to migrate; add 'database: {{name: {name}}}' or remove it"
        )
    if app["database"]:
        errors += _database_errors(f"{where}.database", app["database"])
    errors += _process_errors(where, app)
    given = {"env": app["env"], "secrets": app["secrets"]}
    for key, variables in given.items():
        for variable, value in variables.items():
            if variable == "PATH":
                errors.append(
                    f"{where}.{key}.PATH: the release's own environment comes first in it; remove it"
                )
            if not VARIABLE.fullmatch(str(variable)):
                errors.append(
                    f"{where}.{key}.{variable}: is not a name for an environment variable"
                )
            if value is None or isinstance(value, Mapping | list | tuple):
                errors.append(
                    f"{where}.{key}.{variable}: must be a text, a number or a boolean; quote it"
                )
    errors += [
        f"{where}.env.{variable}: stands in secrets too; keep one of them"
        for variable in app["env"].keys() & app["secrets"].keys()
    ]
    return errors


def _absent_errors(name: str, app: App) -> list[str]:
    """Return what is wrong with an application that is to be removed."""
    if app["database"]:
        return _database_errors(
            f"apps.{name}.database", app["database"] | {"via": "tcp", "password": "x" * 16}
        )
    return []


def _filled(where: str, given: Mapping[str, Any]) -> tuple[App, list[str]]:
    """Return an application with its defaults filled in, and what is wrong with its shape."""
    spec = options(ROLES / "fastapi_app", "app")
    if given.get("state") == "absent":  # of such a one no more is needed than it takes to remove it
        spec = {key: {**option, "required": False} for key, option in spec.items()}
    if errors := _shape_errors(given, spec, where):
        return {}, errors
    result = ArgumentSpecValidator(spec).validate(dict(given))
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
        elif RESERVED.fullmatch(name):
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


def _duplicates(apps: Mapping[str, App]) -> list[str]:
    """Return a message for each address or database that two applications, or one twice, lay claim to."""
    claims = {
        "domains": [
            (f"{domain}{app['path']}".removesuffix("/"), name)
            for name, app in apps.items()
            for domain in app["domains"]
        ],
        "database.name": [
            (app["database"]["name"], name) for name, app in apps.items() if app["database"]
        ],
    }
    errors = []
    for key, claimed in claims.items():
        for value, times in Counter(value for value, _ in claimed).items():
            if times > 1:
                owners = ", ".join(
                    f"apps.{name}.{key}" for claim, name in claimed if claim == value
                )
                fix = "keep it in one place" + (
                    ", or give each application a path of its own" if key == "domains" else ""
                )
                errors.append(f"{owners}: {value} is listed {times} times; {fix}")
    domains = {name: set(app["domains"]) for name, app in apps.items()}
    errors += [
        f"apps.{one}.domains, apps.{other}.domains: share {', '.join(sorted(domains[one] & domains[other]))} "
        "but not the others; applications that share one must list the same ones"
        for one, other in combinations(apps, 2)
        if domains[one] & domains[other] and domains[one] != domains[other]
    ]
    # The units of shop's service worker are called as those of an application shop-worker would be.
    errors += [
        f"apps.{name}.{key}: {item['name']} would have the unit of the application {name}-{item['name']}; rename it"
        for name, app in apps.items()
        for key in ("services", "timers")
        for item in app[key]
        if f"{name}-{item['name']}" in apps
    ]
    return errors


def app_errors(apps: Any) -> list[str]:
    """Return everything that is wrong with ``apps``, a line each with the key and the fix; empty if nothing is."""
    if not isinstance(apps, Mapping):
        return ["apps: must be a dict of applications by name"]
    valid, errors = _validated(apps)
    return errors + _duplicates(_present(valid))


def _present(apps: Mapping[str, App]) -> dict[str, App]:
    return {name: app for name, app in apps.items() if app["state"] == "present"}


def validated_apps(apps: Mapping[str, Any], state: str = "present") -> dict[str, App]:
    """Return the applications that are to be present, or absent, by name, each with its ``name`` and every default.

    Raises:
        AnsibleFilterError: Something is wrong with any of them; the message lists it all.
    """
    if errors := app_errors(apps):
        raise AnsibleFilterError("\n".join(errors))
    return {name: app for name, app in _validated(apps)[0].items() if app["state"] == state}


def databases(
    apps: Mapping[str, App], absent: Mapping[str, App] | None = None
) -> list[dict[str, Any]]:
    """Return what ``postgresql_databases`` takes.

    Args:
        apps: The applications that are to be present.
        absent: Those that are to be absent: the database of one is on the list only if its data is to be deleted.
    """
    wanted = [
        {
            "name": app["database"]["name"],
            "user": app["name"],
            "extensions": app["database"]["extensions"],
            "password": app["database"]["password"],
            "state": "present",
        }
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
    """Return what ``certificates_leaves`` takes: one certificate for each site, for all its domains."""
    return [
        {"name": name, "domains": members[0]["domains"]} for name, members in _sites(apps).items()
    ]


def sites(
    apps: Mapping[str, App], root: str = "/srv", tls: str = "/etc/slipway/tls"
) -> list[dict[str, Any]]:
    """Return what ``nginx_sites`` takes: domains and certificate of each site, and the applications that answer there.

    Args:
        apps: The applications, as ``slipway_apps`` gives them.
        root: ``fastapi_app_root``, under which each application has its folder.
        tls: Where the role ``certificates`` puts its leaves.
    """
    return [
        {
            "name": name,
            "domains": members[0]["domains"],
            "certificate": f"{tls}/{name}/fullchain.pem",
            "key": f"{tls}/{name}/privkey.pem",
            "apps": [_location(app, f"{root}/{app['name']}/live") for app in members],
        }
        for name, members in _sites(apps).items()
    ]


def _location(app: App, live: str) -> dict[str, Any]:
    """Return what one of ``nginx_sites[].apps`` takes; paths that the application names are seen from outside."""
    path = app["path"].rstrip("/")
    prefix = path if app["strip_path"] else ""
    location: dict[str, Any] = {
        "name": app["name"],
        "path": path,
        "strip_path": bool(prefix),
        "upstream": f"unix:{live}/app.sock",
    }
    if app["static"]:
        location["static"] = {
            "url": prefix + app["static"]["url"],
            "path": f"{live}/release/static",
        }
    if app["frontend"]:
        location["frontend"] = {
            "path": f"{live}/release/frontend",
            "api": [prefix + url for url in app["frontend"]["api"]],
        }
    return location


def _database_facts(database: Mapping[str, Any], user: str) -> dict[str, str]:
    """Return what the texts of ``database.env`` may name."""
    tcp = database["via"] == "tcp"
    facts = {
        "host": "127.0.0.1" if tcp else "/run/postgresql",
        "port": "5432",
        "name": database["name"],
        "user": user,
        "password": database["password"],
    }
    url = (
        f"postgresql://{user}:{quote(facts['password'], safe='')}@{facts['host']}:5432/{facts['name']}"
        if tcp
        else f"postgresql:///{facts['name']}?host={facts['host']}"
    )
    return {"url": url, **facts}


def environment(
    app: App, release: str, root: str = "/srv", migrates: bool = False
) -> dict[str, Any]:
    """Return the environment of an application's processes.

    Args:
        app: One of what ``slipway_apps`` gives.
        release: The release's id.
        root: ``fastapi_app_root``.
        migrates: Whether it is for a command with the rights of the database's owner.
    """
    variables: App = {
        "SLIPWAY_RELEASE": release,
        "SLIPWAY_SHARED": f"{root}/{app['name']}/shared",
    }
    if app["database"]:
        facts = _database_facts(
            app["database"], f"{app['name']}_migrator" if migrates else app["name"]
        )
        for variable, text in app["database"]["env"].items():
            within_url = "://" in str(text)

            def fill(match: re.Match[str], within_url: bool = within_url) -> str:
                fact = facts[match[1]]
                return quote(fact, safe="/") if within_url else fact

            variables[variable] = PLACEHOLDER.sub(fill, str(text))
    return {**variables, **app["env"], **app["secrets"]}


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


def started_units(app: App, slot: str) -> list[str]:
    """Return the units of a slot that are started, and at boot too, the application's own first.

    The service of a timer is not among them: its timer starts it.
    """
    name = app["name"]
    return [
        f"{name}@{slot}.service",
        *(f"{name}-{process['name']}@{slot}.service" for process in app["services"]),
        *(f"{name}-{process['name']}@{slot}.timer" for process in app["timers"]),
    ]


def status_table(
    apps: Mapping[str, Any], host: str, health: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Return a line for each application on a host: host, application, release, slot and health.

    Args:
        apps: What the module ``releases_info`` says.
        host: The host's name.
        health: The answers of the applications' health paths, in the same order.
    """
    lines = []
    for (name, state), answer in zip(apps.items(), health, strict=True):
        release, slot = state["serving"]["release"] or "-", state["live"] or "-"
        healthy = answer.get("status") == 200
        verdict = (
            "healthy"
            if healthy
            else f"NOT HEALTHY: {str(answer.get('msg', 'no answer')).splitlines()[0]}"
        )
        lines.append(f"{host:<16} {name:<16} {release:<12} {slot:<5} {verdict}")
    return lines


def environment_file(variables: Mapping[str, Any]) -> str:
    """Return a systemd ``EnvironmentFile=`` that hands each value over to the letter.

    Within double quotes systemd takes newlines as they are, and a backslash as an escape before a double quote,
    a backslash, a backtick and a dollar (systemd.exec(5)). Booleans become ``true`` and ``false``.
    """
    lines = []
    for name, value in sorted(variables.items()):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f'{name}="{ESCAPED.sub(ESCAPE, text)}"\n')
    return "".join(lines)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_app_errors": app_errors,
            "slipway_apps": validated_apps,
            "slipway_databases": databases,
            "slipway_environment": environment,
            "slipway_environment_file": environment_file,
            "slipway_leaves": leaves,
            "slipway_scram_sha_256": scram_sha_256,
            "slipway_sites": sites,
            "slipway_started_units": started_units,
            "slipway_status": status_table,
            "slipway_unit_files": unit_files,
            "slipway_unknown_options": unknown_options,
        }
