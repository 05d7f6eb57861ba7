# /// script
# requires-python = ">=3.11"
# dependencies = ["pypiserver==2.*"]
# ///
"""What a team has behind a password: a git server, and an index of packages that leads to the public one for others.

    UPSTREAM_LOGIN=user:password uv run --script upstream.py FOLDER PORT

Serves the repositories in FOLDER/git at /git/, and the wheels and sdists in FOLDER/index at /simple/.
"""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pypiserver  # type: ignore[import-not-found, unused-ignore]

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def git(folder: Path) -> Application:
    """Return what serves repositories: git's own CGI program."""

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = {key: value for key, value in environ.items() if isinstance(value, str)}
        request |= {"GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1"}
        request |= {"GIT_PROTOCOL": request.get("HTTP_GIT_PROTOCOL", "")}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=request, capture_output=True, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        start_response(headers.pop("Status", "200 OK"), list(headers.items()))
        return [content]

    return application


def behind_password(login: str, index: Application, repositories: Application) -> Application:
    """Return both behind HTTP's basic authentication."""
    expected = f"Basic {b64encode(login.encode()).decode()}"

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_AUTHORIZATION") != expected:
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="team"')])
            return []
        if environ["PATH_INFO"].startswith("/git/"):
            return repositories(
                {**environ, "PATH_INFO": environ["PATH_INFO"].removeprefix("/git")}, start_response
            )
        return index(environ, start_response)

    return application


class Server(ThreadingMixIn, WSGIServer):
    """One thread a request."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """One that keeps quiet."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until stopped."""
    folder, port = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    index = pypiserver.app(
        roots=[folder / "index"], password_file=".", authenticate=[], hash_algo="sha256"
    )
    application = behind_password(os.environ["UPSTREAM_LOGIN"], index, git(folder / "git"))
    make_server("127.0.0.1", port, application, Server, Handler).serve_forever()


if __name__ == "__main__":
    main()
