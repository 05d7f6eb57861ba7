"""Filters that tell from the inventory's groups how hosts reach each other: who listens where, and who leads to whom.

``places`` is what ``playbooks/vars/stack.yml`` says of the hosts: ``app``, ``edge`` and ``db``, each a list of names,
and by host ``address`` (``slipway_address``, empty if it has none), ``reached`` (where SSH finds it), ``weight``,
``cores`` (empty where nobody has asked) and ``apps``.

An edge leads to its own applications by their sockets, and by TCP to those of each application host that is no edge.
An application's database is on its own host, or else on the one host of the group ``db``, or on the one that it names.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import slipway  # plugins are in no package
from slipway import App

Places = Mapping[str, Any]

EVERYWHERE = ["0.0.0.0", "::"]
MAX_WEIGHT = 100
# Requests that each worker has at once, if the inventory doesn't say (docs/adr/0040).
IN_FLIGHT = 128
# What only Nginx on the application's own host can do, with what to do instead.
FILES = {
    "accel": "have the application send them, as Starlette's FileResponse does",
    "static": "have the application serve them, as Starlette's StaticFiles does",
    "frontend": "have the application serve it, as Starlette's StaticFiles does",
    "maintenance_page": "take Slipway's own page",
}


def address(places: Places, host: str) -> str:
    """Return where other hosts reach a host."""
    return str(places["address"].get(host) or places["reached"].get(host) or host)


def is_address(text: str) -> bool:
    """Tell whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def behind(places: Places, app: str) -> list[str]:
    """Return the hosts of an application that are no edge."""
    return [
        host
        for host in places["app"]
        if host not in places["edge"] and app in places["apps"].get(host, [])
    ]


def listen(places: Places, host: str) -> list[str]:
    """Return the addresses on which a host's applications answer by TCP: none where it is its own edge."""
    if host not in places["app"] or host in places["edge"]:
        return []
    given = str(places["address"].get(host) or "")
    return [given] if given else EVERYWHERE


def trusted(places: Places, host: str) -> list[str]:
    """Return the addresses of the edges, whose word on a client counts on a host; none where the host is one."""
    if host in places["edge"]:
        return []
    return sorted(address(places, edge) for edge in places["edge"])


def balanced(
    sites: list[dict[str, Any]], apps: Mapping[str, App], places: Places, host: str
) -> list[dict[str, Any]]:
    """Return ``nginx_sites`` for one edge: with several servers for each application that other hosts have, and with
    how many requests each of them has at once.

    Args:
        sites: As ``slipway_sites`` gives them, each application with its socket.
        apps: The applications, as ``slipway_apps`` gives them.
        places: See above.
        host: The edge.
    """

    def led(location: dict[str, Any]) -> dict[str, Any]:
        app = apps[location["name"]]
        others = behind(places, app["name"])
        if not others:
            return location | bound(app, places, host)
        own = {host: location["upstream"]} if app["name"] in places["apps"].get(host, []) else {}
        own = own if host in places["app"] else {}
        addresses = own | {other: joined(address(places, other), app["port"]) for other in others}
        servers = [
            {"name": name, "address": where, "weight": int(places["weight"].get(name) or 1)}
            | bound(app, places, name)
            for name, where in addresses.items()
        ]
        kept = {key: value for key, value in location.items() if key != "upstream"}
        return {**kept, "servers": servers, "balance": app["balance"]}

    return [{**site, "apps": [led(one) for one in site["apps"]]} for site in sites]


def bound(app: App, places: Places, host: str) -> dict[str, int]:
    """Return ``max_in_flight`` of an application on a host; nothing if it has no limit, or none that is known."""
    if app["max_in_flight"] != "auto":
        most = int(app["max_in_flight"])
    else:
        workers = places["cores"].get(host) if app["workers"] == "auto" else app["workers"]
        most = IN_FLIGHT * int(workers or 0)
    return {"max_in_flight": most} if most else {}


def joined(where: str, port: int) -> str:
    """Return an address with a port."""
    return f"[{where}]:{port}" if ":" in where else f"{where}:{port}"


def database_host(app: App, places: Places, host: str) -> str:
    """Return on which host the database of an application is that is on ``host``; empty if there is no telling."""
    if not app["database"]:
        return ""
    if app["database"]["host"]:
        return str(app["database"]["host"])
    if host in places["db"]:
        return host
    return str(places["db"][0]) if len(places["db"]) == 1 else ""


def database_hosts(apps: Mapping[str, App], places: Places, host: str) -> list[str]:
    """Return on which hosts the databases of a host's applications are."""
    return sorted({database_host(app, places, host) for app in apps.values()} - {""})


