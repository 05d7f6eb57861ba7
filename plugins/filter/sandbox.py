"""What keeps an application's processes to what is theirs: systemd's directives, their defaults and what they take.

One table for the unit, for what runs once in a release (``systemd-run``), for the checks of ``apps.<app>.sandbox`` and
for ``docs/hardening.md``. What an application says comes after what is said for it, as in a drop-in: the last
word counts, and lists grow.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a directive takes, as a pattern for a whole value or for each word of a list, and in words."""

    pattern: str
    takes: str
    words: bool = False


SWITCH = Kind("yes|no", "true or false")
SIZE = Kind(
    r"infinity|[1-9][0-9]*[KMGT]?|[1-9][0-9]?%|100%",
    "bytes with K, M or G, a share of the host's such as 50%, or infinity",
)
TASKS = Kind("infinity|[1-9][0-9]*|[1-9][0-9]?%|100%", "a number, a share such as 10%, or infinity")
WEIGHT = Kind("[1-9][0-9]{0,3}|10000", "a number from 1 to 10000; 100 is what others have")
QUOTA = Kind("[1-9][0-9]*%", "a share of one core, such as 150%")
# No space and no percent sign, which would be systemd's.
PATHS = Kind(r"-?(/[A-Za-z0-9._@+:-]+)+", "absolute paths, each perhaps after a -", True)
DEVICES = Kind(
    r"(/dev/[A-Za-z0-9._/-]+|char-[a-z0-9*-]+)( [rwm]{1,3})?", "a device such as '/dev/video0 rw'"
)
CALLS = Kind("@?[a-z0-9_-]+", "system calls or groups of them such as @resources", True)
FAMILIES = Kind("AF_[A-Z0-9]+", "address families such as AF_PACKET", True)
CAPABILITIES = Kind("CAP_[A-Z_]+", "capabilities such as CAP_NET_RAW", True)
NETWORKS = Kind(
    r"any|localhost|link-local|multicast|[0-9A-Fa-f.:]+(/[0-9]+)?",
    "addresses, networks, or any, localhost, link-local, multicast",
    True,
)
MASK = Kind("0?[0-7]{3}", "an octal mask in quotes, such as '0027'")


def one_of(*values: str) -> Kind:
    """Return a kind that takes one of a few values."""
    named = [{"yes": "true", "no": "false"}.get(value, value) for value in values]
    return Kind("|".join(values), " or ".join(named))


@dataclass(frozen=True)
class Directive:
    """A directive: what it takes, its default, line by line, and whether that holds without the sandbox, too."""

    kind: Kind
    default: tuple[str, ...] = ()
    always: bool = False


