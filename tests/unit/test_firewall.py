"""What may come in to a host follows from what the inventory says of it, and nothing else may."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from .conftest import load

SHOP: dict[str, Any] = {"name": "shop", "port": 8000}
TILL: dict[str, Any] = {"name": "till", "port": 8001}
APPS = {"shop": SHOP, "till": TILL}

# As ss -Hltunp writes it.
LISTENING = """\
udp   UNCONN 0      0          10.0.2.15%eth0:68        0.0.0.0:*    users:(("systemd-network",pid=201,fd=18))
udp   UNCONN 0      0                 0.0.0.0:5353      0.0.0.0:*    users:(("avahi-daemon",pid=512,fd=12))
udp   UNCONN 0      0           127.0.0.53%lo:53        0.0.0.0:*    users:(("systemd-resolve",pid=301,fd=13))
tcp   LISTEN 0      128               0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=700,fd=3))
tcp   LISTEN 0      128                  [::]:22           [::]:*    users:(("sshd",pid=700,fd=4))
tcp   LISTEN 0      128               0.0.0.0:2200      0.0.0.0:*    users:(("sshd",pid=700,fd=5))
tcp   LISTEN 0      128             127.0.0.1:6010      0.0.0.0:*    users:(("sshd",pid=900,fd=7))
tcp   LISTEN 0      4096                    *:9100            *:*    users:(("node_exporter",pid=800,fd=3))
tcp   LISTEN 0      244             127.0.0.1:5432      0.0.0.0:*    users:(("postgres",pid=820,fd=6))
tcp   LISTEN 0      244                 [::1]:5432         [::]:*    users:(("postgres",pid=820,fd=5))
tcp   LISTEN 0      511               0.0.0.0:443       0.0.0.0:*
"""


@pytest.fixture(scope="module")
def firewall() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/firewall.py")


def places(**groups: list[str]) -> dict[str, Any]:
    """Return the places of hosts that are called as the end of their address: h7 is 10.0.0.7."""
    everybody = {host for hosts in groups.values() for host in hosts}
    return {
        "app": [],
        "edge": [],
        "db": [],
        "address": {},
        "reached": {host: f"10.0.0.{host[1:]}" for host in everybody},
        "weight": {},
        "cores": {},
        "apps": {host: list(APPS) for host in groups.get("app", [])},
        **groups,
    }


def doors(found: list[dict[str, Any]]) -> list[tuple[int, str, list[str]]]:
    """Return the rules without their reasons."""
    return [(rule["port"], rule["protocol"], rule["from"]) for rule in found]


def test_one_host_that_is_all_lets_its_clients_in_and_nobody_else(firewall: ModuleType) -> None:
    where = places(app=["h1"], edge=["h1"], db=["h1"])
    databases = [{"name": "goods", "clients": []}, {"name": "old"}]
    found = firewall.rules(where, "h1", APPS, databases, http3=True)
    assert doors(found) == [(80, "tcp", []), (443, "tcp", []), (443, "udp", [])]


def test_the_edge_has_the_ports_that_nginx_has(firewall: ModuleType) -> None:
    where = places(app=["h2"], edge=["h1"])
    found = firewall.rules(where, "h1", APPS, [], http_port=8080, https_port=8443)
    assert doors(found) == [(8080, "tcp", []), (8443, "tcp", [])]


def test_applications_behind_edges_are_open_to_these_alone(firewall: ModuleType) -> None:
    where = places(app=["h3", "h4"], edge=["h1", "h2"])
    edges = ["10.0.0.1", "10.0.0.2"]
    assert doors(firewall.rules(where, "h3", APPS, [])) == [
        (8000, "tcp", edges),
        (8001, "tcp", edges),
    ]


def test_applications_without_an_edge_are_open_to_everybody(firewall: ModuleType) -> None:
    assert doors(firewall.rules(places(app=["h3"]), "h3", {"shop": SHOP}, [])) == [
        (8000, "tcp", [])
    ]


def test_a_database_is_open_to_the_hosts_of_its_applications_alone(firewall: ModuleType) -> None:
    where = places(app=["h3", "h4"], edge=["h1"], db=["h5"])
    databases = [
        {"name": "goods", "clients": ["10.0.0.4", "10.0.0.3"]},
        {"name": "till", "clients": ["10.0.0.3"]},
    ]
    assert doors(firewall.rules(where, "h5", {}, databases)) == [
        (5432, "tcp", ["10.0.0.3", "10.0.0.4"])
    ]


def test_a_host_in_no_group_has_nothing_to_let_in(firewall: ModuleType) -> None:
    assert firewall.rules(places(app=["h3"], edge=["h1"]), "h9", APPS, []) == []


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ({"port": 9100}, ["tcp dport 9100 accept"]),
        ({"port": "6000-6010", "protocol": "udp"}, ["udp dport 6000-6010 accept"]),
        (
            {"port": 9100, "from": ["10.0.0.5", "2001:db8::/32"]},
            [
                "ip saddr { 10.0.0.5 } tcp dport 9100 accept",
                "ip6 saddr { 2001:db8::/32 } tcp dport 9100 accept",
            ],
        ),
        # A set takes no element that another covers.
        (
            {"port": 1, "from": ["10.0.0.5", "10.0.0.0/8", "10.0.0.5"]},
            ["ip saddr { 10.0.0.0/8 } tcp dport 1 accept"],
        ),
        ({"protocol": "esp"}, ["meta l4proto 50 accept"]),
        (
            {"protocol": "vrrp", "from": ["10.0.0.3"], "why": "keepalived"},
            ['ip saddr { 10.0.0.3 } meta l4proto 112 accept comment "keepalived"'],
        ),
        ({"port": 1, "why": 'so "it" is;'}, ['tcp dport 1 accept comment "so it is"']),
    ],
)
def test_a_rule_is_a_line_for_each_family(
    firewall: ModuleType, rule: dict[str, Any], lines: list[str]
) -> None:
    assert firewall.statements(rule) == lines


def test_hosts_of_the_inventory_are_known_by_their_addresses(firewall: ModuleType) -> None:
    where = places(app=["h3", "h4"], edge=["h1"])
    assert firewall.known(where) == ["10.0.0.1", "10.0.0.3", "10.0.0.4"]
    by_name = {"address": {"h1": "", "h2": ""}, "reached": {"h1": "", "h2": "2001:db8::2"}}
    assert firewall.known(by_name) == ["2001:db8::2"]


def test_what_is_let_in_may_be_looked_at_further(firewall: ModuleType) -> None:
    assert firewall.statements({"port": 22}, "jump ssh") == ["tcp dport 22 jump ssh"]


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ({"port": 0}, "firewall_allow[0].port: 0 is no port"),
        ({"port": 65536}, "firewall_allow[0].port: 65536 is no port"),
        ({"port": "10-9"}, "firewall_allow[0].port: 10-9 is no port"),
        ({"port": "http"}, "firewall_allow[0].port: http is no port"),
        ({"port": "1 accept"}, "firewall_allow[0].port: 1 accept is no port"),
        ({"protocol": "tcp"}, "firewall_allow[0].port: nothing is no port"),
        ({"port": 1, "protocol": "sctp"}, "firewall_allow[0].protocol: is sctp; write tcp or udp"),
        ({"port": 112, "protocol": "vrrp"}, "firewall_allow[0].port: vrrp has no ports; leave it"),
        ({"protocol": "udp"}, "firewall_allow[0].port: nothing is no port"),
        ({"port": 1, "from": ["db1"]}, "firewall_allow[0].from: 'db1' is no address"),
        ({"port": 1, "from": ["10.0.0.1/8"]}, "firewall_allow[0].from: '10.0.0.1/8' is no address"),
    ],
)
def test_what_is_no_rule_is_said_with_where_it_stands(
    firewall: ModuleType, rule: dict[str, Any], wrong: str
) -> None:
    (found,) = firewall.errors([rule], "firewall_allow")
    assert found.startswith(wrong)


def test_what_is_a_rule_is_not_complained_of(firewall: ModuleType) -> None:
    given = [
        {"port": "1-65535"},
        {"protocol": "gre"},
        {"port": "", "protocol": "ospf"},
        {"port": 53, "protocol": "udp", "from": ["::1", "10.0.0.0/8"]},
    ]
    assert firewall.errors(given, "firewall_allow") == []


@pytest.mark.parametrize(
    ("client", "sources", "may"),
    [
        ("198.51.100.7", [], True),
        ("198.51.100.7", ["198.51.100.0/24"], True),
        ("198.51.100.7", ["198.51.100.8", "2001:db8::/32"], False),
        ("2001:db8::7", ["198.51.100.8", "2001:db8::/32"], True),
        ("nowhere", ["198.51.100.8"], False),
    ],
)
def test_whoever_runs_this_is_within_what_is_allowed_or_not(
    firewall: ModuleType, client: str, sources: list[str], may: bool
) -> None:
    assert firewall.within(client, sources) is may


def test_what_others_reach_today_and_will_not_is_named(firewall: ModuleType) -> None:
    given = [{"port": 443, "protocol": "tcp", "from": []}]
    assert firewall.closed(LISTENING, given, [22]) == [
        "5353/udp (avahi-daemon)",
        "2200/tcp (sshd)",
        "9100/tcp (node_exporter)",
    ]
    more = [
        *given,
        {"protocol": "vrrp"},
        {"port": 5353, "protocol": "udp"},
        {"port": "9000-9200", "from": ["10.0.0.5"]},
    ]
    assert firewall.closed(LISTENING, more, [22, 2200]) == []


def test_ssh_has_the_ports_that_it_listens_on_unless_they_are_given_and_always_the_one_in_use(
    firewall: ModuleType,
) -> None:
    assert firewall.ssh_ports(LISTENING, [], 22) == [22, 2200]
    assert firewall.ssh_ports(LISTENING, [2200], 22) == [22, 2200]
    assert firewall.ssh_ports(LISTENING, ["2200"], 2200) == [2200]  # as an inventory may have it
    assert firewall.ssh_ports("", [], 22) == [22]
