"""What throw-away hosts of either kind share: the way in, the files of the first boot, and how their programs talk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
STATE = PROJECT / ".slipway"
SSH_KEY = STATE / "ssh/id_ed25519"
SSH_CONFIG = STATE / "ssh/config"
SSH_MACHINES = STATE / "ssh/machines"
KNOWN_HOSTS = STATE / "ssh/known_hosts"

IMAGES = {"debian13": "trixie", "debian12": "bookworm"}


class HostError(Exception):
    """Something a person can mend; the message says how."""


# --- The first boot --------------------------------------------------------------------------


def first_boot_files(more: dict[str, str] | None = None) -> bytes:
    """The files a cloud would hand to a new machine, as a tar: who may log in, whom to trust.

    Others come from the caller, each path with what is in it; those below etc/ssh are for root alone.
    """
    key = SSH_KEY.with_suffix(".pub").read_text()
    files = {"root/.ssh/authorized_keys": key, "home/deploy/.ssh/authorized_keys": key}
    for number, certificate in enumerate(own_authorities()):
        files[f"usr/local/share/ca-certificates/control-node-{number}.crt"] = certificate
    if proxy := apt_proxy():
        files["etc/apt/apt.conf.d/90control-node"] = proxy
    files |= more or {}

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:

        def add(path: str, content: bytes | None, mode: int) -> None:
            entry = tarfile.TarInfo(path)
            entry.mode = mode
            entry.mtime = int(time.time())
            entry.uid = entry.gid = 1000 if path.startswith("home/deploy/") else 0
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))

        for folder in ("root/.ssh", "home/deploy/.ssh"):
            add(folder, None, 0o700)
        for path, text in files.items():
            add(path, text.encode(), 0o600 if "ssh/" in path else 0o644)
    return buffer.getvalue()


def own_authorities() -> list[str]:
    """PEM certificates that this machine trusts and a fresh Debian does not.

    A network that inspects TLS has them; without them a host could not fetch by https.
    """

    def certificates(path: Path) -> set[str]:
        pem = r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----"
        return set(re.findall(pem, path.read_text(), re.DOTALL)) if path.exists() else set()

    debian = [certificates(path) for path in Path("/usr/share/ca-certificates").rglob("*.crt")]
    trusted = certificates(Path("/etc/ssl/certs/ca-certificates.crt"))
    return [pem + "\n" for pem in sorted(trusted.difference(*debian))]


def apt_proxy() -> str:
    """apt's proxy settings of this machine, if it has any."""
    settings = ["Acquire::http::Proxy", "Acquire::https::Proxy"]
    dump = run(["apt-config", "dump", "--no-empty", "--format", "%f %v;%n", *settings])
    return re.sub(r"^(\S+) (.*);$", r'\1 "\2";', dump, flags=re.MULTILINE)


# --- The way in ------------------------------------------------------------------------------


def make_ssh_key() -> None:
    if not SSH_KEY.exists():
        SSH_KEY.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "slipway", "-f", str(SSH_KEY)])


def write_known_host(name: str, host_key: str) -> None:
    """Pin a host's key under its name, in place of an earlier host's."""
    lines = KNOWN_HOSTS.read_text().splitlines() if KNOWN_HOSTS.exists() else []
    kept = [line for line in lines if line.split()[0] != name]
    key_type, key = host_key.split()[:2]
    KNOWN_HOSTS.write_text("\n".join([*kept, f"{name} {key_type} {key}"]) + "\n")


def write_ssh_config(sections: list[str]) -> None:
    """Write what ssh must know of hosts: ssh -F .slipway/ssh/config NAME."""
    defaults = (
        "Host *\n"
        "    User deploy\n"
        f'    IdentityFile "{SSH_KEY}"\n'
        "    IdentitiesOnly yes\n"
        "    PreferredAuthentications publickey\n"
        f'    UserKnownHostsFile "{KNOWN_HOSTS}"\n'
        "    StrictHostKeyChecking yes\n"
    )
    SSH_CONFIG.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Machines are in a file of their own, so that neither program must know what the other has made.
    SSH_CONFIG.write_text("\n".join([f'Include "{SSH_MACHINES}"\n', *sections, defaults]))


def refuse_taken_port(spec: str) -> None:
    """Say which port is in the way, before those who would take it do in their own words."""
    address, port, _ = spec.split(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, int(port)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return
            listeners = run([*sudo(), "ss", "-Hltnp", f"sport = :{port}"])
            owner = re.search(r'\(\("([^"]+)",pid=(\d+)', listeners)
            by = f" by {owner[1]} (process {owner[2]})" if owner else ""
            raise HostError(
                f"port {port} on {address} is taken{by}: stop that program and run this again"
            ) from error


# --- Small things ----------------------------------------------------------------------------


def sudo() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo"]


def run(command: list[str], stdin: bytes | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise HostError(f"{shlex.join(command)}\n{done.stderr.decode().strip()}")
    return done.stdout.decode()


def run_instead(command: list[str]) -> NoReturn:
    os.execvp(command[0], command)


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Let one process at a time do something, among all that work on this project."""
    path = STATE / "lock" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(message: str) -> None:
    print(f"==> {message}", file=sys.stderr, flush=True)


def tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text().splitlines()[-lines:])
