"""Files and folders: which belong to a source, a digest over them, and archives."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import brotli

from .process import BuildError, run

# Files by the name that they have in an archive.
Files = list[tuple[str, Path]]

LEFT_OUT = {
    ".git",
    ".hg",
    ".venv",
    "venv",
    "__pycache__",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
}
# What files that Nginx serves are compressed with: another one makes another release of the same source.
COMPRESSION = "gzip brotli"
COMPRESSIBLE = {
    ".css",
    ".html",
    ".js",
    ".json",
    ".map",
    ".mjs",
    ".svg",
    ".txt",
    ".wasm",
    ".webmanifest",
    ".xml",
}


def walked(folder: Path) -> list[Path]:
    """Return the files of a folder, relative to it, but for tools' own folders."""
    files = (
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    )
    return sorted(path for path in files if not LEFT_OUT & set(path.parts))


def folder_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are its source: what git tracks or would track.

    Outside of git, and where a work tree ignores the whole folder, all files but those of tools.
    """
    if not any((parent / ".git").exists() for parent in (folder, *folder.resolve().parents)):
        return walked(folder)
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    tracked = {Path(name) for name in listed.split("\0") if name}
    return [path for path in walked(folder) if path in tracked] if tracked else walked(folder)


def digest(files: Files, *more: str) -> str:
    """Return 12 hexadecimal digits over files, by name, mode and content, and over further texts."""
    total = hashlib.sha256()
    for name, path in files:
        if path.is_symlink():
            kind, content = "link", str(path.readlink()).encode()
        else:
            kind, content = "exec" if os.access(path, os.X_OK) else "file", path.read_bytes()
        total.update(f"{kind} {name} {len(content)}\0".encode() + content)
    for text in more:
        total.update(f"text {len(text)}\0{text}".encode())
    return total.hexdigest()[:12]


def digest_of(path: Path) -> str:
    """Return 12 hexadecimal digits over the content of one file, whatever its size and name."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file to an archive as root's, readable by all, with the time that it has."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = int(member.mtime)  # gzip_static wants a file and its .gz to be of one time
        if member.isfile():
            member.mode = 0o755 if member.mode & 0o100 else 0o644
        return member

    archive.add(path, name, recursive=False, filter=plain)


def add_text(archive: tarfile.TarFile, name: str, content: bytes, mtime: float = 0) -> None:
    """Add a file that is nowhere on the disk to an archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o644, int(mtime)
    archive.addfile(member, io.BytesIO(content))


def add_compressed(archive: tarfile.TarFile, files: Files) -> None:
    """Add files that Nginx serves, each worth it with a ``.gz`` and a ``.br`` beside; links as what they lead to."""
    for name, path in files:
        if not path.is_file():
            continue
        add(archive, path.resolve(), name)
        content = path.read_bytes()
        if path.suffix in COMPRESSIBLE and len(content) >= 512:
            time = path.stat().st_mtime
            add_text(archive, f"{name}.gz", gzip.compress(content, 9, mtime=0), time)
            add_text(archive, f"{name}.br", brotli.compress(content), time)


def copied(files: Iterable[Path], tree: Path, into: Path) -> Path:
    """Copy files of a tree, given relative to it, into a folder, and return that."""
    for path in files:
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / path, into / path, follow_symlinks=False)
    return into


def unpack(archive: Path, into: Path) -> Path:
    """Unpack a tar, whatever its compression, into a new folder, and return that.

    By the program and not by ``tarfile``, which knows no zstd before Python 3.14. It lets no member out of the folder.
    """
    into.mkdir(parents=True)
    try:
        run("tar", "--extract", "--no-same-owner", "--file", archive, "--directory", into)
    except BuildError as error:
        if lacking := re.search(r"\(child\): (\w+): Cannot exec", str(error)):
            raise BuildError(
                f"that takes {lacking[1]}, which is not installed on the control node"
            ) from error
        raise
    return into


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a scratch folder whose ``out``, a file or a folder, becomes ``path`` when all went well, and not before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        yield Path(scratch) / "out"
        (Path(scratch) / "out").rename(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs on one control node do not build the same thing at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
