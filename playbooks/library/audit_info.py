#!/usr/bin/python
"""Look at a host as an auditor does, and change nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: audit_info
short_description: Look at what an audit of a host asks for
description:
  - Runs programs that read, with the least priority there is, and returns what they say.
  - C(plugins/filter/audit.py) makes sense of it.
  - Lynis runs where it is installed. What it writes goes into a folder that is removed.
options:
  script: {type: str, required: true, description: 'What to ask of upgrades, as playbooks/vars/upkeep.yml has it.'}
  timeout: {type: int, default: 900, description: Seconds that each of them may take.}
"""

RETURN = r"""
looks: {description: 'By what was asked, what was said; empty where nobody could say.', type: dict, returned: always}
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

CERTIFICATES = (
    "etc/slipway/tls/*/fullchain.pem",
    "etc/slipway/ca/ca.pem",
    "etc/letsencrypt/live/*/cert.pem",
)
ONE_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)")
SYSCTL = Path("/etc/sysctl.d/60-slipway.conf")
# Where somebody else's files lie, or none that last.
PRUNED = ("/proc", "/sys", "/run", "/dev", "/var/lib/containers", "/var/lib/docker")
KEYS = (".ssh/authorized_keys", ".ssh/authorized_keys2")


def said(command: list[str], timeout: int) -> str:
    """Return what a program prints, whatever it thinks of it; nothing if it isn't there or takes too long."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env={
                **os.environ,
                "LC_ALL": "C",
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            },
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def lynis(timeout: int) -> str:
    """Return Lynis' report; nothing if it isn't installed."""
    program = shutil.which("lynis", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if not program:
        return ""
    with tempfile.TemporaryDirectory(prefix="slipway-audit-") as folder:
        report = Path(folder) / "report"
        quiet = ["--quick", "--quiet", "--no-colors", "--no-log"]
        said([program, "audit", "system", *quiet, "--report-file", str(report)], timeout)
        return report.read_text(errors="replace") if report.exists() else ""


def files(timeout: int) -> str:
    """Return files and folders that everybody may write to, and those that run as somebody else."""
    mounted = [
        place
        for place in ("/boot", "/home", "/srv", "/usr", "/var", "/opt")
        if os.path.ismount(place)
    ]
    pruned: list[str] = []
    for place in PRUNED:
        pruned += ["-path", place, "-o"]
    tests = [
        "(", *pruned[:-1], ")", "-prune",
        "-o", "-type", "d", "-perm", "-0002", "!", "-perm", "-1000", "-printf", "writable %p/\\n",
        "-o", "-type", "f", "-perm", "-0002", "-printf", "writable %p\\n",
        "-o", "-type", "f", "-perm", "/6000", "-printf", "setuid %p\\n",
    ]  # fmt: skip
    return said(["find", "/", *mounted, "-xdev", *tests], timeout)


def certificates(root: Path, timeout: int) -> Iterator[str]:
    """Yield each certificate: its file, and when it ends."""
    for pattern in CERTIFICATES:
        for path in sorted(root.glob(pattern)):
            ends = said(
                ["openssl", "x509", "-noout", "-enddate", "-in", str(path)], timeout
            ).strip()
            yield f"{path} {ends.removeprefix('notAfter=')}"


def users(timeout: int) -> Iterator[str]:
    """Yield who may log in: name, number, shell, state of the password, whether root is to be had; and their keys."""
    status = said(["passwd", "--status", "--all"], timeout)
    states = {line.split()[0]: line.split()[1] for line in status.splitlines() if " " in line}
    for user in pwd.getpwall():
        name, shell = user.pw_name, user.pw_shell or "/bin/sh"
        if shell.endswith(("/nologin", "/false", "/sync")):
            continue
        allowed = user.pw_uid == 0 or "may run the following" in said(
            ["sudo", "-n", "-l", "-U", name], timeout
        )
        root = "root" if allowed else "-"
        yield "\t".join(("user", name, str(user.pw_uid), shell, states.get(name, "-"), root))
        for place in KEYS:
            path = Path(user.pw_dir) / place
            if path.is_file():
                for line in said(["ssh-keygen", "-l", "-f", str(path)], timeout).splitlines():
                    yield f"key\t{name}\t{line}"


def bare(address: str) -> str:
    """Return an address without a name and a password."""
    return re.sub(r"//[^/@]*@", "//", address)


def loose(options: dict[str, str]) -> str:
    """Return ``yes`` for a source that takes no signature to be trusted, whichever way it says so."""
    return "yes" if "yes" in (options.get("trusted"), options.get("allow-insecure")) else ""


def sources(folder: Path) -> Iterator[str]:
    """Yield each source of packages: where it is, whether it is trusted without a signature, and by which key it is.

    apt itself says of a source that it is trusted also where a signature is why.
    """
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]:
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            if found := ONE_LINE.match(line):
                options = dict(one.split("=", 1) for one in (found[1] or "").split() if "=" in one)
                yield f"{bare(found[2])}\t{loose(options)}\t{options.get('signed-by', '')}"
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(errors="replace")):
            # A line that begins with a blank, as those of a key do, goes on with the one before.
            text = re.sub(r"\n[ \t]+", " ", re.sub(r"(?m)^#.*\n?", "", stanza))
            fields = {
                key.lower(): value.strip()
                for key, value in re.findall(r"(?m)^([\w-]+):(.*)$", text)
            }
            if fields.get("enabled", "yes").lower() not in ("no", "false", "0"):
                for address in fields.get("uris", "").split():
                    yield f"{bare(address)}\t{loose(fields)}\t{fields.get('signed-by', '')}"


