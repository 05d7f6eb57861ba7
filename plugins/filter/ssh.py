"""Filters that tell what is wrong with what the inventory says of SSH, before anything is changed, with the fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

User = Mapping[str, Any]

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
    user: str, users: Iterable[User], allowed: Iterable[str], root_login: str
) -> list[str]:
    """Return by what the user that Ansible comes as would be shut out.

    Args:
        user: Its name, empty if nobody knows.
        users: ``ssh_users``.
        allowed: ``ssh_allow_users``.
        root_login: ``ssh_root_login``.
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
    return found


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
            "slipway_ssh_shut_out": shut_out,
            "slipway_ssh_user_errors": user_errors,
            "slipway_sshd_errors": sshd_errors,
        }
