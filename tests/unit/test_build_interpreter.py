"""Interpreters: what an archive must hold, what it is called, and what is refused with the fix."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from slipway_build import interpreter
from slipway_build.process import BuildError

X86_64, AARCH64 = 62, 183
# uv insists on it, and on how it begins.
SYSCONFIG = (
    b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
)


def program(machine: int = X86_64, more: bytes = b"") -> bytes:
    """Return the beginning of an ELF file for a machine."""
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44) + more


def archive(
    path: Path, files: dict[str, bytes], links: dict[str, str] | None = None, top: str = "python"
) -> Path:
    """Make an archive of an interpreter, compressed as its name says."""
    tree = path.parent / f"{path.name}.tree"
    for name, content in files.items():
        (tree / top / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / top / name).write_bytes(content)
        (tree / top / name).chmod(0o755 if name.startswith("bin/") else 0o644)
    for name, to in (links or {}).items():
        (tree / top / name).symlink_to(to)
    subprocess.run(["tar", "-caf", path, "-C", tree, "."], check=True)
    return path


CPYTHON = {
    "bin/python3.14": program(),
    "lib/python3.14/os.py": b"",
    "lib/python3.14/venv/cli.py": b"",
}


def found(path: Path, architecture: str = "x86_64") -> interpreter.Interpreter:
    """Return what is found in an archive that the inventory names."""
    return interpreter.find(path.name, architecture, path.parent, path.parent / "cache")[0]


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    """Return what is in a tar, by name."""
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar.getmembers()}


@pytest.mark.parametrize(
    "name", ["cpython-3.14.2+2026-x86_64.tar.gz", "3.14.2.tar.xz", "py3.14.2.tgz"]
)
def test_an_archive_is_called_by_its_version_and_digest(tmp_path: Path, name: str) -> None:
    one = found(archive(tmp_path / name, CPYTHON, {"bin/python3": "python3.14"}))
    assert one.version == "3.14.2"
    assert one.id.startswith("cpython-3.14.2-linux-x86_64-")
    packed = members(one.archive)
    assert set(packed) == {f"{one.id}/{path}" for path in (*CPYTHON, "bin/python3")}
    assert packed[f"{one.id}/bin/python3"].linkname == "python3.14"
    assert packed[f"{one.id}/bin/python3.14"].mode == 0o755


def test_the_header_tells_the_version_better_than_names(tmp_path: Path) -> None:
    header = {"include/python3.14/patchlevel.h": b'#define PY_VERSION "3.14.9"\n'}
    one = found(archive(tmp_path / "python-3.14.2.tar.gz", CPYTHON | header))
    assert one.version == "3.14.9"


def test_an_interpreter_without_a_python3_gets_one(tmp_path: Path) -> None:
    one = found(archive(tmp_path / "cpython-3.14.2.tar.gz", CPYTHON))
    assert members(one.archive)[f"{one.id}/bin/python3"].linkname == "python3.14"


def test_an_interpreter_may_lie_deep_in_its_archive(tmp_path: Path) -> None:
    more = {"../build/x/y/bin/python3.14": program(AARCH64)}
    one = found(archive(tmp_path / "3.14.2.tar.gz", CPYTHON | more, top="python/install"))
    assert f"{one.id}/lib/python3.14/os.py" in members(one.archive)


def test_the_same_archive_is_packed_once(tmp_path: Path) -> None:
    path = archive(tmp_path / "3.14.2.tar.gz", CPYTHON)
    first = interpreter.find(path.name, "x86_64", tmp_path, tmp_path / "cache")
    again = interpreter.find(str(path), "x86_64", tmp_path, tmp_path / "cache")
    assert (first[1], again) == (True, (first[0], False))


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        (
            {"bin/python3.14": program(AARCH64)},
            "3.14.2",
            "an interpreter for aarch64, and the host is x86_64",
        ),
        (
            {"bin/python3.14": b"#!/bin/sh\n"},
            "3.14.2",
            "python3.14 in .* is no program for Linux with glibc",
        ),
        (
            {"bin/python3.14": program(more=b"/lib/ld-musl-x86_64.so.1")},
            "3.14.2",
            "no program for Linux with glibc",
        ),
        ({"bin/pypy3": program()}, "3.14.2", r"has no bin/python3\.<N> in it"),
        (
            CPYTHON,
            "cpython",
            r"nothing tells which 3\.14 it is; name the archive after its version",
        ),
        (CPYTHON, "cpython-3.13.2", r"nothing tells which 3\.14 it is"),
    ],
)
def test_what_is_no_interpreter_for_the_host_is_refused(
    tmp_path: Path, files: dict[str, bytes], name: str, message: str
) -> None:
    with pytest.raises(BuildError, match=f"^python: .*{message}"):
        found(archive(tmp_path / f"{name}.tar.gz", files))
    assert not list((tmp_path / "cache").rglob("*.tar.gz"))


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("3.1", r"3\.1 is too old; if 3\.10 is meant, quote it"),
        ("python3.14", "must be system, a version such as 3.14, or the path of"),
        ("gone.tar.gz", "there is no archive .*/gone.tar.gz on the control node"),
        ("broken.tar.gz", "broken.tar.gz can't be unpacked: "),
    ],
)
def test_a_python_that_cannot_be_is_refused(tmp_path: Path, python: str, message: str) -> None:
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    with pytest.raises(BuildError, match=f"^python: .*{message}"):
        interpreter.find(python, "x86_64", tmp_path, tmp_path / "cache")


def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, machine: str) -> None:
    """Let uv know of one interpreter, which is an archive here."""
    major, minor, patch = version.split(".")
    content = {
        f"bin/python3.{minor}": program(AARCH64 if machine == "aarch64" else X86_64),
        f"lib/python3.{minor}/_sysconfigdata__linux_.py": SYSCONFIG,
    }
    path = archive(tmp_path / f"{version}-{machine}.tar.gz", content)
    entry = {
        "name": "cpython",
        "arch": {"family": machine, "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": int(major),
        "minor": int(minor),
        "patch": int(patch),
        "prerelease": "",
        "url": f"file://{path}",
        "sha256": None,
        "variant": None,
        "build": "20261101",
    }
    known = tmp_path / "downloads.json"
    known.write_text(json.dumps({f"cpython-{version}-linux-{machine}-gnu": entry}))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(known))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_version_comes_once_through_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    download(tmp_path, monkeypatch, "3.14.2", machine)
    one, new = interpreter.find("3.14", machine, tmp_path, tmp_path / "cache")
    assert (one.id, one.version, new) == (f"cpython-3.14.2-linux-{machine}-gnu", "3.14.2", True)
    assert f"{one.id}/bin/python3.14" in members(one.archive)
    # A newer one is another release, hence named.
    download(tmp_path, monkeypatch, "3.14.10", machine)
    assert interpreter.find("3.14", machine, tmp_path, tmp_path / "cache") == (one, False)
    newer, new = interpreter.find("3.14.10", machine, tmp_path, tmp_path / "cache")
    assert (newer.version, new) == ("3.14.10", True)
    assert interpreter.find("3.14", machine, tmp_path, tmp_path / "cache") == (newer, False)


def test_a_version_that_uv_cannot_get_names_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(tmp_path, monkeypatch, "3.14.2", "x86_64")
    (tmp_path / "3.14.2-x86_64.tar.gz").unlink()
    with pytest.raises(
        BuildError,
        match=r"(?s)uv can't get 3\.14 .*UV_PYTHON_INSTALL_MIRROR.* uv says: .*Failed",
    ):
        interpreter.find("3.14", "x86_64", tmp_path, tmp_path / "cache")
    with pytest.raises(BuildError, match=r"(?s)python: uv can't get 3\.9 .*No download found"):
        interpreter.find("3.9", "x86_64", tmp_path, tmp_path / "cache")
