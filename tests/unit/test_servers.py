"""From the inventory's groups follows who listens where, who leads to whom, and what can't be."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from .conftest import load

APP = {"source": "shop/", "module": "shop:app", "domains": ["shop.org"]}

FAR = {"name": "shop", "via": "tcp", "password": "0123456789abcdef"}


@pytest.fixture(scope="module")
def servers() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/servers.py")


def places(**given: Any) -> dict[str, Any]:
    """Return hosts in groups, each with the application ``shop``."""
    hosts = {host for key in ("app", "edge", "db") for host in given.get(key, [])}
    empty: dict[str, Any] = {"app": [], "edge": [], "db": [], "cores": {}}
    return {
        **{**empty, "address": {}, "weight": {}, "apps": {host: ["shop"] for host in hosts}},
        "reached": {host: f"10.0.0.{number}" for number, host in enumerate(sorted(hosts), 1)},
        **given,
    }


def test_secrets_that_several_hosts_would_make_up_each_for_itself_are_refused(
    servers: ModuleType, filters: ModuleType
) -> None:
    apps = filters.validated_apps({"shop": APP | {"secrets_generated": ["KEY"]}})
    several = places(app=["a", "b"], edge=["e"])
    (error,) = servers.errors(apps, several, "a")
    assert error.startswith("apps.shop.secrets_generated: a, b would each make up their own")
    assert servers.errors(apps, places(app=["a"], edge=["a"]), "a") == []
    assert servers.errors(filters.validated_apps({"shop": APP}), several, "a") == []


def test_hosts_that_have_an_edge_and_a_database_each_are_not_one_service(
    servers: ModuleType, filters: ModuleType
) -> None:
    own = APP | {"secrets_generated": ["KEY"], "database": {"name": "shop"}}
    apps = filters.validated_apps({"shop": own})
    assert servers.errors(apps, places(app=["a", "b"], edge=["a", "b"], db=["a", "b"]), "a") == []
    shared = filters.validated_apps({"shop": own | {"database": {"name": "shop", "host": "a"}}})
    without = filters.validated_apps({"shop": APP | {"secrets_generated": ["KEY"]}})
    for several, given in (
        (places(app=["a", "b"], edge=["a", "b"], db=["a", "b"]), shared),
        (places(app=["a", "b"], edge=["a", "b"]), without),
        (places(app=["a", "b"], edge=["a"], db=["a", "b"]), apps),
    ):
        assert [one for one in servers.errors(given, several, "a") if "make up their own" in one]


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
        ({"accel": {"path": "logs"}}, {"app": ["a"]}, "a", "apps.shop.accel: takes an edge"),
        ({"path": "/shop"}, {"app": ["a"]}, "a", "apps.shop.path: takes an edge"),
        ({"database": {"name": "shop"}}, {"app": ["a"]}, "a", "a is not in the group db, nor is"),
        (
            {"database": {"name": "shop"}},
            {"app": ["a"], "db": ["d"]},
            "a",
            "is on d, not on a; set via",
        ),
        (
            {"database": FAR},
            {"app": ["a"], "db": ["d", "e"]},
            "a",
            "has d, e, and a is none of them",
        ),
        ({"database": {**FAR, "host": "x"}}, {"app": ["a"], "db": ["d"]}, "a", "name one of d"),
        (
            {"database": FAR},
            {"app": ["a"], "db": ["d"], "reached": {"a": "10.0.0.1", "d": "d.org"}},
            "a",
            "slipway_address of d: 'd.org' is no IP address",
        ),
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


@pytest.mark.parametrize(
    ("keys", "cores", "most"),
    [
        ({}, {"a": "2", "b": 4}, [256, 512]),
        ({}, {"a": "2"}, [256, None]),  # nobody has asked b
        ({}, {}, [None, None]),
        ({"workers": 3}, {"a": "2"}, [384, 384]),
        ({"max_in_flight": 40}, {"a": "2"}, [40, 40]),
        ({"max_in_flight": 0}, {"a": "2"}, [None, None]),
    ],
)
def test_each_host_has_as_many_requests_at_once_as_its_workers_take(
    servers: ModuleType,
    filters: ModuleType,
    keys: dict[str, Any],
    cores: dict[str, Any],
    most: list[int | None],
) -> None:
    apps = filters.validated_apps({"shop": {**APP, **keys}})

    def locations(host: str, **groups: Any) -> list[dict[str, Any]]:
        given = places(**groups, cores=cores)
        (site,) = servers.balanced(filters.sites(apps), apps, given, host)
        (app,) = site["apps"]
        return list(app.get("servers", [app]))

    behind = locations("e", app=["a", "b"], edge=["e"])
    assert [server.get("max_in_flight") for server in behind] == most
    (alone,) = locations("a", app=["a"], edge=["a"])
    assert alone.get("max_in_flight") == most[0]


def test_draining_marks_a_server_for_all_that_is_asked_of_it() -> None:
    drain = load("roles/nginx/library/drain.py")
    servers = "    # a\n    server 10.0.0.1:80 max_conns=8;\n    # b\n    server 10.0.0.2:80;\n"
    block = f"upstream slipway_{{}} {{{{\n{servers}}}}}\n"
    text = "".join(block.format(name) for name in ("shop", "shop.open", "shop_open", "shop-open"))
    marked = drain.marked(text, "shop", "a", True)
    assert marked.count("server 10.0.0.1:80 max_conns=8 down;") == 2
    assert marked.endswith("".join(block.format(name) for name in ("shop_open", "shop-open")))
    assert drain.left(marked, "shop") == ["b"] and drain.left(marked, "shop_open") == ["a", "b"]
    assert drain.marked(marked, "shop", "a", False) == text


@pytest.mark.parametrize(
    ("groups", "host", "told"),
    [
        ({"app": ["a", "b"], "edge": ["e", "f"]}, "a", ["e", "f"]),
        ({"app": ["a", "b"], "edge": ["a"]}, "b", ["a"]),  # the edge takes over itself
        ({"app": ["a", "b"], "edge": ["a"]}, "a", []),  # its requests come by its own socket
        ({"app": ["a"], "edge": ["e"]}, "a", []),  # nobody could
        ({"app": ["a", "b"]}, "a", []),  # nobody leads
        ({"app": ["a", "b"], "edge": ["e"]}, "e", []),
    ],
)
def test_a_host_goes_away_unnoticed_where_another_can_take_its_requests(
    servers: ModuleType, groups: dict[str, Any], host: str, told: list[str]
) -> None:
    found = servers.drains(places(**groups), host, ["shop"])
    assert found == [{"edge": edge, "app": "shop"} for edge in told]
    assert servers.drains(places(**groups), host, []) == []


def test_what_is_drained_must_be_a_server(servers: ModuleType) -> None:
    site = {"apps": [{"name": "shop", "servers": [{"name": "a"}, {"name": "b"}]}]}
    good = {"host": "a", "state": "on", "app": ""}
    assert servers.drain_errors(good, [site]) == []
    assert servers.drained([site], "a") == ["shop"] and servers.drained([site], "c") == []
    for wrong in ({"host": "c"}, {"state": ""}, {"app": "blog"}):
        assert len(servers.drain_errors({**good, **wrong}, [site])) == 1
    assert "several servers" in servers.drain_errors(good, [{"apps": [{"name": "shop"}]}])[0]


def test_a_database_on_another_host(servers: ModuleType, filters: ModuleType) -> None:
    where = places(app=["a", "b"], db=["d"])
    given = {"shop": {**APP, "database": FAR, "workers": 2}}
    apps = {host: filters.validated_apps(given) for host in ("a", "b")}
    wanted = servers.databases(where, "d", apps, {}, {"a": 2, "b": 2})
    assert [(one["name"], one["user"], one["connections"], one["clients"]) for one in wanted] == [
        ("shop", "shop", 32, ["10.0.0.1", "10.0.0.2"])
    ]
    assert servers.database_leaves(wanted, where, "d") == [
        {"name": "postgresql", "domains": ["d"], "addresses": ["10.0.0.3"]}
    ]
    way = {"host": "d", "address": "10.0.0.3", "authority": "/etc/slipway/database/d.pem"}
    assert servers.remote_databases(apps["a"], where, "a") == {"shop": {**way, "migrates": True}}
    assert servers.remote_databases(apps["b"], where, "b") == {"shop": {**way, "migrates": False}}
    assert servers.errors(apps["a"], where, "a") == []

    env = filters.environment(apps["a"]["shop"], "r", server=way)
    tls = "sslmode=verify-full&sslrootcert=/etc/slipway/database/d.pem"
    assert env["DATABASE_URL"] == f"postgresql://shop:0123456789abcdef@10.0.0.3:5432/shop?{tls}"
    assert (env["PGSSLMODE"], env["PGSSLROOTCERT"]) == ("verify-full", way["authority"])


def test_a_database_on_its_own_host_has_no_clients(
    servers: ModuleType, filters: ModuleType
) -> None:
    where = places(app=["a"], db=["a"], edge=["a"])
    apps = {"a": filters.validated_apps({"shop": {**APP, "database": {"name": "shop"}}})}
    gone = {
        "a": filters.validated_apps(
            {"old": {"state": "absent", "delete_data": True, "database": {"name": "old"}}}, "absent"
        )
    }
    wanted = servers.databases(where, "a", apps, gone, {"a": 4})
    assert [(one["name"], one["state"], one["connections"], one["clients"]) for one in wanted] == [
        ("shop", "present", 32, []),
        ("old", "absent", 0, []),
    ]
    assert servers.database_leaves(wanted, where, "a") == []
    assert servers.remote_databases(apps["a"], where, "a") == {}


@pytest.mark.parametrize("going", ["a", "b"])
def test_a_database_stays_while_any_host_has_its_application(
    servers: ModuleType, filters: ModuleType, going: str
) -> None:
    where = places(app=["a", "b"], db=["d"])
    gone = {"shop": {"state": "absent", "delete_data": True, "database": FAR}}
    given = {"shop": {**APP, "database": {**FAR, "extensions": ["pg_trgm"]}, "workers": 2}}
    (staying,) = {"a", "b"} - {going}
    apps = {going: {}, staying: filters.validated_apps(given)}
    absent = {going: filters.validated_apps(gone, "absent"), staying: {}}
    (one,) = servers.databases(where, "d", apps, absent, {})
    assert (one["state"], one["connections"], one["extensions"]) == ("present", 16, ["pg_trgm"])
    assert one["clients"] == [where["reached"][staying]]

    both = dict.fromkeys(("a", "b"), filters.validated_apps(gone, "absent"))
    (one,) = servers.databases(where, "d", {}, both, {})
    assert (one["state"], one["clients"]) == ("absent", [])


def test_a_database_of_two_applications_is_on_the_list_twice(
    servers: ModuleType, filters: ModuleType
) -> None:
    """So that preflight refuses it, which sees one host's applications at a time otherwise."""
    where = places(app=["a", "b"], db=["d"], apps={"a": ["shop"], "b": ["till"]})
    apps = {
        host: filters.validated_apps({name: {**APP, "database": FAR}})
        for host, name in (("a", "shop"), ("b", "till"))
    }
    wanted = servers.databases(where, "d", apps, {}, {})
    assert [(one["name"], one["user"]) for one in wanted] == [("shop", "shop"), ("shop", "till")]
