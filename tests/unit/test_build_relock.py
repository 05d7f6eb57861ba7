"""``make lock APP=…``: of what, for which Python, into which file; and what it leaves alone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slipway_build import relock
from slipway_build.process import BuildError

HASH = "sha256:" + "0" * 64
Lock = Callable[..., dict[str, Any]]


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have everything resolve to fastapi and to what was locked before; return what was asked for each time."""
    calls: list[str] = []

    def resolve(wanted: Path, python: str, out: Path, env: object, called: str) -> str:
        calls.append(f"{python} {wanted.name}: {wanted.read_text().strip()}")
        member = wanted.parent / "lib"
        out.write_text(
            f"# {called}\nfastapi==1.0 --hash={HASH}\n"
            + (f"-e file://{member}\n" if member.exists() else "")
        )
        return python

    monkeypatch.setattr(relock, "resolve", resolve)
    return calls


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    """Return how the application in ``shop`` is locked; keys of ``apps`` that differ are given."""
    (tmp_path / "shop").mkdir()
    default = {
        "name": "shop",
        "source": "shop",
        "version": "",
        "folder": "",
        "lock": "",
        "python": "system",
        "source_root": str(tmp_path),
        "build_dir": str(tmp_path / "build"),
    }
    return lambda write=True, **given: relock.relock({**default, **given}, write)


PYPROJECT = "[project]\nrequires-python = '>=3.12'\ndependencies = ['fastapi']"


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        (
            {"pyproject.toml": PYPROJECT, "requirements.txt": "x"},
            f"3.12 pyproject.toml: {PYPROJECT}",
        ),
        (
            {"pyproject.toml": "[tool.ruff]", "requirements.in": "fastapi"},
            "3.11 requirements.in: fastapi",
        ),
        ({"requirements.in": "fastapi", "requirements.txt": "x"}, "3.11 requirements.in: fastapi"),
        ({"requirements.txt": "fastapi"}, "3.11 requirements.txt: fastapi"),
        ({"setup.py": "setup()"}, "3.11 setup.py: setup()"),
    ],
)
def test_what_says_what_it_needs_is_resolved(
    tmp_path: Path, lock: Lock, resolved: list[str], files: dict[str, str], asked: str
) -> None:
    for name, text in files.items():
        (tmp_path / "shop" / name).write_text(text)
    done = lock()
    assert resolved == [asked]
    assert done["changed"] and done["packages"] == 1
    assert (
        tmp_path / "locks/shop.txt"
    ).read_text() == f"# make lock APP=shop\nfastapi==1.0 --hash={HASH}\n"
    assert not lock()["changed"]


def test_a_dry_run_writes_nothing(tmp_path: Path, lock: Lock, resolved: list[str]) -> None:
    (tmp_path / "shop/requirements.txt").write_text("fastapi")
    assert lock(write=False)["changed"]
    assert not (tmp_path / "locks").exists()


def test_a_package_and_a_wheel_are_resolved_by_what_they_need(
    tmp_path: Path, lock: Lock, resolved: list[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "shop-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(
            "shop-1.0.dist-info/METADATA",
            "Name: shop\nRequires-Python: >=3.13\nRequires-Dist: fastapi>=0.1\nRequires-Dist: x; extra == 'pg'\n"
            "Requires-Dist: tomli; python_version < '3.11'\n",
        )
    lock(source="shop-1.0-py3-none-any.whl")
    assert lock(source="shop[fast]==1.0")["of"] == "shop[fast]==1.0"
    assert resolved == [
        '3.13 requirements.in: fastapi>=0.1\ntomli; python_version < "3.11"',
        "3.11 requirements.in: shop[fast]==1.0",
    ]


def test_an_older_python_that_the_inventory_asks_for_counts(
    tmp_path: Path, lock: Lock, resolved: list[str]
) -> None:
    (tmp_path / "shop/requirements.txt").write_text("fastapi")
    for python in ("3.10", "3.14", "python.tar.gz"):
        lock(python=python)
    assert [call.split()[0] for call in resolved] == ["3.10", "3.11", "3.11"]


def test_members_are_named_by_their_place_in_the_source(
    tmp_path: Path, lock: Lock, resolved: list[str]
) -> None:
    (tmp_path / "shop/lib").mkdir()
    (tmp_path / "shop/requirements.txt").write_text("-e lib")
    lock()
    assert (tmp_path / "locks/shop.txt").read_text().endswith("\n./lib\n")


def test_a_source_with_a_lock_is_left_to_it(
    tmp_path: Path, lock: Lock, resolved: list[str]
) -> None:
    (tmp_path / "shop/requirements.txt").write_text(f"fastapi==1.0 --hash={HASH}\n")
    with pytest.raises(
        BuildError, match=r"lock: the source has one, requirements\.txt, and that is used"
    ):
        lock()
    with pytest.raises(BuildError, match=r"lock: it is uv\.lock, .* remove the key lock first"):
        lock(lock="uv.lock")
    assert resolved == []


def test_a_source_that_says_nothing_is_refused(
    tmp_path: Path, lock: Lock, resolved: list[str]
) -> None:
    (tmp_path / "shop/pyproject.toml").write_text("[tool.ruff]\n")
    with pytest.raises(BuildError, match="lock: nothing in the source says what it needs"):
        lock()
