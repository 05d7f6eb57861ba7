"""Whole builds: they ask the package index, and build for hosts that need not exist."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slipway_build import indexes
from slipway_build.release import build
from tests.build.tools import ROOT, Build, Index, installed, made


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which all the tests build."""
    return tmp_path_factory.mktemp("build")


@pytest.fixture
def release(tmp_path: Path, cache: Path) -> Build:
    """Return how the application ``shop`` is built, by default for Debian 13; the keys of ``apps`` are given."""
    default: dict[str, Any] = {
        "name": "shop",
        "source": "shop",
        "version": "",
        "folder": "",
        "lock": "",
        "module": "shop.main:app",
        "static": "",
        "frontend": "",
        "shared": [],
        "python": "system",
        "system_python": "3.13.5",
        "architecture": "x86_64",
        "glibc": "2.41",
        "source_root": str(tmp_path),
        "build_dir": str(cache),
        "uv_requirements": str(ROOT / "requirements/uv.txt"),
        "server_requirements": str(ROOT / "requirements/server.txt"),
    }

    def built(**given: Any) -> dict[str, Any]:
        indexes.environment.cache_clear()  # each test has settings of its own
        return build({**default, **given})

    return built


@pytest.fixture(scope="session")
def private_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Serve an index to the user ``me`` with the password ``s3cr@t``."""
    folder = tmp_path_factory.mktemp("index")
    password = b64encode(hashlib.sha1(b"s3cr@t").digest()).decode()
    made(folder, {"passwords": f"me:{{SHA}}{password}\n", "packages/README": ""})
    server = installed(folder / "venv", "pypiserver[passlib]") / "pypi-server"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-i", "127.0.0.1", "-a", "download,list", "-P", "passwords", "--disable-fallback"]
    command = [str(server), "run", "-p", str(port), *options, "packages"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stderr=log) as process,
    ):
        try:
            while "Listening" not in (folder / "log").read_text():
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield Index(f"http://127.0.0.1:{port}/simple/", folder / "packages")
        finally:
            process.terminate()
