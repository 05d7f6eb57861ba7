"""What the tests of whole builds share: sources, locks and tools to make, releases to look into."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway_build.process import run

ROOT = Path(__file__).resolve().parents[2]
Build = Callable[..., dict[str, Any]]


def made(folder: Path, files: dict[str, str]) -> Path:
    """Make files in a folder, and return that."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def uv(*arguments: str | Path, cwd: Path) -> str:
    """Run uv and return what it prints."""
    return run("uv", *arguments, cwd=cwd)


def compiled(folder: Path, *wanted: str, python: str = "3.11") -> None:
    """Lock requirements into a folder's ``requirements.txt``."""
    (folder / "requirements.in").write_text("\n".join(wanted))
    options = ("--universal", "--generate-hashes", "--python-version", python, "--no-header")
    uv(
        "pip",
        "compile",
        "--quiet",
        *options,
        "requirements.in",
        "-o",
        "requirements.txt",
        cwd=folder,
    )


def members(archive: str) -> set[str]:
    """Return the names of the files in an archive, below its one folder."""
    with tarfile.open(archive) as tar:
        return {member.name.partition("/")[2] for member in tar if not member.isdir()}


def requirements(release: dict[str, Any]) -> dict[str, str]:
    """Return the lines of a release's ``requirements.txt`` by package."""
    with tarfile.open(release["wheels_archive"]) as tar:
        file = tar.extractfile(f"{release['wheels_id']}/requirements.txt")
        assert file is not None
        lines = file.read().decode().splitlines()
    return {line.split("==")[0]: line for line in lines}


def wheels(release: dict[str, Any]) -> set[str]:
    """Return the names of a release's wheels."""
    return {name for name in members(release["wheels_archive"]) if name.endswith(".whl")}


def installed(folder: Path, *packages: str) -> Path:
    """Install packages into an environment of their own, and return where their programs are."""
    uv("venv", "--quiet", folder, cwd=folder.parent)
    uv("pip", "install", "--quiet", "--python", folder, *packages, cwd=folder.parent)
    return folder / "bin"


@dataclass(frozen=True)
class Index:
    """A package index on loopback that wants a password.

    Attributes:
        url: Its address, without the password.
        packages: Where its files lie.
    """

    url: str
    packages: Path

    @property
    def with_password(self) -> str:
        """Return its address as pip's settings have it."""
        return self.url.replace("//", "//me:s3cr%40t@")
