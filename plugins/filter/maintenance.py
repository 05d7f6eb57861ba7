"""Filters for playbooks/maintenance.yml: what is wrong with what it was given, and whom the edge lets pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import islice
from typing import Any

Network = IPv4Network | IPv6Network

# The lengths of prefixes that Nginx tells apart, 00-slipway.conf.j2; a network between two of them is taken apart.
LENGTHS = {4: (8, 16, 24, 32), 6: (32, 48, 64, 128)}
MOST = 256


def words(given: Any) -> list[str]:
    """Return a list from one, or from a text with commas or blanks between them."""
    if isinstance(given, str):
        return given.replace(",", " ").split()
    return [str(one) for one in given] if isinstance(given, Iterable) else [str(given)]


def parts(network: Network) -> Iterator[Network]:
    """Yield the networks that Nginx can tell which are together the given one."""
    length = next(length for length in LENGTHS[network.version] if length >= network.prefixlen)
    return network.subnets(new_prefix=length)


def name(network: Network) -> str:
    """Return how a network that Nginx can tell is written: an address in full, or the first groups of one."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    if isinstance(network, IPv4Network):
        return ".".join(str(network.network_address).split(".")[: network.prefixlen // 8])
    groups = network.network_address.exploded.split(":")[: network.prefixlen // 16]
    return ":".join(f"{int(group, 16):x}" for group in groups)


def allow_errors(given: Any) -> Iterator[str]:
    """Yield what is wrong with addresses and networks."""
    for word in words(given):
        try:
            network = ip_network(word)
        except ValueError as error:
            fix = "write addresses and networks with commas between them, such as 203.0.113.7,2001:db8::/32"
            with suppress(ValueError):
                fix = f"did you mean {ip_network(word, strict=False)}?"
            yield f"allow: {error}; {fix}"
            continue
        if len(list(islice(parts(network), MOST + 1))) > MOST:
            lengths = ", ".join(f"/{length}" for length in LENGTHS[network.version][:-1])
            yield f"allow: {word} can't be told apart at the edge; take a network of {lengths}, or single addresses"


def errors(given: Mapping[str, Any], apps: Iterable[str]) -> list[str]:
    """Return what is wrong with what was given by ``-e``, each with the key and the fix.

    Args:
        given: ``app``, ``state``, ``message`` and ``allow``; and ``rest``, what stands behind a value with a blank.
        apps: The names of the applications.
    """
    known = list(apps)
    found = []
    if given["app"] not in known:
        names = ", ".join(known) or "none, since the inventory has no application"
        found.append(f"app: is {given['app'] or 'not given'}; name one with -e app=<name>: {names}")
    if state(given["state"]) not in ("on", "off"):
        found.append(
            f"state: is {given['state'] or 'not given'}; write -e state=on or -e state=off"
        )
    if given["rest"]:
        fix = "quote the value twice, such as -e 'message=\"Back at 14:00\"'"
        found.append(f"-e: {given['rest']!r} belongs to no variable; {fix}")
    return [*found, *allow_errors(given["allow"])]


def state(given: Any) -> str:
    """Return ``on`` or ``off``, whatever YAML has made of it."""
    return {"true": "on", "false": "off"}.get(str(given).lower(), str(given).lower())


def allowed(given: Any) -> list[str]:
    """Return the names of the files that let addresses and networks pass."""
    return sorted({name(part) for word in words(given) for part in parts(ip_network(word))})


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_maintenance_allowed": allowed,
            "slipway_maintenance_errors": errors,
            "slipway_maintenance_state": state,
            "slipway_maintenance_words": words,
        }