def remote_databases(
    apps: Mapping[str, App], places: Places, host: str
) -> dict[str, dict[str, Any]]:
    """Return what ``fastapi_app_databases`` takes: how to get to each database that is on another host.

    Args:
        apps: The host's applications, as ``slipway_apps`` gives them.
        places: See above.
        host: The host that they are on.
    """
    found = {}
    for name, app in apps.items():
        server = database_host(app, places, host)
        if server not in ("", host):
            first = next(one for one in places["app"] if name in places["apps"].get(one, []))
            found[name] = {
                "host": server,
                "address": address(places, server),
                "authority": f"/etc/slipway/database/{server}.pem",
                "migrates": host == first,
            }
    return found


def databases(
    places: Places,
    host: str,
    apps: Mapping[str, Mapping[str, App]],
    absent: Mapping[str, Mapping[str, App]],
    cores: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Return what ``postgresql_databases`` takes on a host: the databases of all applications that have theirs there.

    One is absent once the application is on no host.

    Args:
        places: See above.
        host: The database's host.
        apps: By host, its applications, as ``slipway_apps`` gives them.
        absent: By host, those that are to be absent.
        cores: By host, how many it has.
    """
    # Two applications that name one database stay two, which the role's preflight refuses.
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for client in places["app"]:
        kept, gone = (
            {
                name: app
                for name, app in of.get(client, {}).items()
                if database_host(app, places, client) == host
            }
            for of in (apps, absent)
        )
        for one in slipway.databases(kept, gone, cores=int(cores.get(client) or 1)):
            known = found.setdefault(
                (one["name"], one["user"]), {**one, "connections": 0, "clients": []}
            )
            if one["state"] == "absent":
                continue
            if known["state"] == "absent":  # on another host; here it is still needed
                known |= one | {"connections": 0}
            known["connections"] += one["connections"]
            if client != host:
                known["clients"].append(address(places, client))
    return list(found.values())


def database_leaves(
    wanted: list[dict[str, Any]], places: Places, host: str
) -> list[dict[str, Any]]:
    """Return the certificate, for ``certificates_leaves``, that a host's PostgreSQL shows to clients on other hosts.

    Args:
        wanted: What ``postgresql_databases`` takes there.
        places: See above.
        host: The database's host.
    """
    if not any(one.get("clients") for one in wanted):
        return []
    name = re.sub("[^a-z0-9.-]", "-", host.lower())
    return [{"name": "postgresql", "domains": [name], "addresses": [address(places, host)]}]


def by_itself(app: App, places: Places, host: str) -> bool:
    """Tell whether a host's application is one of its own, with an edge and a database that no other host's has."""
    return host in places["edge"] and database_host(app, places, host) == host


def errors(apps: Mapping[str, App], places: Places, host: str) -> list[str]:
    """Return what is wrong with how the inventory places applications on hosts, as far as one host is concerned."""
    found: list[str] = []
    if host in places["app"]:
        found += _host_errors(apps, places, host)
    if host in places["edge"]:
        found += _edge_errors(apps, places, host)
    return found


def _host_errors(apps: Mapping[str, App], places: Places, host: str) -> Iterator[str]:
    """Yield what is wrong with a host of the group ``app``."""
    for app in apps.values():
        if app["database"]:
            yield from _database_errors(app, places, host)
        others = [
            one
            for one in places["app"]
            if app["name"] in places["apps"].get(one, [])
            and not (one != host and by_itself(app, places, one) and by_itself(app, places, host))
        ]
        if app["secrets_generated"] and len(others) > 1:
            yield (
                f"apps.{app['name']}.secrets_generated: {', '.join(others)} would each make up their own, and "
                "not know what another has signed; put the secrets into a vault, and into secrets"
            )
    if not listen(places, host):
        return
    ports: dict[int, list[str]] = {}
    for app in apps.values():
        ports.setdefault(app["port"], []).append(f"apps.{app['name']}.port")
        if not places["edge"]:
            yield from _bare_errors(app)
    for port, keys in ports.items():
        if len(keys) > 1:
            yield f"{', '.join(keys)}: {port} is listed {len(keys)} times; give each application a port of its own"
    for edge in places["edge"]:
        if not is_address(address(places, edge)):
            yield (
                f"slipway_address of {edge}: {address(places, edge)!r} is no IP address, by which {host} knows its "
                "edge; set it to the one that it comes from"
            )


def _database_errors(app: App, places: Places, host: str) -> Iterator[str]:
    """Yield what is wrong with where an application's database is."""
    where, server = f"apps.{app['name']}.database", database_host(app, places, host)
    if not server and places["db"]:
        yield f"{where}.host: the group db has {', '.join(places['db'])}, and {host} is none of them; name one"
    elif not server:
        yield (
            f"{where}: {host} is not in the group db, nor is another; put one there, or remove the key and name a "
            "database elsewhere by env and secrets"
        )
    elif server not in places["db"]:
        known = ", ".join(places["db"]) or "it, once it has one"
        yield f"{where}.host: {server} is not in the group db; name one of {known}"
    elif server != host:
        if app["database"]["via"] != "tcp":
            yield f"{where}.via: its database is on {server}, not on {host}; set via to tcp, with a password"
        for other in (server, host):
            if not is_address(address(places, other)):
                yield (
                    f"slipway_address of {other}: {address(places, other)!r} is no IP address, by which {host} and its "
                    f"database on {server} know each other; set it"
                )


def _bare_errors(app: App) -> Iterator[str]:
    """Yield what an application asks for that takes an edge, in an inventory that has none."""
    where = f"apps.{app['name']}"
    for key, instead in FILES.items():
        if app[key]:
            yield (
                f"{where}.{key}: takes an edge, and no host is in the group edge; remove the key and {instead}, "
                "or add one"
            )
    if app["path"] != "/":
        yield (
            f"{where}.path: takes an edge, and no host is in the group edge; remove the key, and give the application "
            "a port of its own, or add one"
        )


def _edge_errors(apps: Mapping[str, App], places: Places, host: str) -> Iterator[str]:
    """Yield what is wrong with a host of the group ``edge``."""
    for app in apps.values():
        others = behind(places, app["name"])
        if not others:
            if host not in places["app"]:
                yield (
                    f"{host} is an edge without anything to lead to for {app['name']}: put a host into the group app, "
                    "and not into edge, or this one into both"
                )
            continue
        for key, instead in FILES.items():
            if app[key]:
                yield (
                    f"apps.{app['name']}.{key}: lies on the application's host, and {host} leads to "
                    f"{', '.join(others)}; remove the key and {instead}"
                )
        for other in others:
            if not is_address(address(places, other)):
                yield (
                    f"slipway_address of {other}: {address(places, other)!r} is no IP address, which Nginx would "
                    "look up at each start; set it"
                )
            weight = str(places["weight"].get(other) or 1)
            if not weight.isdigit() or not 1 <= int(weight) <= MAX_WEIGHT:
                yield f"slipway_weight of {other}: {weight} is not a number from 1 to {MAX_WEIGHT}"


def drain_errors(given: Mapping[str, Any], sites: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with what ``playbooks/drain.yml`` was given, each with the key and the fix.

    Args:
        given: ``host``, ``state`` and ``app``, which is empty for all.
        sites: ``nginx_sites`` of the edge.
    """
    servers = {
        app["name"]: [server["name"] for server in app.get("servers", [])]
        for site in sites
        for app in site["apps"]
    }
    known = sorted({name for names in servers.values() for name in names})
    if not known:
        return [
            "drain: no application has several servers here; there is nothing to send requests to instead. "
            "playbooks/maintenance.yml closes an application"
        ]
    found = []
    if given["host"] not in known:
        found.append(
            f"host: is {given['host'] or 'not given'}; name one with -e host=<name>: {', '.join(known)}"
        )
    if given["state"] not in ("on", "off"):
        found.append(
            f"state: is {given['state'] or 'not given'}; write -e state=on or -e state=off"
        )
    if given["app"] and given["app"] not in servers:
        found.append(
            f"app: is {given['app']}; name one of {', '.join(servers)}, or leave it out for all"
        )
    return found


def drains(places: Places, host: str, apps: Iterable[str]) -> list[dict[str, str]]:
    """Return which edges have to be told, for a host to go away unnoticed, and of which application: those that another
    host has, too.

    Args:
        places: See above.
        host: The application host.
        apps: Its applications.
    """

    def servers(edge: str, app: str) -> list[str]:
        own = edge in places["app"] and app in places["apps"].get(edge, [])
        return [*behind(places, app), *([edge] if own else [])]

    return [
        {"edge": edge, "app": app}
        for edge in places["edge"]
        for app in apps
        if app in places["apps"].get(edge, [])
        and host in behind(places, app)
        and len(servers(edge, app)) > 1
    ]


def drained(sites: list[dict[str, Any]], host: str, app: str = "") -> list[str]:
    """Return the applications of ``nginx_sites`` that a server has, or the one that is named if it does."""
    return [
        one["name"]
        for site in sites
        for one in site["apps"]
        if app in ("", one["name"])
        and host in [server["name"] for server in one.get("servers", [])]
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_address": address,
            "slipway_balanced": balanced,
            "slipway_database_hosts": database_hosts,
            "slipway_database_leaves": database_leaves,
            "slipway_databases_on": databases,
            "slipway_drain_errors": drain_errors,
            "slipway_drained": drained,
            "slipway_drains": drains,
            "slipway_listen": listen,
            "slipway_remote_databases": remote_databases,
            "slipway_place_errors": errors,
            "slipway_trusted": trusted,
        }
