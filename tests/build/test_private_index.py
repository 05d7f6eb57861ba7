"""An index that wants a password, by the control node's own settings; and packages without a wheel."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from slipway_build.process import BuildError
from slipway_build.relock import relock
from tests.build.tools import Build, Index, compiled, made, requirements, uv, wheels

NATIVE = "\nclass Native(setuptools.Distribution):\n    def has_ext_modules(self): return True\n"
SETUP = "import setuptools{native}\nsetuptools.setup(name='{name}', version='1.0', py_modules=['{name}']{more})\n"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"


def sdist(index: Index, name: str, native: bool = False) -> None:
    """Put a package into an index that is a source distribution only; natively, its wheel is for one platform."""
    setup = SETUP.format(
        name=name, native=NATIVE if native else "", more=", distclass=Native" if native else ""
    )
    folder = made(
        index.packages.parent / name,
        {
            f"{name}-1.0/PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{name}-1.0/setup.py": setup,
            f"{name}-1.0/{name}.py": "",
        },
    )
    with tarfile.open(index.packages / f"{name}-1.0.tar.gz", "w:gz") as archive:
        archive.add(folder / f"{name}-1.0", f"{name}-1.0")


@pytest.fixture
def shop(tmp_path: Path, private_index: Index, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an application that depends on packages of the index, which only uv is told of."""
    for name, native in {"ours": False, "theirs": True}.items():
        sdist(private_index, name, native)
    monkeypatch.setenv("UV_INDEX", f"our-own={private_index.url}")
    monkeypatch.setenv("UV_INDEX_OUR_OWN_USERNAME", "me")
    monkeypatch.setenv("UV_INDEX_OUR_OWN_PASSWORD", "s3cr@t")
    folder = made(tmp_path / "shop", {"shop/main.py": "app = 1\n"})
    compiled(folder, "ours", "theirs", "idna")
    return folder


@pytest.mark.usefixtures("shop")
def test_what_has_no_wheel_is_built_here_for_hosts_like_this_machine(release: Build) -> None:
    built = release(system_python=HERE, architecture="x86_64", glibc="2.99")
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert {"ours-1.0-py3-none-any.whl", f"theirs-1.0-{tag}-{tag}-linux_x86_64.whl"} <= wheels(
        built
    )
    assert requirements(built)["ours"].startswith("ours==1.0 --hash=sha256:")


@pytest.mark.usefixtures("shop")
def test_what_has_no_wheel_is_refused_for_other_hosts_by_name(release: Build) -> None:
    with pytest.raises(
        BuildError, match=r"no wheel for cp313-aarch64-glibc2\.41 of theirs 1\.0 \(built here"
    ):
        release(architecture="aarch64")


@pytest.mark.usefixtures("shop")
def test_a_wrong_password_says_which_index_and_not_the_password(
    release: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX_OUR_OWN_PASSWORD", "wr0ng")
    with pytest.raises(BuildError, match=r"(?s)^lock: .*/simple/.* 40[13]") as refused:
        release(glibc="2.40")
    assert "wr0ng" not in str(refused.value)


def test_a_package_of_the_index_is_locked_and_shipped(
    tmp_path: Path, private_index: Index, release: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = made(
        tmp_path / "project",
        {
            "pyproject.toml": '[project]\nname = "shop"\nversion = "1.4.2"\nrequires-python = ">=3.11"\n'
            'dependencies = ["idna"]\n'
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
            "src/shop/__init__.py": "",
            "src/shop/main.py": "app = 1\n",
        },
    )
    uv("build", "--out-dir", private_index.packages, cwd=project)
    monkeypatch.setenv("UV_INDEX", private_index.with_password)
    keys = {"version": "", "folder": "", "lock": "", "python": "system"}
    places = {"source_root": str(tmp_path), "build_dir": str(tmp_path / "build")}
    done = relock({"name": "shop", "source": "shop==1.4.2", **keys, **places})
    text = (tmp_path / "locks/shop.txt").read_text()
    assert done["packages"] == 2
    assert "s3cr" not in text and "127.0.0.1" not in text

    built = release(source="shop==1.4.2")
    assert built["version"] == "1.4.2"
    assert "shop-1.4.2-py3-none-any.whl" in wheels(built)

    # The same as the file that it is, without the index: a wheel or an sdist.
    (tmp_path / "locks/shop.txt").write_text("")
    compiled(tmp_path / "locks", "idna")
    (tmp_path / "locks/requirements.txt").rename(tmp_path / "locks/shop.txt")
    for name in ("shop-1.4.2-py3-none-any.whl", "shop-1.4.2.tar.gz"):
        assert release(source=str(private_index.packages / name))["version"] == "1.4.2"


def test_make_lock_tells_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, {"shop/requirements.txt": "idna\n", "shop/main.py": "app = 1\n"})
    made(
        tmp_path / "inventory",
        {
            "hosts.yml": "app: {hosts: {one: {ansible_host: 192.0.2.1}, two: {}}}\n",
            "group_vars/all.yml": "apps: {shop: {source: shop, module: 'main:app', domains: [shop.example.org]}}\n",
        },
    )
    told = []
    for _ in "first", "second":
        options = ["-e", "app=shop", "-e", f"fastapi_app_source_root={tmp_path}"]
        options += ["-e", f"fastapi_app_build_dir={tmp_path}/build"]
        command = [
            "ansible-playbook",
            "-i",
            f"{tmp_path}/inventory",
            "playbooks/lock.yml",
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        told.append(" ".join(done.stdout.split()))
    assert "locks/shop.txt is written: 1 packages with their hashes, of requirements.txt" in told[0]
    assert "Commit it" in told[0]
    assert "locks/shop.txt is as it was" in told[1]
    assert (tmp_path / "locks/shop.txt").read_text().startswith("# This file was autogenerated")
