"""A filter that turns hosts and their applications into what `scripts/probe` drives while a release is under way."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from slipway import App, outside, validated_apps  # plugins are in no package


def requests(app: App) -> list[dict[str, Any]]:
    """Return the requests to send, with their paths as seen from outside; none if health can't be reached there."""
    given = app["probe"]["requests"] or [
        {"method": "GET", "path": app["health"], "headers": {}, "body": None, "status": [200]}
    ]
    return [
        {
            **request,
            "path": outside(app, request["path"]),
            "headers": {str(name): str(value) for name, value in request["headers"].items()},
        }
        for request in given
        if outside(app, request["path"])
    ]


def target(app: App, edges: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an application as `scripts/probe` takes it.

    Args:
        app: The application, as ``slipway_apps`` gives it.
        edges: The variables of the hosts that answer for it.
    """
    edges = list(edges)
    addresses = [found(edge) for edge in edges]
    authorities = [Path(str(edge.get("certificates_ca_fetch_to") or "")) for edge in edges]
    websocket = app["probe"]["websocket"]
    return {
        "name": app["name"],
        "host": app["domains"][0],
        "port": int(edges[0].get("nginx_https_port", 443)),
        "addresses": [],  # where the name leads
        "otherwise": list(dict.fromkeys(addresses)),
        "ca": [str(path) for path in dict.fromkeys(authorities) if path.is_file()],
        "rate": app["probe"]["rate"],
        "clients": 2,
        "requests": requests(app),
        "websocket": outside(app, websocket) if websocket else "",
    }


def found(host: Mapping[str, Any]) -> str:
    """Return where a host is reached from here."""
    return str(host.get("ansible_host") or host["inventory_hostname"])


def bare(app: App, hosts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an application that no edge answers for, as `scripts/probe` takes it: on its own port, without TLS."""
    addresses = [str(host.get("slipway_address") or found(host)) for host in hosts]
    its_own = {"otherwise": addresses, "port": app["port"], "tls": False}
    return {**target(app, [{"ansible_host": "-"}]), **its_own}


def boards(
    hosts: Mapping[str, Mapping[str, Any]],
    apps: Mapping[str, App],
    app_hosts: Iterable[str],
    edge_hosts: Iterable[str],
) -> dict[str, Any]:
    """Return for each host that keeps a board where that takes what is known of a release, and the token for it."""
    found: dict[str, Any] = {}
    edge_hosts = list(edge_hosts)
    for host in app_hosts:
        name, token = (
            str(hosts[host].get(f"fastapi_app_board{key}") or "") for key in ("", "_token")
        )
        path = outside(apps[name], "/api/deployments") if name in apps else ""
        if not token or not path:
            continue
        edges = [hosts[edge] for edge in edge_hosts if edge == host]
        # Without an edge there is no TLS, and the token stays where it is.
        if edges := edges or [hosts[edge] for edge in edge_hosts]:
            where = target(apps[name], edges)
            found[host] = {key: where[key] for key in ("host", "port", "otherwise", "ca")}
            found[host] |= {"path": path, "token": token}
    return found


def why_not(app: App) -> str:
    """Return why an application can't be driven; empty if it can."""
    if not requests(app):
        return (
            f"{app['health']} isn't reached from outside; "
            f"name a path that is in apps.{app['name']}.probe.requests"
        )
    return ""


def probe_plan(
    hosts: Mapping[str, Mapping[str, Any]],
    app_hosts: Iterable[str],
    edge_hosts: Iterable[str],
    only: str = "",
) -> dict[str, Any]:
    """Return what `scripts/probe` takes for the applications of some hosts, and why an application isn't in it.

    One that several hosts have is driven once. Nothing is refused here: what is wrong with an inventory is said by the
    roles, in their words.

    Args:
        hosts: The variables of each host.
        app_hosts: The hosts that a release is for.
        edge_hosts: The hosts that answer.
        only: The one application that it is about; empty for all.

    Returns:
        ``{targets: [...], skipped: {app: why}, boards: {host: {...}}}``; the boards are told at the end.
    """
    plan: dict[str, Any] = {"targets": [], "skipped": {}, "boards": {}}
    app_hosts, edge_hosts = list(app_hosts), list(edge_hosts)
    try:
        apps: dict[str, App] = {}
        having: dict[str, list[str]] = {}
        for host in app_hosts:
            for name, app in validated_apps(hosts[host]["apps"]).items():
                apps[name] = app
                having.setdefault(name, []).append(host)
        for name, app in apps.items():
            if only not in ("", name) or app["probe"]["rate"] == 0:
                continue
            # Its own hosts answer for it, if they are an edge at all.
            edges = [hosts[host] for host in edge_hosts if host in having[name]]
            edges = edges or [hosts[host] for host in edge_hosts]
            if why := why_not(app):
                plan["skipped"][name] = why
            elif edges:
                plan["targets"].append(target(app, edges))
            else:
                plan["targets"].append(bare(app, [hosts[host] for host in having[name]]))
        plan["boards"] = boards(hosts, apps, app_hosts, edge_hosts)
    except (
        Exception
    ):  # Ansible's own, of several kinds, such as for a variable that nobody has defined
        return {"targets": [], "skipped": {"probe": "the inventory can't be read"}, "boards": {}}
    return plan


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {"slipway_probe_plan": probe_plan}
