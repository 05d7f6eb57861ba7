"""Filters that tell what may come in to a host, and write it as nftables does.

A rule is ``port`` (a number, or a range such as ``6000-6010``), ``protocol`` (``tcp``, ``udp``, or one that has no
ports, and then no ``port``), ``from`` (addresses and networks of those who may; empty is everybody) and ``why``, a few
words.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import servers  # plugins are in no package
from servers import Places
from slipway import App

Rule = dict[str, Any]

POSTGRESQL = 5432
MAX_PORT = 65535
# By their numbers, since a host may have no /etc/protocols.
WITHOUT_PORTS = {"ah": 51, "esp": 50, "gre": 47, "ospf": 89, "vrrp": 112}
# Where a host is told its address by DHCP, which the template lets in.
DHCP = {"68/udp", "546/udp"}


def rules(
    places: Places,
    host: str,
    apps: Mapping[str, App],
    databases: Iterable[Mapping[str, Any]],
    http_port: int = 80,
    https_port: int = 443,
    http3: bool = False,
) -> list[Rule]:
    """Return ``firewall_rules`` of a host: what the others and its clients need of it, and nothing else.

    Args:
        places: As ``plugins/filter/servers.py`` has it.
        host: The host.
        apps: Its applications, as ``slipway_apps`` gives them.
        databases: What ``postgresql_databases`` takes there, with ``clients`` on other hosts.
        http_port: Where Nginx listens, if the host is an edge.
        https_port: The same, for HTTPS.
        http3: Whether Nginx listens there by UDP, too.
    """
    found: list[Rule] = []
    if host in places["edge"]:
        found += [_rule(http_port, "HTTP"), _rule(https_port, "HTTPS")]
        found += [_rule(https_port, "HTTP/3", protocol="udp")] if http3 else []
    if servers.listen(places, host):
        edges = servers.trusted(places, host)
        why = "from the edge" if edges else "from everybody, as there is no edge"
        found += [_rule(app["port"], f"{name} {why}", edges) for name, app in apps.items()]
    clients = sorted({client for one in databases for client in one.get("clients", [])})
    if clients:
        found.append(_rule(POSTGRESQL, "PostgreSQL from the applications", clients))
    return found


def known(places: Places) -> list[str]:
    """Return ``firewall_ssh_known``: the addresses of the inventory's hosts, as far as they are given as such.

    Archiving and restoring open a connection for each segment of WAL, to whichever of them keeps the backups.
    """
    found = {servers.address(places, host) for host in {**places["address"], **places["reached"]}}
    return sorted(filter(servers.is_address, found))


def _rule(port: int, why: str, sources: Iterable[str] = (), protocol: str = "tcp") -> Rule:
    """Return a rule."""
    return {"port": int(port), "protocol": protocol, "from": list(sources), "why": why}


def errors(given: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Return what is wrong with rules that somebody has written, each with the key and the fix."""
    found = []
    for position, rule in enumerate(given):
        where = f"{key}[{position}]"
        protocol = rule.get("protocol", "tcp")
        if protocol in WITHOUT_PORTS:
            if rule.get("port"):
                found.append(f"{where}.port: {protocol} has no ports; leave it out")
        elif not _ports(rule.get("port", "")):
            found.append(
                f"{where}.port: {rule.get('port', 'nothing')} is no port; write a number from 1 to {MAX_PORT}, or a "
                "range such as 6000-6010"
            )
        if protocol not in ("tcp", "udp", *WITHOUT_PORTS):
            known = " or ".join(["tcp", "udp", *WITHOUT_PORTS])
            found.append(f"{where}.protocol: is {protocol}; write {known}")
        found += source_errors(rule.get("from", []), f"{where}.from")
    return found


def source_errors(given: Iterable[str], key: str) -> list[str]:
    """Return what is wrong with a list of addresses and networks."""
    return [
        f"{key}: {source!r} is no address and no network; write such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32"
        for source in given
        if not _network(source)
    ]


def within(client: str, sources: Iterable[str]) -> bool:
    """Tell whether a client's address is one of those, or in one of the networks; so is any if there are none."""
    networks = [_network(source) for source in sources]
    if not networks:
        return True
    try:
        found = ip_address(client)
    except ValueError:
        return False
    return any(network and found in network for network in networks)


