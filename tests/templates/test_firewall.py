"""The rules of nftables: one table, what is dropped and what is not, and units that bring it back."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .conftest import Host

RULES = "etc/slipway/firewall.nft.j2"
UNIT = "etc/systemd/system/slipway-firewall.service.j2"
DROP_IN = "etc/systemd/system/nftables.service.d/slipway.conf.j2"
PROVEN = "/var/lib/slipway/firewall.nft"
EDGE: list[dict[str, Any]] = [
    {"port": 80, "protocol": "tcp", "from": [], "why": "HTTP"},
    {"port": 443, "protocol": "udp", "from": [], "why": "HTTP/3"},
    {"port": 5432, "protocol": "tcp", "from": ["10.0.0.7", "2001:db8::7"], "why": "PostgreSQL"},
]
ALL: dict[str, Any] = {
    "firewall_rules": EDGE,
    "firewall_allow": [
        {"port": "6000-6010", "from": ["192.0.2.0/24"]},
        {"protocol": "vrrp", "from": ["10.0.0.3", "2001:db8::3"]},
        {"protocol": "esp"},
    ],
    "firewall_ssh_known": ["10.0.0.7", "2001:db8::/64"],
    "firewall_ssh_from": ["198.51.100.0/24", "2001:db8:1::/48"],
    "firewall_log": True,
}
LEAST: dict[str, Any] = {
    "firewall_rules": [],
    "firewall_guests": [],
    "firewall_ssh_per_minute": 0,
}


def chain(text: str, name: str) -> list[str]:
    """Return the statements of a chain."""
    match = re.search(rf"^    chain {name} \{{\n(.*?)^    \}}$", text, re.MULTILINE | re.DOTALL)
    assert match, f"no chain {name} in\n{text}"
    lines = (line.strip() for line in match[1].splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("options", [ALL, LEAST], ids=["all", "least"])
def test_the_rules_are_whole_and_touch_no_table_of_others(
    host: Host, options: dict[str, Any]
) -> None:
    text = host.render("firewall", RULES, **options)
    code = "\n".join(line for line in text.splitlines() if not line.strip().startswith("#"))
    depth = 0
    for mark in re.findall("[{}]", code):
        depth += 1 if mark == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert set(re.findall(r"jump (\w+)", code)) <= set(re.findall(r"chain (\w+)", code))
    assert set(re.findall(r"@(\w+)", code)) == set(re.findall(r"\bset (\w+)", code))

    assert "flush" not in code
    assert set(re.findall(r"\btable (\S+ \S+)", code)) == {"inet slipway"}
    # Made if it isn't there, deleted, and made anew: in one go, and whatever was there.
    said = [line for line in code.splitlines() if "table" in line]
    assert said == ["table inet slipway", "delete table inet slipway", "table inet slipway {"]


def test_what_is_not_allowed_is_dropped_after_others_have_seen_it(host: Host) -> None:
    said = chain(host.render("firewall", RULES), "input")
    assert said[0] == "type filter hook input priority 10; policy drop;"
    assert said[1] == "ct state established,related accept"
    assert not [line for line in said if line == "accept"]


def test_what_the_host_is_there_for_passes_and_from_where_it_may(host: Host) -> None:
    said = chain(host.render("firewall", RULES, **ALL), "input")
    assert [line for line in said if " dport " in line and "sport" not in line] == [
        'ip saddr { 198.51.100.0/24 } tcp dport 22 jump ssh comment "SSH"',
        'ip6 saddr { 2001:db8:1::/48 } tcp dport 22 jump ssh comment "SSH"',
        'tcp dport 80 accept comment "HTTP"',
        'udp dport 443 accept comment "HTTP/3"',
        'ip saddr { 10.0.0.7 } tcp dport 5432 accept comment "PostgreSQL"',
        'ip6 saddr { 2001:db8::7 } tcp dport 5432 accept comment "PostgreSQL"',
        "ip saddr { 192.0.2.0/24 } tcp dport 6000-6010 accept",
    ]
    assert said[-1].startswith("limit rate 6/minute burst 6 packets log prefix ")


def test_the_port_by_which_ansible_comes_is_open_whatever_is_said(host: Host) -> None:
    way_in = {"user": "deploy", "client": "198.51.100.7", "port": "2200"}
    said = chain(
        host.render("firewall", RULES, slipway_way_in=way_in, firewall_ssh_ports=[2222]), "input"
    )
    doors = [line for line in said if "jump ssh" in line]
    assert [line.split()[2] for line in doors] == ["2200", "2222"]


def test_ssh_has_a_limit_for_each_client_or_none(host: Host) -> None:
    said = chain(host.render("firewall", RULES, firewall_ssh_per_minute=7), "ssh")
    assert len([line for line in said if "limit rate over 7/minute burst 7 packets" in line]) == 2
    assert said[-1] == "accept"
    assert chain(host.render("firewall", RULES, firewall_ssh_per_minute=0), "ssh") == ["accept"]


def test_the_way_in_is_found_whatever_a_login_prints(host: Host) -> None:
    said = "Welcome!\r\nas deploy\r\nssh 198.51.100.7 50000 10.0.0.1 2200\r\n"
    templar = Templar(DataLoader(), host.variables("firewall") | {"__reached": {"stdout": said}})
    found = templar.template(trust_as_template("{{ slipway_way_in }}"))
    assert found == {"user": "deploy", "client": "198.51.100.7", "port": "2200"}


def test_hosts_that_know_each_other_come_as_often_as_they_want(host: Host) -> None:
    known = ["10.0.0.7", "2001:db8::7", "10.0.0.8"]
    said = chain(host.render("firewall", RULES, firewall_ssh_known=known), "ssh")
    assert said[:2] == [
        "ip saddr { 10.0.0.7, 10.0.0.8 } accept",
        "ip6 saddr { 2001:db8::7 } accept",
    ]
    none = chain(
        host.render("firewall", RULES, firewall_ssh_known=known, firewall_ssh_per_minute=0), "ssh"
    )
    assert none == ["accept"]


def test_ipv6_has_its_neighbours_and_its_router(host: Host) -> None:
    text = host.render("firewall", RULES, **LEAST)
    for needed in ("nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-advert"):
        assert needed in text
    # A guest's first question is for its router, which is this host.
    assert any(
        "nd-router-solicit" in line for line in chain(host.render("firewall", RULES), "guests")
    )


def test_other_rules_have_another_name(host: Host) -> None:
    def name(**options: Any) -> str:
        match = re.search(
            r'^    comment "rules ([0-9a-f]{16})"$',
            host.render("firewall", RULES, **options),
            re.MULTILINE,
        )
        assert match
        return match[1]

    assert name() == name() != name(firewall_log=True)


@pytest.mark.skipif(not shutil.which("nft"), reason="this machine has no nft")
@pytest.mark.parametrize("options", [ALL, LEAST], ids=["all", "least"])
def test_nft_reads_the_rules(host: Host, options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "firewall.nft"
    path.write_text(host.render("firewall", RULES, **options))
    # In a network of its own: it asks the kernel, and changes nothing.
    command = ["unshare", "--net", "--map-root-user", "nft", "-c", "-f", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_the_units_load_what_was_proved_and_nothing_else(host: Host) -> None:
    unit, drop_in = host.render("firewall", UNIT), host.render("firewall", DROP_IN)
    assert f"ExecStart=/usr/sbin/nft -f {PROVEN}\n" in unit
    assert f"ConditionPathExists={PROVEN}\n" in unit
    assert "Before=network-pre.target\n" in unit
    # Debian's unit keeps its own commands: these come after them.
    commands = [line for line in drop_in.splitlines() if line.startswith("Exec")]
    assert commands == [
        f"ExecStartPost=-/usr/sbin/nft -f {PROVEN}",
        f"ExecReload=-/usr/sbin/nft -f {PROVEN}",
    ]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd")
def test_systemd_has_no_complaint_about_the_unit(host: Host, tmp_path: Path) -> None:
    unit = tmp_path / "slipway-firewall.service"
    # What it starts may not be on this machine.
    unit.write_text(host.render("firewall", UNIT).replace("/usr/sbin/nft", "/bin/true"))
    said = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert [line for line in said.stderr.splitlines() if unit.name in line] == []


SHARED = "container: docker\r\nnetwork: of the machine\r\n"
OWN = "container: docker\r\n"
MACHINE = "container: none\r\nnetwork: of the machine\r\n"


@pytest.mark.parametrize(("look", "refused"), [(SHARED, True), (OWN, False), (MACHINE, False)])
def test_a_container_in_the_machines_network_does_not_filter_for_the_machine(
    host: Host, look: str, refused: bool
) -> None:
    task, given = "Refuse to filter what comes in to somebody else", {"stdout": look}
    assert host.refuses("firewall", task, __firewall_look=given) is refused
    assert not host.refuses("firewall", task, __firewall_look=given, firewall_enabled=False)


@pytest.mark.parametrize(
    ("look", "left"),
    [
        (MACHINE, False),
        (f"{MACHINE}loaded: a table\r\n", True),
        (f"{MACHINE}{'a' * 64}  /etc/slipway/firewall.nft\r\n", True),
        # The machine's own table stays; what lies in the container itself is its own.
        (f"{SHARED}loaded: a table\r\n", False),
        (f"{SHARED}{'a' * 64}  /etc/slipway/firewall.nft\r\n", True),
    ],
)
def test_what_is_taken_away_is_ones_own(host: Host, look: str, left: bool) -> None:
    templar = Templar(
        DataLoader(), host.variables("firewall") | {"__firewall_look": {"stdout": look}}
    )
    assert templar.template(trust_as_template("{{ __firewall_left }}")) is left


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, []),
        ({"ssh_port": 2222}, [2222]),
        ({"ssh_port": 2222, "ssh_enabled": False}, []),
        ({"hostvars": {"host1": {"firewall_ssh_ports": [2200]}}}, [2200]),
        (
            {"hostvars": {"host1": {"firewall_ssh_ports": [2200]}}, "ssh_port": 2222},
            [2200, 2222],
        ),
    ],
)
def test_ports_of_ssh_are_those_of_the_inventory_and_the_one_that_sshd_is_given(
    host: Host, given: dict[str, Any], ports: list[int]
) -> None:
    templar = Templar(DataLoader(), host.variables("firewall") | given)
    assert templar.template(trust_as_template("{{ firewall_ssh_ports }}")) == ports


def test_a_connection_that_proves_something_is_none_of_the_kept_ones(host: Host) -> None:
    config = {"__firewall_args": "-o ControlMaster=auto"}
    task = "Refuse arguments of ssh that no task can add to"
    assert not host.refuses("firewall", task, **config)
    # By -e.
    assert host.refuses("firewall", task, ansible_ssh_args="-o ControlPersist=60s", **config)