DIRECTIVES = {
    # With or without a sandbox: an application that this breaks is rare, and has its own line.
    "NoNewPrivileges": Directive(SWITCH, ("yes",), True),
    "CapabilityBoundingSet": Directive(CAPABILITIES, ("",), True),
    "PrivateTmp": Directive(SWITCH, ("yes",), True),
    "ProtectSystem": Directive(one_of("no", "yes", "full", "strict"), ("strict",), True),
    "ProtectHome": Directive(one_of("no", "yes", "read-only", "tmpfs"), ("yes",), True),
    "ReadWritePaths": Directive(PATHS, ("/run/{app} {home}/shared",), True),
    "RestrictSUIDSGID": Directive(SWITCH, ("yes",), True),
    # Nginx is in the application's group, and reads what it has uploaded: no 0077.
    "UMask": Directive(MASK, ("0027",), True),
    # What it sees of the host.
    "PrivateDevices": Directive(SWITCH, ("yes",)),
    "PrivateMounts": Directive(SWITCH, ("yes",)),
    "ProtectProc": Directive(
        one_of("default", "invisible", "noaccess", "ptraceable"), ("invisible",)
    ),
    "ProtectClock": Directive(SWITCH, ("yes",)),
    "ProtectControlGroups": Directive(SWITCH, ("yes",)),
    "ProtectHostname": Directive(SWITCH, ("yes",)),
    "ProtectKernelLogs": Directive(SWITCH, ("yes",)),
    "ProtectKernelModules": Directive(SWITCH, ("yes",)),
    "ProtectKernelTunables": Directive(SWITCH, ("yes",)),
    # What it may ask of the kernel.
    "KeyringMode": Directive(one_of("private", "shared", "inherit"), ("private",)),
    "LockPersonality": Directive(SWITCH, ("yes",)),
    "MemoryDenyWriteExecute": Directive(SWITCH, ("yes",)),
    "RemoveIPC": Directive(SWITCH, ("yes",)),
    # Netlink is how libraries ask for the host's own addresses.
    "RestrictAddressFamilies": Directive(FAMILIES, ("AF_UNIX AF_INET AF_INET6 AF_NETLINK",)),
    "RestrictNamespaces": Directive(SWITCH, ("yes",)),
    "RestrictRealtime": Directive(SWITCH, ("yes",)),
    "SystemCallArchitectures": Directive(one_of("native"), ("native",)),
    # Gunicorn gives its socket to the user that it runs as, and ends if it may not.
    "SystemCallFilter": Directive(CALLS, ("@system-service", "~@privileged @resources", "@chown")),
    "SystemCallErrorNumber": Directive(Kind("E[A-Z0-9]+", "an error such as EPERM"), ("EPERM",)),
    # How much it may take. Systemd knows how much there is; a cgroup without the controller has no such limit.
    "MemoryMax": Directive(SIZE, ("{memory}",)),
    "TasksMax": Directive(TASKS, ("10%",)),
    "CPUWeight": Directive(WEIGHT, ("100",)),
    # What is left to who knows the application.
    "CPUQuota": Directive(QUOTA),
    "DeviceAllow": Directive(DEVICES),
    "IOWeight": Directive(WEIGHT),
    "InaccessiblePaths": Directive(PATHS),
    "IPAddressAllow": Directive(NETWORKS),
    "IPAddressDeny": Directive(NETWORKS),
    "MemoryHigh": Directive(SIZE),
    "MemorySwapMax": Directive(Kind(f"0|{SIZE.pattern}", SIZE.takes)),
    "PrivateNetwork": Directive(SWITCH),
    "PrivateUsers": Directive(SWITCH),
    "ProcSubset": Directive(one_of("all", "pid")),
}


def text(value: Any) -> str:
    """Return a value as a unit has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def _fits(kind: Kind, value: Any) -> bool:
    """Tell whether a directive takes a value."""
    if isinstance(value, list | tuple) and not kind.words:
        return False
    if kind is MASK and not isinstance(value, str):
        return False  # to YAML 0177 is 127
    if not isinstance(value, bool | int | str | list | tuple):
        return False
    said = text(value)
    if kind is CALLS:
        said = said.removeprefix("~")  # of the whole line
    words = said.split(" ") if kind.words else [said]
    return all(re.fullmatch(kind.pattern, word) and _is_network(kind, word) for word in words)


def _is_network(kind: Kind, word: str) -> bool:
    """Tell whether a word is a network, where it looks like one."""
    if kind is not NETWORKS or word in NETWORKS.pattern.split("|")[:4]:
        return True
    try:
        ip_network(word, strict=False)
    except ValueError:
        return False
    return True


def errors(where: str, given: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what is wrong with what an application says of its sandbox, each with the key and the fix.

    systemd would note a value that it can't read in its journal, and leave the directive out.
    """
    for name, value in given.items():
        if name not in DIRECTIVES:
            near = difflib.get_close_matches(str(name), DIRECTIVES, n=1)
            fix = (
                f"did you mean {near[0]}?"
                if near
                else f"known are: {', '.join(sorted(DIRECTIVES))}"
            )
            yield f"{where}.{name}: unknown key; {fix}"
        elif not _fits(DIRECTIVES[name].kind, value):
            yield f"{where}.{name}: {text(value)!r} won't do; it takes {DIRECTIVES[name].kind.takes}"


def lines(app: Mapping[str, Any], root: str, memory: str, full: bool = True) -> list[str]:
    """Return the directives for an application's processes, each as ``Name=value``.

    Args:
        app: One of what ``slipway_apps`` gives.
        root: ``fastapi_app_root``.
        memory: ``fastapi_app_memory_max``, which counts if the application says nothing else.
        full: ``fastapi_app_sandbox``. Without it there is what holds always, and what the application says.
    """
    facts = {"app": app["name"], "home": f"{root}/{app['name']}", "memory": memory}
    found = []
    for name, directive in DIRECTIVES.items():
        said = [text(app["sandbox"][name])] if name in app["sandbox"] else []
        default = [line.format(**facts) for line in directive.default if full or directive.always]
        adds = directive.kind.words or not said
        found += [f"{name}={value}" for value in [*(default if adds else []), *said]]
    return found


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {"slipway_sandbox": lines}