def place(key: str) -> str:
    """Return where below /proc/sys a setting is: of dots and slashes the first that comes parts its names."""
    first = next((character for character in key if character in "./"), ".")
    return key.translate(str.maketrans("./", "/.")) if first == "." else key


def kernel() -> Iterator[str]:
    """Yield settings of the kernel that aren't as the role baseline has written: key, value wanted, value that is."""
    try:
        lines = SYSCTL.read_text().splitlines()
    except OSError:
        return
    told: dict[Path, str] = {}
    settings = [line.split(" = ", 1) for line in lines if " = " in line and line[0] != "#"]
    # As systemd takes them: what is said of one counts, whatever a pattern says of all.
    for key, wanted in sorted(settings, key=lambda one: "*" not in one[0]):
        told |= dict.fromkeys(Path("/proc/sys").glob(place(key)), wanted.strip())
    for path, wanted in sorted(told.items()):
        try:
            value = " ".join(path.read_text().split())
        except OSError:
            continue
        if value != wanted:
            yield f"{str(path.relative_to('/proc/sys')).replace('/', '.')}\t{wanted}\t{value}"


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "script": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    os.nice(19)
    timeout = module.params["timeout"]
    # Lynis last: it takes longest, and what it starts is no part of what is looked at.
    looks = {
        "upgrades": said(["sh", "-c", module.params["script"]], timeout),
        "ports": said(
            ["ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric", "--processes"],
            timeout,
        ),
        "exposure": said(["systemd-analyze", "security", "--no-pager", "--json=short"], timeout),
        "failed": said(["systemctl", "list-units", "--failed", "--plain", "--no-legend"], timeout),
        "certificates": "\n".join(certificates(Path("/"), timeout)),
        "users": "\n".join(users(timeout)),
        "kernel": "\n".join(kernel()),
        "sources": "\n".join(sources(Path("/etc/apt"))),
        "changed": said(["dpkg", "--verify"], timeout),
        "files": files(timeout),
        "lynis": lynis(timeout),
    }
    module.exit_json(changed=False, looks=looks)


if __name__ == "__main__":
    main()
