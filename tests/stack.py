"""How tests speak to a host: by HTTP and WebSocket as a client, by SSH as an operator, by Ansible as its owner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import testinfra
from testinfra.host import Host
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

ROOT = Path(__file__).resolve().parents[1]
# The board's style sheet, which has a name by what is in it.
STYLE = f"/static/{next((ROOT / 'app/static').glob('style-*.css')).name}"
SSH_CONFIG = ROOT / ".slipway/ssh/config"

Answer = TypeVar("Answer")


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Write to one what is read from the other, until its end."""
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


class Run:
    """A playbook that is under way, from the repository's root, as a user runs it."""

    def __init__(self, playbook: str, inventory: Path, *arguments: str) -> None:
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            f"--inventory={inventory}",
            f"--ssh-common-args=-F {SSH_CONFIG}",
            *arguments,
            playbook,
        ]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_FORCE_COLOR": "0",
                "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "1",  # else a heading comes with the first result
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that it can be killed with all that it has started
        )
        self.timed: list[tuple[float, str]] = []  # what it says, and when (seconds of the epoch)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.timed.append((time.time(), line))

    def output(self) -> str:
        """Return what it has said so far."""
        return "".join(line for _, line in tuple(self.timed))

    def until(self, task: str, seconds: float = 60) -> None:
        """Return when a task begins whose name has this in it; fail if none does."""
        heading = re.compile(rf"^(TASK|RUNNING HANDLER) \[.*{re.escape(task)}", re.MULTILINE)
        begun = eventually(lambda: heading.search(self.output()) or self.ended(), seconds)
        assert heading.search(self.output()), f"no task {task!r}: {begun}\n{self.output()[-4000:]}"

    def ended(self) -> bool:
        """Return whether it has."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill it and its children, as the end of the machine that it runs on would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end, and return what came of it."""
        code = self.process.wait()
        self.reader.join()
        return subprocess.CompletedProcess(self.process.args, code, self.output(), "")


def play(playbook: str, inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook to its end, and return what came of it."""
    return Run(playbook, inventory, *arguments).wait()


def said(run: subprocess.CompletedProcess[str]) -> str:
    """Return what a run has said as one line, as it was before YAML folded and quoted it."""
    return " ".join(run.stdout.replace('\\"', '"').split())


def changes(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return how many tasks changed something on each host, from a run's recap."""
    recap = run.stdout.split("PLAY RECAP")[1].splitlines()[1:]
    lines = [line.split() for line in recap if " : ok=" in line or ": ok=" in line]
    return {
        line[0]: int(
            next(word for word in line if word.startswith("changed=")).removeprefix("changed=")
        )
        for line in lines
    }


def eventually(ask: Callable[[], Answer], seconds: float = 10) -> Answer:
    """Ask until the answer is something, or time is up, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


@dataclass(frozen=True)
class Stack:
    """One host with the whole stack on it."""

    name: str
    ca: Path
    https_port: int = 443
    http_port: int = 80

    @cached_property
    def host(self) -> Host:
        """Return the host as its operator reaches it: by SSH, with sudo."""
        return testinfra.get_host(
            f"ssh://deploy@{self.name}", ssh_config=str(SSH_CONFIG), sudo=True
        )

    @cached_property
    def address(self) -> str:
        """Return the host's address, from the project's SSH configuration."""
        said = subprocess.run(
            ["ssh", "-G", "-F", SSH_CONFIG, self.name], capture_output=True, text=True, check=True
        ).stdout
        return next(line.split()[1] for line in said.splitlines() if line.startswith("hostname "))

    def client(self) -> str:
        """Return the address from which this machine reaches the host."""
        with socket.create_connection((self.address, self.https_port), timeout=10) as connection:
            return str(connection.getsockname()[0])

    def context(self, **limits: ssl.TLSVersion) -> ssl.SSLContext:
        """Return a TLS context that trusts this host's authority alone, with ``minimum_version`` and the like set."""
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, version in limits.items():
            setattr(context, name, version)
        return context

    def run(self, command: str) -> str:
        """Run a command as root and return its output; fail with what it said if it fails."""
        done = self.host.run(command)
        assert done.rc == 0, f"{self.name}: {command}\n{done.stdout}{done.stderr}"
        output: str = done.stdout
        return output

    def request(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send a request to a URL whose name leads to this host, without following redirects.

        Args:
            method: Such as ``GET``.
            url: Such as ``https://board.test/readyz``.
            more: What ``httpx.Client.request`` takes, and ``http2``, whether that may be spoken.
        """
        target = httpx.URL(url)
        port = target.port or (self.https_port if target.scheme == "https" else self.http_port)
        headers = {"Host": target.netloc.decode(), **more.pop("headers", {})}
        http2 = more.pop("http2", True)
        with httpx.Client(http2=http2, verify=self.context(), timeout=20) as client:
            return client.request(
                method,
                target.copy_with(host=self.address, port=port),
                headers=headers,
                extensions={"sni_hostname": target.host},
                **more,
            )

    def get(self, url: str, **more: Any) -> httpx.Response:
        """Send a GET."""
        return self.request("GET", url, **more)

    def raw(self, name: str, *head: str) -> int:
        """Send the head of an HTTP/1.1 request as it is over TLS, and return the status of the answer."""
        lines = [*head, f"Host: {name}", "Connection: close", "", ""]
        with (
            socket.create_connection((self.address, self.https_port), timeout=10) as connection,
            self.context().wrap_socket(connection, server_hostname=name) as tls,
        ):
            tls.sendall("\r\n".join(lines).encode())
            return int(tls.makefile("rb").readline().split()[1])

    def websocket(self, url: str) -> ClientConnection:
        """Open a WebSocket to a URL such as ``wss://board.test/api/stream``."""
        here, there = socket.socketpair()
        carried = self._carry(there, str(httpx.URL(url).host))
        threading.Thread(target=asyncio.run, args=[carried], daemon=True).start()
        return connect_websocket(url.replace("wss:", "ws:", 1), sock=here, open_timeout=20)

    async def _carry(self, there: socket.socket, name: str) -> None:
        """Carry bytes to the host by TLS and back.

        By one thread: the client reads and writes in two, which a TLS connection of Python doesn't bear, and now and
        then its request would not arrive.
        """
        far = await asyncio.open_connection(
            self.address, self.https_port, ssl=self.context(), server_hostname=name
        )
        near = await asyncio.open_connection(sock=there)
        await asyncio.gather(pump(near[0], far[1]), pump(far[0], near[1]))

    def journal(self, unit: str) -> str:
        """Return the last lines of a unit's journal: what a failing test should show."""
        return str(
            self.host.run(f"journalctl --unit '{unit}' --lines 40 --output cat --no-pager").stdout
        )


Configure = Callable[..., None]
Hook = Callable[[pytest.Item], Generator[None, pytest.TestReport, pytest.TestReport]]


def shows_journals(*units: str) -> Hook:
    """Return a scenario's ``pytest_runtest_makereport``: a test that failed shows the journals of these units.

    They are those of the hosts that the test was given as ``stack`` or ``stacks``.
    """

    @pytest.hookimpl(wrapper=True)
    def hook(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        given = getattr(item, "funcargs", {})
        hosts = [given["stack"]] if "stack" in given else given.get("stacks", [])
        if report.when == "call" and report.failed:
            report.sections += [
                (f"journal of {unit} on {host.name}", host.journal(unit))
                for host in hosts
                for unit in units
            ]
        return report

    return hook
