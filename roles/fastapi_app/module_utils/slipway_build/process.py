"""Other programs: how they are run, and what is said when that fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit


class BuildError(Exception):
    """A release that can't be built: the message begins with the application's key, and says the fix."""


def redacted(text: str) -> str:
    """Return a text without the credentials of the URLs in it."""
    return re.sub(r"://[^/\s'\"]*@", "://***@", text)


def secrets(url: str) -> set[str]:
    """Return what must not be printed of a URL: the password in it, or the token that is there as the user."""
    parts = urlsplit(url) if "://" in url else None
    if parts is None or not parts.scheme.endswith(("http", "https")):
        return set()
    found = parts.password or parts.username or ""
    return {text for text in (found, unquote(found)) if text}


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it prints.

    Args:
        command: The program and its arguments. No secrets: everybody on the machine can read them.
        cwd: The folder to run it in.
        env: Variables on top of our own.

    Raises:
        BuildError: It failed, or is not there; the message is the end of what it said.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed on the control node") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(redacted("\n".join(said[-40:])))
    return done.stdout


def uv(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run the control node's uv, the one beside its Ansible, and return what it prints.

    It trusts the authorities of the machine, and takes the Pythons that are there: those that hosts get are asked
    for by name.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    defaults = {"UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "true", "UV_NO_PROGRESS": "1"}
    return run(
        shutil.which("uv", path=path) or "uv",
        *arguments,
        cwd=cwd,
        env={
            **{key: value for key, value in defaults.items() if key not in os.environ},
            **(env or {}),
        },
    )
