"""The server kit: added where a lock leaves it open, never over it; a clash names both."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from slipway_build import kit
from slipway_build.lock import Lock, Pin
from slipway_build.process import BuildError
from slipway_build.target import Target

ROOT = Path(__file__).resolve().parents[2]
HASH = "sha256:" + "0" * 64
SERVER = {
    "gunicorn": "23.0",
    "httptools": "0.6",
    "uvicorn": "0.30",
    "uvicorn-worker": "0.3",
    "uvloop": "0.19",
}


def lock(marker: str = "", **versions: str) -> Lock:
    """Return a lock of packages; ``uvicorn_worker`` is uvicorn-worker."""
    return Lock(
        tuple(
            Pin(name.replace("_", "-"), version, (HASH,), marker=marker)
            for name, version in versions.items()
        )
    )


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the kit resolve to its versions in SERVER and h11, and return the constraints of each time."""
    calls: list[str] = []

    def resolve(wanted: Path, python: str, out: Path, env: object, constraints: Path) -> str:
        calls.append(f"{python}\n{constraints.read_text()}")
        names = {**SERVER, "h11": "0.16"}
        out.write_text(
            "".join(f"{name}=={version} --hash={HASH}\n" for name, version in names.items())
        )
        return python

    monkeypatch.setattr(kit, "resolve", resolve)
    return calls


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    """Return the kit's own lock."""
    (tmp_path / "server.txt").write_text("")
    return tmp_path / "server.txt"


def added(lock: Lock, pinned: Path, wanted: str = "") -> list[str]:
    """Return the names that the kit adds to a lock."""
    return [
        pin.name for pin in kit.completed(lock, [wanted], pinned, pinned.parent / "cache", dict)
    ]


def test_the_kit_is_what_the_project_locks() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert tuple(groups["server"]) == kit.KIT
    text = (ROOT / "requirements/server.txt").read_text()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE))
    for requirement in map(Requirement, kit.KIT):
        assert requirement.specifier.contains(pins[requirement.name])


def test_a_lock_that_has_the_server_is_left_alone(pinned: Path, resolved: list[str]) -> None:
    whole = lock(**{name.replace("-", "_"): version for name, version in SERVER.items()})
    assert added(whole, pinned) == []
    assert resolved == []


def test_what_a_lock_lacks_is_added_under_its_own_versions(
    pinned: Path, resolved: list[str]
) -> None:
    one = lock(fastapi="0.165", uvicorn="0.29", h11="0.14")
    assert added(one, pinned, ">=3.12") == ["gunicorn", "httptools", "uvicorn-worker", "uvloop"]
    assert resolved == ["3.12\nfastapi==0.165\nh11==0.14\nuvicorn==0.29\n"]
    assert added(one, pinned, ">=3.12") == ["gunicorn", "httptools", "uvicorn-worker", "uvloop"]
    assert len(resolved) == 1, "the same lock is resolved once"


def test_what_a_lock_has_for_some_hosts_only_is_added_for_the_others(
    pinned: Path, resolved: list[str]
) -> None:
    whole = lock(
        "platform_machine == 'x86_64'",
        **{name.replace("-", "_"): version for name, version in SERVER.items()},
    )
    assert "uvloop" in added(whole, pinned)
    assert "uvloop==0.19 ; platform_machine == 'x86_64'\n" in resolved[0]


@pytest.mark.parametrize(("name", "version"), [("gunicorn", "20.1.0"), ("uvicorn-worker", "0.2.0")])
def test_a_server_that_is_too_old_for_the_kit_is_refused_by_both_versions(
    pinned: Path, name: str, version: str
) -> None:
    needed = next(item for item in kit.KIT if re.match(rf"{name}\W", item))
    with pytest.raises(
        BuildError, match=f"lock: the lock pins {name} {version}, and the server kit needs {needed}"
    ):
        added(lock(**{name.replace("-", "_"): version}), pinned)


@pytest.mark.parametrize(
    ("constraints", "said", "message"),
    [
        (
            "click==8.1\nh11==0.7.0\n",
            "Because uvicorn>=0.22.0 depends on click>=7.0 and uvicorn>=0.22.0 depends on h11>=0.8 and h11==0.7.0, we",
            "lock: the lock pins h11 0.7.0, and uvicorn of the server kit needs h11>=0.8; raise h11 in",
        ),
        (
            "h11==0.7.0 ; python_version < '3.13'\n",
            "Because uvicorn>=0.22.0 depends on h11>=0.8 and h11{python_full_version < '3.13'}==0.7.0, we can",
            "lock: the lock pins h11 0.7.0, and uvicorn of the server kit needs h11>=0.8; raise h11 in",
        ),
        (
            "packaging==16.0\n",
            "Because gunicorn>=23.0.0,<=26.0 depends on packaging>=17,<99 and packaging==16.0, we can",
            "lock: the lock pins packaging 16.0, and gunicorn of the server kit needs packaging>=17,<99; raise",
        ),
        (
            "h11==0.16\n",
            "error sending request",
            "lock: it lacks a server, and that of the kit can't be resolved",
        ),
    ],
)
def test_a_clash_names_both_packages_and_versions(
    constraints: str, said: str, message: str
) -> None:
    told = kit.clash(constraints, said)
    assert told.startswith(message)
    assert told.endswith(f"uv says: {said}")


def test_pins_apply_by_their_markers() -> None:
    pin = Pin("x", "1", (HASH,), marker="python_version < '3.12'")
    assert [pin.applies(Target(python, "x86_64", "2.36")) for python in ("3.11.2", "3.13.5")] == [
        True,
        False,
    ]
