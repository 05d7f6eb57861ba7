"""Filters of the role baseline: what the kernel is told, and what is wrong with the role's options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# What a container's network has for itself. Whatever else is under /proc/sys is the machine's.
OWN = ("net.ipv4.", "net.ipv6.")
KEY = re.compile(r"[a-z0-9_]+([./][A-Za-z0-9_*-]+)+")
# No spaces, quotes or semicolons: each is put into a file whose syntax it must not leave.
ORIGIN = re.compile(r"[a-z]+=[A-Za-z0-9.:*_+/${}@ \\-]+(,[a-z]+=[A-Za-z0-9.:*_+/${}@ \\-]+)*")
SERVER = re.compile(r"[A-Za-z0-9.:_-]+")
MODULE = re.compile(r"[a-z0-9_-]+")
TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
UMASK = re.compile(r"0?[0-7]{3}")


def sysctl(
    settings: list[dict[str, Any]],
    given: Mapping[str, Any],
    container: bool,
    shares_network: bool = False,
) -> list[dict[str, Any]]:
    """Return what the kernel is told.

    Args:
        settings: Each with ``key``, ``value`` and perhaps ``why``.
        given: What an inventory says besides, or otherwise; a setting whose value is empty is left out.
        container: Whether the host is one, whose kernel is somebody else's.
        shares_network: Whether its network is somebody else's, too.
    """
    kept = [{**one, "value": given.get(one["key"], one["value"])} for one in settings]
    known = {one["key"] for one in settings}
    kept += [{"key": key, "value": value} for key, value in given.items() if key not in known]
    return [
        one
        for one in kept
        if str(one["value"]) != ""
        and (not container or (one["key"].startswith(OWN) and not shares_network))
    ]


def errors(given: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the role's options, each with the variable and the fix.

    Args:
        given: By name, those that no type can check.
    """
    return list(_errors(given))


def _errors(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong."""
    for origin in given["baseline_upgrades_origins"]:
        if not ORIGIN.fullmatch(str(origin)):
            yield (
                f"baseline_upgrades_origins has {origin!r}; write fields with commas between them, such as "
                "'origin=Debian,codename=${distro_codename},label=Debian-Security'"
            )
    at = str(given["baseline_upgrades_reboot_at"])
    if at and not TIME.fullmatch(at):
        # 04:30 without quotes is a number of minutes to YAML.
        yield (
            f"baseline_upgrades_reboot_at is {at}; write a time of day in quotes, such as '04:30', or leave it empty "
            "for never"
        )
    for server in given["baseline_time_servers"]:
        if not SERVER.fullmatch(str(server)):
            yield f"baseline_time_servers has {server!r}; write names or addresses, such as ntp.example.org"
    for module in given["baseline_modules_blocked"]:
        if not MODULE.fullmatch(str(module)):
            yield f"baseline_modules_blocked has {module!r}; write names of modules as lsmod has them, such as dccp"
    mask = given["baseline_umask"]
    # To YAML 0177 is the number 127.
    if mask != "" and not (isinstance(mask, str) and UMASK.fullmatch(mask)):
        yield f"baseline_umask is {mask}; write it in quotes, such as '027', or leave it empty for Debian's"
    if int(given["baseline_shell_timeout"]) < 0:
        yield f"baseline_shell_timeout is {given['baseline_shell_timeout']}; write seconds, or 0 for never"
    for key, value in given["baseline_sysctl_settings"].items():
        if not KEY.fullmatch(str(key)) or "\n" in str(value):
            yield (
                f"baseline_sysctl_settings has {key!r}; write a setting as sysctl(8) has it and a value of one line, "
                "such as kernel.yama.ptrace_scope: 0"
            )


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {"slipway_baseline_errors": errors, "slipway_sysctl": sysctl}
