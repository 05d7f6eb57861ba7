"""Interpreters that are shipped: a CPython that the control node gets through uv, or that comes as an archive."""

from __future__ import annotations

import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from .files import add, digest_of, unpack, written
from .process import BuildError, uv
from .target import MINORS

ARCHIVES = (".tar.gz", ".tgz", ".tar.xz", ".tar.zst")
VERSION = re.compile(r"3\.\d+(\.\d+)?")
BINARY = re.compile(r"python3\.\d+")
# ELF's numbers of machines (e_machine), by the names that the kernel has for them.
MACHINES = {
    3: "i686",
    21: "ppc64le",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
}
# What uv calls otherwise.
UV_MACHINES = {"armv7l": "armv7", "ppc64le": "powerpc64le"}


@dataclass(frozen=True)
class Interpreter:
    """A relocatable CPython.

    Attributes:
        id: What it is called on the hosts; equal ids are the same interpreter.
        version: Such as ``3.14.2``.
        archive: A tar of it below a folder of that id.
    """

    id: str
    version: str
    archive: Path


def find(python: str, architecture: str, root: Path, cache: Path) -> tuple[Interpreter, bool]:
    """Return the interpreter that ``apps.<name>.python`` asks for, and whether it was made just now.

    Args:
        python: A version, or the path of an archive.
        architecture: The host's, such as ``x86_64``.
        root: What a relative path starts from.
        cache: Where interpreters are kept.

    Raises:
        BuildError: There is none, or it is not for such a host.
    """
    if VERSION.fullmatch(python):
        if int(python.split(".")[1]) < MINORS[0]:
            raise BuildError(f"python: {python} is too old; if 3.10 is meant, quote it: '3.10'")
        return from_uv(python, architecture, cache / "python")
    path = root / python
    if not python.endswith(ARCHIVES):
        raise BuildError(
            f"python: {python!r} must be system, a version such as 3.14, or the path of a .tar.gz, .tar.xz or .tar.zst"
        )
    if not path.is_file():
        raise BuildError(f"python: there is no archive {path} on the control node")
    return from_archive(path, architecture, cache / "python")


def kept(path: Path) -> Interpreter:
    """Return an interpreter by the archive that it is kept as, ``<id>.tar.gz``."""
    name = path.name.removesuffix(".tar.gz")
    return Interpreter(name, name.split("-")[1], path)


def from_uv(python: str, architecture: str, cache: Path) -> tuple[Interpreter, bool]:
    """Return an interpreter that uv knows; it is downloaded once."""
    key = f"cpython-{python}-linux-{UV_MACHINES.get(architecture, architecture)}-gnu"
    # By 3.14 the one that is there is meant, until somebody names another: a release shall not change by itself.
    pattern = key if python.count(".") == 2 else key.replace(python, f"{python}.*")
    there = [kept(path) for path in cache.glob(f"{pattern}.tar.gz")]
    if there:
        return max(there, key=lambda item: Version(item.version)), False
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        options = ("--no-bin", "--install-dir", scratch)  # quiet, it does not say why it fails
        try:
            uv("python", "install", *options, key, env={"UV_PYTHON_DOWNLOADS": "automatic"})
        except BuildError as error:
            raise BuildError(
                f"python: uv can't get {python} for {architecture}. Set UV_PYTHON_INSTALL_MIRROR, or "
                "python-install-mirror in uv.toml, to a mirror that this machine reaches, or set python to "
                "the archive of an interpreter. "
                f"uv says: {error}"
            ) from error
        (home,) = [path for path in Path(scratch).glob("cpython-*") if not path.is_symlink()]
        inspected(home, key, architecture)
        return packed(home, home.name, cache), True


def from_archive(path: Path, architecture: str, cache: Path) -> tuple[Interpreter, bool]:
    """Return the interpreter in an archive."""
    content = digest_of(path)
    if there := list(cache.glob(f"cpython-*-{architecture}-{content}.tar.gz")):
        return kept(there[0]), False
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        try:
            tree = unpack(path, Path(scratch) / "tree")
        except BuildError as error:
            raise BuildError(f"python: {path.name} can't be unpacked: {error}") from error
        homes = {
            path.parents[1] for path in tree.rglob("bin/python3.*") if BINARY.fullmatch(path.name)
        }
        if not homes:
            raise BuildError(
                f"python: {path.name} has no bin/python3.<N> in it; it must hold a relocatable CPython"
            )
        home = min(homes, key=lambda folder: len(folder.parts))
        release = inspected(home, path.name, architecture)
        return packed(home, f"cpython-{release}-linux-{architecture}-{content}", cache), True


def binary_of(home: Path) -> Path:
    """Return an interpreter's program, ``bin/python3.<N>``."""
    return next(path for path in sorted((home / "bin").iterdir()) if BINARY.fullmatch(path.name))


def inspected(home: Path, name: str, architecture: str) -> str:
    """Return the version of an interpreter, by its header or else by the names of its archive and folder.

    Raises:
        BuildError: It is for other machines, or nothing tells its version.
    """
    binary = binary_of(home)
    with binary.open("rb") as file:
        head = file.read(4096)
    if head[:4] != b"\x7fELF" or b"/ld-musl" in head:
        raise BuildError(f"python: {binary.name} in {name} is no program for Linux with glibc")
    number = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")
    if (machine := MACHINES.get(number, f"machine {number}")) != architecture:
        raise BuildError(
            f"python: {name} is an interpreter for {machine}, and the host is {architecture}"
        )
    minor = binary.name.removeprefix("python")
    header = home / "include" / binary.name / "patchlevel.h"
    told = header.read_text() if header.is_file() else f"{name} {home.name}"
    release = re.search(rf"(?<![\d.]){re.escape(minor)}\.\d+((a|b|rc)\d+)?", told)
    if release is None:
        raise BuildError(
            f"python: nothing tells which {minor} it is; name the archive after its version, "
            f"such as cpython-{minor}.1.tar.gz"
        )
    return release[0]


def packed(home: Path, name: str, cache: Path) -> Interpreter:
    """Pack an interpreter into a tar, so that its files are below a folder of its name."""
    path = cache / f"{name}.tar.gz"
    with written(path) as out, tarfile.open(out, "w:gz", compresslevel=1) as archive:
        for file in sorted(home.rglob("*")):
            if (file.is_symlink() or file.is_file()) and "__pycache__" not in file.parts:
                add(archive, file, f"{name}/{file.relative_to(home)}")
        if not (home / "bin/python3").exists():
            link = tarfile.TarInfo(f"{name}/bin/python3")
            link.type, link.linkname = tarfile.SYMTYPE, binary_of(home).name
            archive.addfile(link)
    return kept(path)
