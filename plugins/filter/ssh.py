"""Filters that tell what is wrong with what the inventory says of SSH, before anything is changed, with the fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

User = Mapping[str, Any]

FIRST_PERSON = 1000  # numbers below are for what Debian and packages make
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
KINDS = (
    r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+|sk-ssh-ed25519@openssh\.com|"
    r"sk-ecdsa-sha2-nistp256@openssh\.com"
)
KEY = re.compile(rf"({KINDS}) AAAA[0-9A-Za-z+/]+=*( [^\r\n]*)?")


def user_errors(users: Iterable[User]) -> list[str]:
    """Return what is wrong with ``ssh_users``."""
    found, seen = [], set()
    for position, user in enumerate(users):
        where, name = f"ssh_users[{position}]", str(user["name"])
        if not NAME.fullmatch(name):
            found.append(
                f"{where}.name: {name} is no name of a system user; write lower-case letters, digits, '_' and '-'"
            )
        if name in seen:
            found.append(f"{where}.name: {name} is there twice; make one entry of the two")
        if name == "root":
            found.append(f"{where}.name: root is there anyway; ssh_root_login says how it logs in")
        seen.add(name)
        found += [
            f"{where}.public_keys: {key[:40]!r} is no key; write the line of a .pub file, without options"
            for key in user.get("public_keys") or []
            if not KEY.fullmatch(key)
        ]
    return found


def shut_out(
    user: str, users: Iterable[User], allowed: Iterable[str], root_login: str, look: str = ""
) -> list[str]:
    """Return by what the user that Ansible comes as would be shut out.

    Args:
        user: Its name, empty if nobody knows.
        users: ``ssh_users``.
        allowed: ``ssh_allow_users``.
        root_login: ``ssh_root_login``.
        look: What the role's preflight has read from the host.
    """
    if not user:
        return []
    found = []
    if user == "root" and root_login == "none":
        found.append(
            "ssh_root_login is none: set it to key, or have Ansible come as a user who may sudo"
        )
    # A pattern may mean anybody: the new connection tells.
    names = [one.partition("@")[0] for one in allowed]
    if names and user not in names and not any(set("*?!") & set(name) for name in names):
        found.append(f"ssh_allow_users has {', '.join(names)} alone: add {user}")
    for one in users:
        if one["name"] == user and one.get("state") == "absent":
            found.append("ssh_users has it as absent: have Ansible come as another user first")
        elif one["name"] == user and one.get("only_these_keys"):
            found.append(
                "only_these_keys in ssh_users might remove the key in use: have Ansible come as another user, or leave "
                "it out"
            )
    return found + _without_sudo(user, users, look)


def _without_sudo(user: str, users: Iterable[User], look: str) -> list[str]:
    """Return by what the user that Ansible comes as would become root no more."""
    sudo = {one["name"]: one.get("sudo", "none") for one in users}.get(user, "none")
    ways = re.search(r"(?m)^sudo: ours, of (\d+)", look)
    if sudo == "none" and ways and int(ways[1]) < 2:
        return [
            "it becomes root by ssh_users alone, which gives it no sudo any more: keep that, or have Ansible come as "
            "another user first"
        ]
    # The last rule counts, and ours come after a cloud's.
    if sudo == "with_password" and "sudo: no password" in look:
        return [
            "sudo asks it for no password today, and ssh_users has it as with_password: set it to without_password, or "
            "have Ansible come as another user first"
        ]
    return []


def port_errors(look: str, port: int, used: int, drop_in: str) -> list[str]:
    """Return why the port by which Ansible comes would be closed, if no drop-in of ours said any port.

    Args:
        look: What the role's preflight has read from the host.
        port: ``ssh_port``, 0 without a drop-in.
        used: That port.
        drop_in: The path of the drop-in.
    """
    lines = look.splitlines()
    if int(port) or f"opened: {int(used)}" not in map(str.strip, lines):
        return []
    others = re.findall(r"(?im)^listens: \S+?:\s*port[\s=]+\"?(\d+)", look) or ["22"]
    others += re.findall(r"(?im)^listens: \S+?:\s*listenaddress[\s=]+\S+:(\d+)\s*$", look)
    if str(used) in others:
        return []
    return [
        f"sshd listens on {used} by {drop_in} alone, and Ansible comes by it: set ssh_port to {others[0]} and run, "
        f"then set ansible_port to {others[0]}, too, and run; from then on nothing needs to be said of the port"
    ]


def not_people(look: str, absent: Iterable[str]) -> list[str]:
    """Return which users that are to go are the system's, or an application's.

    Args:
        look: What the role's preflight has read from the host.
        absent: Their names.
    """
    numbers = dict(re.findall(r"(?m)^number of (\S+): (\d+)", look))
    return [
        f"ssh_users has {name} as absent, and on this host that is a user of the system's (number {numbers[name]}): "
        "take it off the list"
        for name in absent
        if int(numbers.get(name, FIRST_PERSON)) < FIRST_PERSON
    ]


def sshd_errors(look: str, port: int, drop_in: str) -> list[str]:
    """Return why a host's sshd wouldn't do as its drop-in says.

    Args:
        look: What the role's preflight has read from the host.
        port: ``ssh_port``.
        drop_in: The path of the drop-in.
    """
    lines = [line.strip() for line in look.splitlines()]
    if "sshd: there" not in lines:
        return [
            "it has no /etc/ssh/sshd_config: install openssh-server, or set ssh_enabled to false"
        ]
    found = []
    if "drop-ins: read" not in lines:
        found.append(
            'its /etc/ssh/sshd_config has no "Include /etc/ssh/sshd_config.d/*.conf": put that line back as the first, '
            "as Debian has it"
        )
    found += [
        f"{line.removeprefix('earlier: ')} is read before {drop_in}, and counts instead: give that file a later name"
        for line in lines
        if line.startswith("earlier: ")
    ]
    if int(port):
        found += [
            f"ssh_port is {port}, and there is {line.removeprefix('listens: ')}: remove that line, or set ssh_port to 0"
            for line in lines
            if line.startswith("listens: ")
        ]
        if "socket: active" in lines:
            found.append(
                f"ssh_port is {port}, and systemd holds the port: 'systemctl disable --now ssh.socket && systemctl "
                "enable --now ssh.service', or set ssh_port to 0"
            )
    return found


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_ssh_not_people": not_people,
            "slipway_ssh_port_errors": port_errors,
            "slipway_ssh_shut_out": shut_out,
            "slipway_ssh_user_errors": user_errors,
            "slipway_sshd_errors": sshd_errors,
        }
