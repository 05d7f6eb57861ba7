"""Filters that read what hosts say of upgrades: what is pending, what has to be restarted, what came of it.

A host says it in lines of a key and values, as the scripts in playbooks/vars/upkeep.yml print them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# As apt simulates it: a name, the version that is there, unless it is new, the one to come, and from where.
UPGRADE = re.compile(
    r"(?m)^upgrade (?P<name>\S+) (?:\[(?P<old>[^]]*)\] )?\((?P<new>\S+) (?P<origins>[^[]*)"
)
SECURITY = "Debian-Security:"
# The server's packages, which playbooks/upgrade_database.yml upgrades.
DATABASE = re.compile(r"postgresql(-client)?-[0-9]+")
# What a restart would cut the run, sessions, guests or the network off with, and the database. A reboot does them all.
KEPT = re.compile(
    r"postgresql.*|dbus(-broker)?\.service|systemd-logind\.service|systemd-networkd\.service|networking\.service"
    r"|NetworkManager\.service|wpa_supplicant.*|ifup@.*|.*getty@.*|user@.*|polkit\.service|(?!.*\.service$).*"
    r"|(openvpn|wg-quick|tinc|bird|frr|(open|libre|strong)swan).*"
    r"|(docker|containerd|podman|lxc|libvirt|virtlogd|virtlockd).*"
)
SHOWN = 12


def words(said: str, key: str) -> list[str]:
    """Return what stands behind a key, in each of its lines."""
    found = re.findall(rf"(?m)^{key} ([^\r\n]*)", said)
    return [one.strip() for one in found]


def read(said: str, everything: bool = False) -> dict[str, Any]:
    """Return what there is to do on a host.

    Args:
        said: What the host has said.
        everything: Whether all upgrades are wanted, and not those alone that Debian's security team has made.
    """
    found = [one.groupdict() for one in UPGRADE.finditer(said)]
    upgrades: list[dict[str, Any]] = [
        {
            "name": one["name"],
            "old": one["old"] or "",
            "new": one["new"],
            "security": SECURITY in one["origins"],
        }
        for one in found
    ]
    database = [one for one in upgrades if DATABASE.fullmatch(one["name"])]
    rest = [one for one in upgrades if one not in database]
    wanted = [one for one in rest if everything or one["security"]]
    units = sorted(set(words(said, "restart")))
    refusing = sorted(set(words(said, "refuses")))
    reboot = " ".join(words(said, "reboot")).split()
    return {
        "upgrades": wanted,
        # Those that are new come along with what needs them.
        "names": [one["name"] for one in wanted if one["old"]],
        "later": [one for one in rest if one not in wanted],
        "database": database,
        "security": [one for one in upgrades if one["security"]],
        "reboot": sorted(set(reboot)) or (["an upgrade"] if words(said, "reboot") else []),
        "restarts": [unit for unit in units if not KEPT.fullmatch(unit)],
        "kept": sorted([unit for unit in units if KEPT.fullmatch(unit)] + refusing),
        "blind": bool(words(said, "unknown")),
    }


def worse(before: str, after: str) -> list[str]:
    """Return what is wrong with a host that was not wrong before: applications that don't answer, units that failed.

    Args:
        before: What the host has said of both before anything was changed.
        after: What it says now.
    """
    answered = {line.split()[0] for line in words(before, "answer") if line.endswith(" 200")}
    answers = {line.split()[0]: line.split()[-1] for line in words(after, "answer")}
    found = [
        f"{app} answers {answers.get(app, 'not at all')} where it has answered 200"
        for app in sorted(answered)
        if answers.get(app) != "200"
    ]
    failed = sorted(set(words(after, "failed")) - set(words(before, "failed")))
    return found + [f"{unit} has failed" for unit in failed]


def listed(names: list[str]) -> str:
    """Return names as they are told: the first of many, and how many more there are."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def told(plan: Mapping[str, Any], done: Mapping[str, Any]) -> list[str]:
    """Return what was done on a host, or would be, a sentence a line.

    Args:
        plan: What there was to do, as ``slipway_upkeep`` gives it.
        done: ``check``, whether it would be; ``rebooted``; ``restarted`` and ``kept``, units; ``reboot``, for what
            one is still needed; ``drained``, by which edges.
    """
    return list(_told(plan, done))


def _told(plan: Mapping[str, Any], done: Mapping[str, Any]) -> Iterator[str]:
    """Yield it."""
    was = "would be" if done["check"] else "was"
    were = "would be" if done["check"] else "were"
    upgrades = [f"{one['name']} {one['new']}" for one in plan["upgrades"]]
    if upgrades:
        yield f"upgraded {were}: {listed(upgrades)}."
    if done["drained"]:
        yield f"{', '.join(done['drained'])} sent it no requests meanwhile."
    if done["rebooted"]:
        yield f"it {was} rebooted."
    elif done["restarted"]:
        yield f"restarted {were}: {listed(done['restarted'])}."
    if done["check"] and upgrades and not done["rebooted"]:
        yield "what the upgrades ask to restart or to reboot is known when they are there."
    if not (upgrades or done["rebooted"] or done["restarted"]):
        yield "nothing was to be done."
    if done["reboot"] and not done["rebooted"]:
        yield f"it needs a reboot, for {listed(done['reboot'])}: run it again without -e reboot=never."
    if plan["database"]:
        yield "a minor version of PostgreSQL waits for playbooks/upgrade_database.yml."
    if done["kept"] and not done["rebooted"]:
        yield f"still with an old library, until a reboot: {listed(done['kept'])}."
    if plan["later"]:
        yield f"{len(plan['later'])} upgrades are not about security; -e all=true takes them, too."
    if plan["blind"]:
        yield "needrestart isn't there, so nothing is known of old libraries: baseline_needrestart has it."


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_upkeep": read,
            "slipway_upkeep_told": told,
            "slipway_upkeep_worse": worse,
        }
