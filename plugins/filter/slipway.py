"""Filters that turn ``apps``, the inventory's description of the applications, into what each role takes.

The schema of one application is the entry point ``app`` of ``roles/fastapi_app/meta/argument_specs.yml``:
one place for types, defaults, checks and the README.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

App = dict[str, Any]

ROLES = Path(__file__).resolve().parents[2] / "roles"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,19}")
DOMAIN = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# What no application can be called, whatever the host: users and services of Debian's, and names derived from others.
RESERVED = re.compile(
    r"root|postgres|postgresql|www-data|nginx|ssh|sshd|nobody|daemon|systemd.*|.*_(owner|migrator)"
)
RESERVED_DATABASES = {"postgres", "template0", "template1"}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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
            "dict": isinstance(value, Mapping),
            "list": isinstance(value, list | tuple),
        }[kind]
        if not right:
            errors.append(
                f"{where}.{key}: must be a {kind}, not {type(value).__name__.lstrip('_')}"
            )
        elif kind == "dict" and value and "options" in option:
            errors += _shape_errors(value, option["options"], f"{where}.{key}")
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
    if app["static"]:
        if not re.fullmatch(r"/([\w.~-]+/)+", app["static"]["url"]):
            errors.append(
                f"{where}.static.url: {app['static']['url']!r} must begin and end with a slash, such as /static/"
            )
        if app["static"]["path"].startswith("/") or ".." in Path(app["static"]["path"]).parts:
            errors.append(
                f"{where}.static.path: {app['static']['path']!r} must lie in the source; write it relative to it"
            )
    if app["migrate"] and not app["database"]:
        errors.append(
            f"{where}.migrate: there is no database to migrate; add 'database: {{name: {name}}}' or remove it"
        )
    if app["database"] and not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", app["database"]["name"]):
        errors.append(
            f"{where}.database.name: {app['database']['name']!r} must be a letter, then letters, digits, _ or -"
        )
    if app["database"] and app["database"]["name"] in RESERVED_DATABASES:
        errors.append(
            f"{where}.database.name: {app['database']['name']} is PostgreSQL's own; choose another"
        )
    for key in ("env", "secrets"):
        for variable, value in app[key].items():
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


def _validated(apps: Mapping[str, Any]) -> tuple[dict[str, App], list[str]]:
    spec = options(ROLES / "fastapi_app", "app")
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
        found = _shape_errors(given, spec, where)
        if not found:
            result = ArgumentSpecValidator(spec).validate(dict(given))
            found = [f"{where}: {message}" for message in result.error_messages]
            if not found:
                # A dict with options of its own, if not given, would else come as None.
                filled = {
                    key: {} if value is None else value
                    for key, value in result.validated_parameters.items()
                }
                valid[name] = {"name": name, **filled}
                found = _value_errors(name, valid[name])
        errors += found
    return valid, errors


def _duplicates(apps: Mapping[str, App]) -> list[str]:
    """Return a message for each domain or database that two applications, or one twice, lay claim to."""
    claims = {
        "domains": [(str(domain), name) for name, app in apps.items() for domain in app["domains"]],
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
                errors.append(f"{owners}: {value} is listed {times} times; keep it in one place")
    return errors


def app_errors(apps: Any) -> list[str]:
    """Return everything that is wrong with ``apps``, a line each with the key and the fix; empty if nothing is."""
    if not isinstance(apps, Mapping):
        return ["apps: must be a dict of applications by name"]
    valid, errors = _validated(apps)
    return errors + _duplicates(valid)


def validated_apps(apps: Mapping[str, Any]) -> dict[str, App]:
    """Return the applications by name, each with its ``name`` and every default filled in.

    Raises:
        AnsibleFilterError: Something is wrong with them; the message lists it all.
    """
    if errors := app_errors(apps):
        raise AnsibleFilterError("\n".join(errors))
    return _validated(apps)[0]


def databases(apps: Mapping[str, App]) -> list[dict[str, Any]]:
    """Return what ``postgresql_databases`` takes: name, user and extensions of each database."""
    return [{"user": app["name"], **app["database"]} for app in apps.values() if app["database"]]


def leaves(apps: Mapping[str, App]) -> list[dict[str, Any]]:
    """Return what ``certificates_leaves`` takes: one certificate for each application, for all its domains."""
    return [{"name": app["name"], "domains": app["domains"]} for app in apps.values()]


def sites(
    apps: Mapping[str, App], root: str = "/srv", tls: str = "/etc/slipway/tls"
) -> list[dict[str, Any]]:
    """Return what ``nginx_sites`` takes: domains, certificate, upstream socket and static files of each application.

    Args:
        apps: The applications, as ``slipway_apps`` gives them.
        root: ``fastapi_app_root``, under which each application has its folder.
        tls: Where the role ``certificates`` puts its leaves.
    """
    result = []
    for app in apps.values():
        live = f"{root}/{app['name']}/live"
        site = {
            "name": app["name"],
            "domains": app["domains"],
            "certificate": f"{tls}/{app['name']}/fullchain.pem",
            "key": f"{tls}/{app['name']}/privkey.pem",
            "upstream": f"unix:{live}/app.sock",
        }
        if app["static"]:
            site["static"] = {"url": app["static"]["url"], "path": f"{live}/release/static"}
        result.append(site)
    return result


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
            "slipway_environment_file": environment_file,
            "slipway_leaves": leaves,
            "slipway_sites": sites,
            "slipway_status": status_table,
            "slipway_unknown_options": unknown_options,
        }
