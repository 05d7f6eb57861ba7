"""From the inventory's groups follows who listens where, who leads to whom, and what can't be."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from .conftest import load

APP = {"source": "shop/", "module": "shop:app", "domains": ["shop.org"]}


@pytest.fixture(scope="module")
def servers() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/servers.py")


def places(**given: Any) -> dict[str, Any]:
    """Return hosts in groups, each with the application ``shop``."""
    hosts = {host for key in ("app", "edge", "db") for host in given.get(key, [])}
    empty: dict[str, Any] = {"app": [], "edge": [], "db": []}
    return {
        **{**empty, "address": {}, "weight": {}, "apps": {host: ["shop"] for host in hosts}},
        "reached": {host: f"10.0.0.{number}" for number, host in enumerate(sorted(hosts), 1)},
        **given,
    }


@pytest.mark.parametrize(
    ("groups", "host", "listen", "trusted"),
    [
        ({"app": ["a"], "edge": ["a"]}, "a", [], []),
        ({"app": ["a"]}, "a", ["0.0.0.0", "::"], []),
        ({"app": ["a", "b"], "edge": ["e"]}, "a", ["0.0.0.0", "::"], ["10.0.0.3"]),
        (
            {"app": ["a"], "edge": ["e"], "address": {"a": "10.1.0.1"}},
            "a",
            ["10.1.0.1"],
            ["10.0.0.2"],
        ),
        ({"app": ["a"], "edge": ["e"]}, "e", [], []),
        ({"app": ["a", "b"], "edge": ["a"]}, "a", [], []),
        ({"app": ["a", "b"], "edge": ["a"]}, "b", ["0.0.0.0", "::"], ["10.0.0.1"]),
    ],
)
def test_a_port_is_open_where_others_ask_and_only_edges_are_believed(
    servers: ModuleType, groups: dict[str, Any], host: str, listen: list[str], trusted: list[str]
) -> None:
    assert servers.listen(places(**groups), host) == listen
    assert servers.trusted(places(**groups), host) == trusted


def led(servers: ModuleType, filters: ModuleType, host: str, **given: Any) -> dict[str, Any]:
    """Return where an edge leads for the one application."""
    apps = filters.validated_apps({"shop": {**APP, "port": 9000, "balance": "least_conn"}})
    (site,) = servers.balanced(filters.sites(apps), apps, places(**given), host)
    (app,) = site["apps"]
    assert isinstance(app, dict)
    return app


def test_an_edge_of_its_own_leads_to_every_host(servers: ModuleType, filters: ModuleType) -> None:
    more = {"weight": {"b": 3}, "address": {"a": "2001:db8::1"}}
    app = led(servers, filters, "e", app=["a", "b"], edge=["e"], **more)
    assert app["servers"] == [
        {"name": "a", "address": "[2001:db8::1]:9000", "weight": 1},
        {"name": "b", "address": "10.0.0.2:9000", "weight": 3},
    ]
    assert app["balance"] == "least_conn" and "upstream" not in app


def test_an_edge_that_is_one_of_several_hosts_takes_its_part_by_the_socket(
    servers: ModuleType, filters: ModuleType
) -> None:
    app = led(servers, filters, "a", app=["a", "b"], edge=["a"])
    assert [one["address"] for one in app["servers"]] == [
        "unix:/srv/shop/live/app.sock",
        "10.0.0.2:9000",
    ]


@pytest.mark.parametrize("hosts", [["a"], ["a", "b"]])
def test_hosts_that_are_their_own_edge_stay_by_themselves(
    servers: ModuleType, filters: ModuleType, hosts: list[str]
) -> None:
    app = led(servers, filters, "a", app=hosts, edge=hosts)
    assert app["upstream"] == "unix:/srv/shop/live/app.sock" and "servers" not in app


@pytest.mark.parametrize(
    ("keys", "groups", "host", "message"),
    [
        ({"static": {"path": "static/"}}, {"app": ["a"]}, "a", "apps.shop.static: takes an edge"),
        ({"frontend": {"path": "dist/"}}, {"app": ["a"]}, "a", "apps.shop.frontend: takes"),
        ({"path": "/shop"}, {"app": ["a"]}, "a", "apps.shop.path: takes an edge"),
        ({"database": {"name": "shop"}}, {"app": ["a"]}, "a", "a is not in the group db"),
        ({"static": {"path": "s/"}}, {"app": ["a"], "edge": ["e"]}, "e", "lies on the application"),
        ({}, {"edge": ["e"]}, "e", "e is an edge without anything to lead to for shop"),
        ({}, {"app": ["a"], "edge": ["e"], "weight": {"a": 0.5}}, "e", "slipway_weight of a: 0.5"),
        ({}, {"app": ["a"], "edge": ["e"], "reached": {}}, "e", "slipway_address of a: 'a' is no"),
        ({}, {"app": ["a"], "edge": ["e"], "reached": {}}, "a", "slipway_address of e: 'e' is no"),
    ],
)
def test_what_can_not_be_is_told_with_the_key_and_the_fix(
    servers: ModuleType,
    filters: ModuleType,
    keys: dict[str, Any],
    groups: dict[str, Any],
    host: str,
    message: str,
) -> None:
    apps = filters.validated_apps({"shop": {**APP, **keys}})
    errors = servers.errors(apps, places(**groups), host)
    assert any(message in error for error in errors), errors


def test_two_with_one_port_are_told_apart_only_where_it_is_open(
    servers: ModuleType, filters: ModuleType
) -> None:
    apps = filters.validated_apps({"shop": APP, "blog": {**APP, "domains": ["blog.org"]}})
    (error,) = servers.errors(apps, places(app=["a"]), "a")
    assert error.startswith("apps.shop.port, apps.blog.port: 8000 is listed 2 times")
    assert servers.errors(apps, places(app=["a"], edge=["a"]), "a") == []


def test_what_is_drained_must_be_a_server(servers: ModuleType) -> None:
    site = {"apps": [{"name": "shop", "servers": [{"name": "a"}, {"name": "b"}]}]}
    good = {"host": "a", "state": "on", "app": ""}
    assert servers.drain_errors(good, [site]) == []
    assert servers.drained([site], "a") == ["shop"] and servers.drained([site], "c") == []
    for wrong in ({"host": "c"}, {"state": ""}, {"app": "blog"}):
        assert len(servers.drain_errors({**good, **wrong}, [site])) == 1
    assert "several servers" in servers.drain_errors(good, [{"apps": [{"name": "shop"}]}])[0]
