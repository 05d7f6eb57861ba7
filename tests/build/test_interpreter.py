"""An interpreter that is shipped: through uv, whose download is an archive here, or as that archive."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.build.tools import Build, compiled, made, uv

MACHINE = platform.machine()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return an archive of this machine's Debian Python, which finds its library wherever it lies, and its version."""
    binary = Path("/usr/bin/python3").resolve()
    asked = subprocess.run([binary, "-V"], capture_output=True, text=True, check=True)
    version = asked.stdout.split()[1]
    home = tmp_path_factory.mktemp("python") / "python"
    library = Path("/usr/lib") / binary.name
    left_out = shutil.ignore_patterns("__pycache__", "test", "idlelib", "lib2to3", "config-*")
    shutil.copytree(library, home / "lib" / binary.name, symlinks=True, ignore=left_out)
    for path in home.rglob("*"):
        if path.is_symlink() and path.readlink().is_absolute():
            path.unlink()  # Debian's settings
    (home / "bin").mkdir()
    shutil.copy2(binary, home / "bin")
    packed = home.parent / f"cpython-{version}-{MACHINE}.tar.gz"
    subprocess.run(["tar", "-czf", packed, "-C", home.parent, "python"], check=True)
    return packed, version


@pytest.mark.parametrize("kind", ["archive", "version"])
def test_an_environment_can_be_made_from_what_is_shipped(
    tmp_path: Path,
    archive: tuple[Path, str],
    release: Build,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    path, version = archive
    major, minor, patch = map(int, version.split("."))
    entry = {
        "name": "cpython",
        "arch": {"family": MACHINE, "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": major,
        "minor": minor,
        "patch": patch,
        "prerelease": "",
        "url": f"file://{path}",
        "sha256": None,
        "variant": None,
        "build": "20261101",
    }
    known = {f"cpython-{version}-linux-{MACHINE}-gnu": entry}
    made(tmp_path, {"downloads.json": json.dumps(known)})
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(tmp_path / "downloads.json"))
    compiled(made(tmp_path / "shop", {"shop/main.py": "app = 1\n"}), "idna")
    built = release(
        python=str(path) if kind == "archive" else f"{major}.{minor}",
        system_python="3.99.0",
        architecture=MACHINE,
    )
    shipped = built["interpreter"]
    assert shipped["version"] == version
    assert built["target"] == f"cp{major}{minor}-{MACHINE}-glibc2.41-{shipped['id']}"

    host = tmp_path / "host"
    host.mkdir()
    subprocess.run(["tar", "-xf", shipped["archive"], "-C", host], check=True)
    uv("venv", "--quiet", "--python", host / shipped["id"] / "bin/python3", "venv", cwd=host)
    code = (
        "import json, ssl, sys, venv; print(json.dumps([sys.base_prefix, sys.version.split()[0]]))"
    )
    ran = subprocess.run(
        [host / "venv/bin/python", "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == [str(host / shipped["id"]), version]