def statements(rule: Mapping[str, Any], verdict: str = "accept") -> list[str]:
    """Return the lines of nftables that make up a rule: one for everybody, or one for each family that has a source."""
    protocol = rule.get("protocol", "tcp")
    number = WITHOUT_PORTS.get(protocol)
    port = f"meta l4proto {number}" if number else f"{protocol} dport {rule['port']}"
    comment = f' comment "{why}"' if (why := _plain(rule.get("why", ""))) else ""
    if not rule.get("from"):
        return [f"{port} {verdict}{comment}"]
    return [f"{source} {port} {verdict}{comment}" for source in senders(rule["from"])]


def senders(sources: Iterable[str]) -> list[str]:
    """Return what matches packets from addresses and networks, one text for each family that has any."""
    return [
        f"{family} saddr {{ {', '.join(found)} }}" for family, found in _families(sources).items()
    ]


def closed(
    listening: str, given: Iterable[Mapping[str, Any]], ssh_ports: Iterable[int]
) -> list[str]:
    """Return what other hosts can reach today and won't with these rules, such as ``9100/tcp (exporter)``.

    Args:
        listening: What ``ss -Hltunp`` says.
        given: The rules.
        ssh_ports: The ports of SSH.
    """
    opened = {
        f"{port}/{rule.get('protocol', 'tcp')}"
        for rule in given
        for port in _ports(rule.get("port", ""))
    }
    opened |= {f"{port}/tcp" for port in ssh_ports} | DHCP
    found: dict[str, str] = {}
    for protocol, port, program in _listening(listening):
        if (key := f"{port}/{protocol}") not in opened:
            found.setdefault(key, f" ({program})" if program else "")
    return [key + program for key, program in found.items()]


def ssh_ports(listening: str, given: Iterable[int], used: int) -> list[int]:
    """Return the ports of SSH: those that are given, or else those on which sshd listens, and always the one in use."""
    found = [int(port) for port in given] or [
        port for protocol, port, program in _listening(listening) if program == "sshd"
    ]
    return sorted({*found, int(used)})


def _listening(said: str) -> Iterator[tuple[str, int, str]]:
    """Yield protocol, port and program of each socket of ``ss -Hltunp`` that other hosts may reach."""
    for line in said.splitlines():
        match = re.match(r"(tcp|udp) +\S+ +\d+ +\d+ +(\S+):(\d+) +\S+ *(.*)", line)
        if match and not _is_loopback(match[2]):
            program = re.search(r'\(\("([^"]+)"', match[4])
            yield match[1], int(match[3]), program[1] if program else ""


def _ports(text: object) -> range:
    """Return the ports that a number or a range means; an empty range for what is neither."""
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", str(text))
    if not match:
        return range(0)
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1) if 1 <= first <= last <= MAX_PORT else range(0)


def _network(text: object) -> IPv4Network | IPv6Network | None:
    """Return an address or a network as a network, or nothing if it is neither."""
    try:
        return ip_network(str(text))
    except ValueError:
        return None


def _families(sources: Iterable[str]) -> dict[str, list[str]]:
    """Return sources by their family, as nftables calls it; what covers another swallows it, as its sets insist."""
    networks = [network for source in sources if (network := _network(source))]
    v4 = collapse_addresses(one for one in networks if isinstance(one, IPv4Network))
    v6 = collapse_addresses(one for one in networks if isinstance(one, IPv6Network))
    named = {"ip": [_short(one) for one in v4], "ip6": [_short(one) for one in v6]}
    return {family: found for family, found in named.items() if found}


def _short(network: IPv4Network | IPv6Network) -> str:
    """Return a network as it is written, one of a single address without its length."""
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def _is_loopback(where: str) -> bool:
    """Tell whether an address, as ss writes it, is the host's own alone."""
    address, _, interface = where.strip("[]").replace("]", "").partition("%")
    return interface == "lo" or address == "::1" or address.startswith("127.")


def _plain(text: str) -> str:
    """Return a text as a comment of nftables may have it."""
    return re.sub(r"[^A-Za-z0-9 ._,:/-]", "", text)[:100]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_firewall_closed": closed,
            "slipway_firewall_errors": errors,
            "slipway_firewall_known": known,
            "slipway_firewall_rules": rules,
            "slipway_firewall_ssh_ports": ssh_ports,
            "slipway_firewall_senders": senders,
            "slipway_firewall_source_errors": source_errors,
            "slipway_firewall_statements": statements,
            "slipway_firewall_within": within,
        }
