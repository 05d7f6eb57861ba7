"""What is asked of an application during a release is what its entry says, at the address that clients have."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import load


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    """Return the filter."""
    return load("plugins/filter/probe_plan.py")


def entry(**keys: Any) -> dict[str, Any]:
    """Return an application of the inventory."""
    return {
        **{"source": "shop/", "module": "shop:app", "domains": ["shop.org", "www.shop.org"]},
        **{"health": "/up", **keys},
    }


def host(name: str, *apps: str, **variables: Any) -> dict[str, Any]:
    """Return the variables of a host with some applications, all alike."""
    return {
        "inventory_hostname": name,
        "apps": {app: entry(domains=[f"{app}.org"]) for app in apps},
        **variables,
    }


def planned(filters: ModuleType, /, **keys: Any) -> dict[str, Any]:
    """Return the one target of an application with some keys."""
    hosts = {"vm1": {"inventory_hostname": "vm1", "apps": {"shop": entry(**keys)}}}
    plan = filters.probe_plan(hosts, ["vm1"], ["vm1"])
    assert plan["skipped"] == plan["boards"] == {}
    (target,) = plan["targets"]
    assert isinstance(target, dict)
    return target


def test_by_itself_it_is_health_ten_times_a_second_at_the_public_name(
    probe: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").touch()
    variables = {
        **{"inventory_hostname": "vm1", "ansible_host": "203.0.113.1", "nginx_https_port": 8443},
        **{"certificates_ca_fetch_to": str(tmp_path / "ca.pem"), "apps": {"shop": entry()}},
    }
    assert probe.probe_plan({"vm1": variables}, ["vm1"], ["vm1"]) == {
        "targets": [
            {
                **{"name": "shop", "host": "shop.org", "port": 8443},
                **{"addresses": [], "otherwise": ["203.0.113.1"]},
                **{"ca": [str(tmp_path / "ca.pem")], "rate": 10, "clients": 2, "websocket": ""},
                "requests": [
                    {"method": "GET", "path": "/up", "headers": {}, "body": None, "status": [200]}
                ],
            }
        ],
        "skipped": {},
        "boards": {},
    }


def test_an_authority_that_is_not_here_is_none(probe: ModuleType) -> None:
    assert planned(probe)["ca"] == []


def test_it_is_what_the_entry_says(probe: ModuleType) -> None:
    requests = [
        {"path": "/api/items?page=1", "headers": {"X-Number": 7}},
        {"method": "POST", "path": "/api/items", "body": {"id": "{n}"}, "status": [201, 409]},
    ]
    target = planned(probe, probe={"rate": 3, "requests": requests, "websocket": "/ws"})
    get, post = target["requests"]
    assert (target["rate"], target["websocket"]) == (3, "/ws")
    assert (get["method"], get["path"], get["status"]) == ("GET", "/api/items?page=1", [200])
    assert get["headers"] == {"X-Number": "7"} and get["body"] is None
    assert (post["method"], post["body"], post["status"]) == ("POST", {"id": "{n}"}, [201, 409])


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"path": "/shop"}, "/shop/up"),
        ({"path": "/shop", "strip_path": False, "health": "/shop/up"}, "/shop/up"),
        ({"path": "/shop", "strip_path": False, "health": "/up"}, ""),
        ({"frontend": {"path": "dist", "api": ["/v1/", "/up/"]}, "health": "/v1/up"}, "/v1/up"),
        ({"frontend": {"path": "dist"}}, ""),
        ({"frontend": {"path": "dist"}, "path": "/shop", "health": "/api/up"}, "/shop/api/up"),
        (
            {
                **{"frontend": {"path": "dist", "api": ["/shop/api/"]}, "path": "/shop"},
                **{"strip_path": False, "health": "/shop/api/up"},
            },
            "/shop/api/up",
        ),
    ],
)
def test_paths_are_seen_from_outside(probe: ModuleType, keys: dict[str, Any], path: str) -> None:
    if path:
        (request,) = planned(probe, **keys)["requests"]
        assert request["path"] == path
        return
    hosts = {"vm1": {"inventory_hostname": "vm1", "apps": {"shop": entry(**keys)}}}
    assert probe.probe_plan(hosts, ["vm1"], ["vm1"]) == {
        "targets": [],
        "skipped": {
            "shop": "/up isn't reached from outside; name a path that is in apps.shop.probe.requests"
        },
        "boards": {},
    }


def test_one_that_is_not_to_be_asked_is_not(probe: ModuleType) -> None:
    hosts = {"vm1": {"inventory_hostname": "vm1", "apps": {"shop": entry(probe={"rate": 0})}}}
    assert probe.probe_plan(hosts, ["vm1"], ["vm1"])["targets"] == []


def test_a_board_is_where_its_token_is_safe(probe: ModuleType) -> None:
    kept = {"fastapi_app_board": "board", "fastapi_app_board_token": "t0ken"}
    hosts = {
        "vm1": host("vm1", "shop", "board", ansible_host="203.0.113.1", **kept),
        "vm2": host("vm2", "board", ansible_host="203.0.113.2", nginx_https_port=8443, **kept),
        "vm3": host("vm3", "shop", fastapi_app_board="board", fastapi_app_board_token="t0ken"),
    }
    everywhere = list(hosts)
    plan = probe.probe_plan(hosts, everywhere, everywhere)
    assert plan["boards"]["vm1"] == {
        **{"host": "board.org", "port": 443, "otherwise": ["203.0.113.1"], "ca": []},
        **{"path": "/api/deployments", "token": "t0ken"},
    }
    assert plan["boards"]["vm2"]["port"] == 8443
    assert "t0ken" not in str(plan["targets"])
    behind = probe.probe_plan(hosts, ["vm1"], ["vm2"])
    assert behind["boards"]["vm1"]["otherwise"] == ["203.0.113.2"]
    # By a bare port it would go about in the clear.
    assert probe.probe_plan(hosts, everywhere, [])["boards"] == {}
    del hosts["vm1"]["fastapi_app_board_token"]
    assert probe.probe_plan(hosts, ["vm1"], ["vm1"])["boards"] == {}


def test_those_of_the_hosts_that_a_run_is_for(probe: ModuleType) -> None:
    hosts = {"vm1": host("vm1", "a", "b"), "vm2": host("vm2", "b", "c"), "vm3": host("vm3", "d")}

    def found(*arguments: Any) -> dict[str, list[str]]:
        plan = probe.probe_plan(hosts, *arguments)
        return {target["name"]: target["otherwise"] for target in plan["targets"]}

    every = {"a": ["vm1"], "b": ["vm1", "vm2"], "c": ["vm2"]}
    assert found(["vm1", "vm2"], list(hosts)) == every
    assert found(["vm1", "vm2"], list(hosts), "c") == {"c": ["vm2"]}
    # An edge of its own answers for all.
    assert found(["vm1"], ["vm3"]) == {"a": ["vm3"], "b": ["vm3"]}


def test_without_an_edge_each_is_asked_on_its_port_and_without_tls(probe: ModuleType) -> None:
    hosts = {
        "vm1": host("vm1", "a", ansible_host="203.0.113.1", slipway_address="10.0.0.1"),
        "vm2": host("vm2", "a"),
    }
    (target,) = probe.probe_plan(hosts, ["vm1", "vm2"], [])["targets"]
    assert (target["tls"], target["port"], target["ca"]) == (False, 8000, [])
    assert target["otherwise"] == ["10.0.0.1", "vm2"]


def test_an_inventory_with_a_mistake_is_not_refused_here(probe: ModuleType) -> None:
    wrong: list[Any] = [None, {"shop": {}}, {"shop": entry(probe={"rate": -1})}]
    for apps in wrong:
        plan = probe.probe_plan({"vm1": {"apps": apps}}, ["vm1"], ["vm1"])
        assert plan["skipped"] == {"probe": "the inventory can't be read"}
        assert not plan["targets"] and not plan["boards"]
