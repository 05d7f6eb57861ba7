"""Wheels: what pip says and what is made of it, and which wheels that were built here are shipped."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.version import Version
from slipway_build import wheels
from slipway_build.lock import Pin
from slipway_build.process import BuildError
from slipway_build.target import Target

DEBIAN_13 = Target("3.13.5", "x86_64", "2.41")
PINS = {name: Pin(name, "1.0", ("sha256:" + "0" * 64,)) for name in ("docopt", "fastapi", "lxml")}


def lacks(name: str, more: str = "") -> BuildError:
    """Return what pip says of a package without a fitting file."""
    return BuildError(
        f"{more}ERROR: Could not find a version that satisfies the requirement {name}==1.0 (from versions: none)\n"
        f"ERROR: No matching distribution found for {name}==1.0"
    )


class Index:
    """An index as pip sees it: of some packages there is no wheel, and of some of these a source distribution.

    Attributes:
        without: Packages without a wheel, and what pip says on top.
        built: What the wheel is called that is built of one.
    """

    def __init__(self, without: dict[str, str], built: dict[str, str]) -> None:
        self.without, self.built = without, built

    def pip(self, command: str, *arguments: str | Path, env: object, python: str = "") -> None:
        """Do what pip would."""
        requirements = Path(arguments[arguments.index("--requirement") + 1]).read_text()
        wanted = [line.split("==")[0] for line in requirements.splitlines()]
        if command == "wheel":
            (name,) = wanted
            if name not in self.built:
                raise lacks(name)
            (out,) = [str(item).split("=")[1] for item in arguments if "--wheel-dir" in str(item)]
            (Path(out) / self.built[name]).write_text("wheel")
            return
        (log,) = [str(item).split("=")[1] for item in arguments if "--log" in str(item)]
        Path(log).touch()
        for name in wanted:
            if name in self.without:
                raise lacks(name, self.without[name])
        folder = Path(arguments[arguments.index("--dest") + 1])
        for name in wanted:
            (folder / f"{name}-1.0-py3-none-any.whl").write_text(name)


Fetch = Callable[[dict[str, str], dict[str, str]], tuple[list[str], set[str]]]


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """Return how the wheels of PINS are fetched from an index."""

    def fetch_from(without: dict[str, str], built: dict[str, str]) -> tuple[list[str], set[str]]:
        monkeypatch.setattr(wheels, "pip", Index(without, built).pip)
        lines = wheels.fetch(PINS, DEBIAN_13, tmp_path / "wheels", dict)
        return lines, {path.name for path in (tmp_path / "wheels").iterdir()}

    return fetch_from


def test_what_has_no_wheel_is_built_here_and_locked_by_what_came_out(fetch: Fetch) -> None:
    lines, files = fetch({"docopt": ""}, {"docopt": "docopt-1.0-py2.py3-none-any.whl"})
    assert files == {
        "docopt-1.0-py2.py3-none-any.whl",
        "fastapi-1.0-py3-none-any.whl",
        "lxml-1.0-py3-none-any.whl",
    }
    assert lines[0] == f"docopt==1.0 --hash=sha256:{hashlib.sha256(b'wheel').hexdigest()}"
    assert lines[1] == PINS["fastapi"].requirement


def test_what_cannot_be_built_for_the_target_is_refused_all_at_once(fetch: Fetch) -> None:
    ignored = "ERROR: Ignored the following versions that require a different python version: "
    with pytest.raises(BuildError) as refused:
        fetch(
            {
                "docopt": "",
                "fastapi": f"{ignored}0.9 Requires-Python >=3.13; 1.0 Requires-Python >=3.14\n",
                "lxml": "",
            },
            {"lxml": "lxml-1.0-cp312-cp312-linux_x86_64.whl"},
        )
    assert str(refused.value).startswith(
        "lock: no wheel for cp313-x86_64-glibc2.41 of docopt 1.0 (nor a source distribution), "
        "fastapi 1.0 (it wants Python >=3.14), lxml 1.0 (built here it is for cp312-cp312-linux_x86_64"
    )


def test_a_native_wheel_of_this_machine_is_shipped_to_no_older_c_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.41")
    native = Path("x-1.0-cp313-cp313-linux_x86_64.whl")
    wheels.check_built(native, DEBIAN_13)
    with pytest.raises(
        BuildError, match=r"built here it is for cp313-cp313-linux_x86_64, glibc 2\.41"
    ):
        wheels.check_built(native, Target("3.13.5", "x86_64", "2.36"))
    with pytest.raises(BuildError, match="built here it is for"):
        wheels.check_built(native, Target("3.13.5", "aarch64", "2.41"))
    wheels.check_built(Path("x-1.0-py3-none-any.whl"), Target("3.13.5", "aarch64", "2.36"))


def test_a_package_that_was_installed_is_asked_for_its_python_by_its_own_words() -> None:
    said = "ERROR: Package 'Python_Dotenv' requires a different Python: 3.9.2 not in '>=3.10'"
    assert wheels.unfit(said) == ("python-dotenv", ">=3.10")
    assert wheels.unfit("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES") == ("", "")


def test_an_index_that_does_not_answer_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(command: str, *arguments: str | Path, env: object) -> None:
        (log,) = [str(item).split("=")[1] for item in arguments if "--log" in str(item)]
        Path(log).write_text(
            "Could not fetch URL http://me:****@a.example.org/simple/x/: 404 Client Error: x - skipping\n"
            "Could not fetch URL http://b.example.org/simple/x/: connection error: refused - skipping\n"
        )
        raise lacks("docopt")

    monkeypatch.setattr(wheels, "pip", pip)
    with pytest.raises(
        BuildError,
        match=r"lock: can't fetch .*: http://b\.example\.org/simple/x/: connection",
    ):
        wheels.fetch(PINS, DEBIAN_13, tmp_path / "wheels", dict)


@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("v1.2.0", "1.2.0"),
        ("1.2", "1.2"),
        ("v1.2-3-g0a1b2c4-dirty", "1.2+3.g0a1b2c4.dirty"),
        ("feature/new_shop", "0+feature.new.shop"),
        ("0a1b2c4", "0+0a1b2c4"),
        ("", "0"),
    ],
)
def test_a_build_system_is_told_the_version_that_it_would_ask_git_for(
    described: str, version: str
) -> None:
    assert set(wheels.scm(described).values()) == {str(Version(version))} == {version}


def test_an_applications_wheel_for_another_platform_is_refused() -> None:
    wheels.check_wheel(Path("shop-1.0-py3-none-any.whl"), DEBIAN_13)
    with pytest.raises(BuildError, match=r"source: .* does not run on cp313-x86_64-glibc2\.41"):
        wheels.check_wheel(Path("shop-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"), DEBIAN_13)


def test_it_is_built_with_the_targets_own_python_where_this_machine_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python3.99").write_text("#!/bin/sh\necho 3.99\n")
    (tmp_path / "python3.98").write_text("#!/bin/sh\necho not installed >&2; exit 127\n")
    for name in ("python3.99", "python3.98"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert wheels.builder("3.99") == str(tmp_path / "python3.99")
    assert wheels.builder("3.98") == wheels.builder("3.97") == sys.executable
