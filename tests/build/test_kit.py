"""The server comes from the kit: under the versions of the lock, and never over them."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from slipway_build import kit
from slipway_build.lock import parsed
from slipway_build.process import BuildError
from slipway_build.resolve import resolve
from tests.build.tools import ROOT, Build, compiled, made, requirements

MAIN = {"shop/main.py": "app = object()\n"}


def pin(line: str) -> str:
    """Return the version of a locked requirement."""
    return line.split("==")[1].split()[0]


def test_a_lock_without_a_server_gets_the_kits_own_versions(tmp_path: Path, release: Build) -> None:
    compiled(made(tmp_path / "shop", MAIN), "idna==3.7")
    built = release()
    text = (ROOT / "requirements/server.txt").read_text()
    pinned = {item.name: item for item in parsed(text, ROOT, ROOT).pins}
    assert built["server"] == [f"{name} {item.version}" for name, item in sorted(pinned.items())]
    lines = requirements(built)
    assert pin(lines["idna"]) == "3.7"
    assert {name: lines[name] for name in pinned} == {
        name: item.requirement for name, item in pinned.items()
    }


def test_what_the_lock_has_stays_as_it_is(tmp_path: Path, release: Build) -> None:
    compiled(made(tmp_path / "shop", MAIN), "uvicorn==0.30.6", "h11==0.14.0", "click==8.1.7")
    built = release()
    lines = requirements(built)
    assert [pin(lines[name]) for name in ("uvicorn", "h11", "click")] == [
        "0.30.6",
        "0.14.0",
        "8.1.7",
    ]
    added = {text.split()[0] for text in built["server"]}
    assert added == {"gunicorn", "httptools", "uvicorn-worker", "uvloop"}
    for item in map(Requirement, kit.KIT):
        assert item.specifier.contains(pin(lines[item.name]))


def test_a_clash_names_both_packages_and_versions(tmp_path: Path, release: Build) -> None:
    compiled(made(tmp_path / "shop", MAIN), "h11==0.7.0")
    with pytest.raises(
        BuildError, match=r"lock: the lock pins h11 0\.7\.0, and uvicorn of the .* needs h11>=0\.8"
    ):
        release()


def test_a_lock_for_newer_pythons_that_does_not_say_so_is_resolved_for_those(
    tmp_path: Path,
) -> None:
    made(
        tmp_path, {"kit.in": "\n".join(kit.KIT), "constraints.txt": "click==8.2.0\n"}
    )  # which wants 3.10
    constraints, out = tmp_path / "constraints.txt", tmp_path / "out.txt"
    assert resolve(tmp_path / "kit.in", "3.9", out, dict, constraints) == "3.10"
    assert "click==8.2.0 " in out.read_text()
