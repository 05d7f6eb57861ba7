"""What pgBackRest does only where the repository is, done there, with a way back to this host's server for that while.

pgBackRest backs up and verifies on the repository's host, from which it logs in at the server's. That would be a trust
in both directions. Here this host logs in there, and brings the way back along: a socket that ssh forwards. Behind it
a thread here starts pgBackRest's own remote process, for this stanza's data and nothing else. What pgBackRest is to
know there goes over as standard input, into a folder that is removed at the end.
"""

from __future__ import annotations

import secrets
import shlex
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from stanza import Failed, Repository, Stanza, words

SSH = Path("/usr/local/lib/slipway/backup/ssh")
# In the place of ssh there: hands the command that it is given over, and then passes on what is said.
RELAY = r"""#!/usr/bin/python3
import os, socket, sys, threading
there = socket.socket(socket.AF_UNIX)
there.connect(os.environ["SLIPWAY_WAY_BACK"])
there.sendall(sys.argv[-1].encode() + b"\n")
def out():
    while data := there.recv(1 << 16):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view):]
    os._exit(0)
threading.Thread(target=out, daemon=True).start()
while data := os.read(0, 1 << 16):
    there.sendall(data)
there.shutdown(socket.SHUT_WR)
threading.Event().wait(60)
"""
REMOTE = """set -eu; umask 077; d=$(mktemp -d -p "$HOME" slipway.XXXXXXXX)
trap 'rm -rf "$d" "$SLIPWAY_WAY_BACK"' EXIT
sed "s|^lock-path=.*|lock-path=$HOME/slipway-lock|" > "$d/conf"
printf %s {relay} > "$d/relay"; chmod 0700 "$d/relay"; mkdir -p "$d/none" "$HOME/slipway-lock"
pgbackrest --config="$d/conf" --config-include-path="$d/none" --cmd-ssh="$d/relay" \
    --log-level-file=off --log-level-console=off {arguments}
"""
GLOBAL = (
    "compress-type",
    "compress-level",
    "process-max",
    "start-fast",
    "archive-timeout",
    "delta",
)


def configuration(stanza: Stanza, repository: Repository) -> str:
    """Return pgBackRest's configuration as it has to be at a repository: that is the only one there, and local."""
    settings = stanza.settings()
    prefix = f"repo{repository.key}-"
    lines = ["[global]", "lock-path=filled in there"]
    for key, value in settings.items():
        if key.startswith(prefix) and not key.startswith(f"{prefix}host"):
            lines.append(f"repo1-{key.removeprefix(prefix)}={value}")
        elif key in GLOBAL:
            lines.append(f"{key}={value}")
    lines += [f"[{stanza.name}]", "pg1-host=way-back"]
    lines += [f"{key}={value}" for key, value in settings.items() if key.startswith("pg1-")]
    return "\n".join(lines) + "\n"


def allowed(line: str, stanza: Stanza) -> list[str]:
    """Return the command that the repository asks for here, if it is one that serves a backup of this stanza.

    Raises:
        Failed: It is another one.
    """
    command = shlex.split(line)
    ends = command[-1:] in (["backup:remote"], ["verify:remote"])
    mine = {f"--stanza={stanza.name}", "--remote-type=pg"} <= set(command)
    known = (
        "--exec-id=", "--log-level-", "--pg1-", "--process=", "--remote-type=pg", "--stanza=", "--buffer-size=",
        "--compress-level-network=", "--protocol-timeout=", "--io-timeout=", "--db-timeout=", "--sck-", "--tcp-",
        "--log-subprocess", "--no-log-subprocess", "--job-retry",
    )  # fmt: skip
    others = [word for word in command[1:-1] if not word.startswith(known) or "pg1-host" in word]
    if not ends or not mine or others or Path(command[0]).name != "pgbackrest":
        raise Failed(f"the repository asks for what serves no backup: {line}")
    return ["/usr/bin/pgbackrest", *command[1:]]


class WayBack:
    """A socket here, at which each connection gets a process of pgBackRest's."""

    def __init__(self, stanza: Stanza, path: Path) -> None:
        self.stanza = stanza
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            line = b""
            while not line.endswith(b"\n"):  # one byte at a time: what follows is the process's
                byte = connection.recv(1)
                if not byte:
                    return
                line += byte
            try:
                command = allowed(line.decode(), self.stanza)
            except (Failed, ValueError) as error:
                print(error, flush=True)
                return
            pipe = connection.fileno()
            subprocess.run(command, stdin=pipe, stdout=pipe, check=False)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more."""
        self.listener.close()


def at_the_repository(stanza: Stanza, repository: Repository, verb: str, *arguments: str) -> str:
    """Run pgBackRest at a repository, as postgres, and return what it printed.

    Raises:
        Failed: It failed; the message is what it said.
    """
    there = f"/tmp/slipway-{secrets.token_hex(16)}"
    wanted = shlex.join([f"--stanza={stanza.name}", *arguments, verb])
    script = REMOTE.format(relay=shlex.quote(RELAY), arguments=wanted)
    script = f'export SLIPWAY_WAY_BACK={there}\nmkdir -p -m 0700 "$HOME/slipway-lock"\n{script}'
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        way = WayBack(stanza, Path(folder) / "socket")
        command = [str(SSH), "-o", "ExitOnForwardFailure=yes", "-R", f"{there}:{folder}/socket"]
        try:
            done = subprocess.run(
                [*command, repository.name, script],
                input=configuration(stanza, repository),
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        finally:
            way.close()
    if done.returncode:
        raise Failed(words(done.stderr) or f"{repository.host}: ssh ended with {done.returncode}")
    return done.stdout
