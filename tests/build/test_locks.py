"""Locks of every tool, made by that tool: what they pin is what is shipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from slipway_build.lock import WITHOUT_VENV
from slipway_build.process import BuildError, run
from tests.build.tools import Build, Index, installed, made, members, requirements, uv

PYPROJECT = """
[project]
name = "{name}"
version = "1.0"
requires-python = ">=3.11"
dependencies = [{dependencies}]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


def project(name: str, *dependencies: str) -> str:
    """Return a ``pyproject.toml``."""
    return PYPROJECT.format(name=name, dependencies=", ".join(f'"{item}"' for item in dependencies))


@pytest.fixture
def mono(tmp_path: Path) -> Path:
    """Return a uv workspace: ``services/shop`` depends on ``libs/common``, and has nothing of ``libs/other``."""
    return made(
        tmp_path / "mono",
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["libs/*", "services/*"]\n',
            "libs/common/pyproject.toml": project("common", "idna"),
            "libs/common/src/common/__init__.py": "",
            "libs/other/pyproject.toml": project("other", "toml"),
            "libs/other/src/other/__init__.py": "",
            "services/shop/pyproject.toml": project("shop", "common", "six")
            + "[dependency-groups]\ndev = ['iniconfig']\n[tool.uv.sources]\ncommon = { workspace = true }\n",
            "services/shop/src/shop/__init__.py": "",
            "services/shop/src/shop/main.py": "def create_app(): ...\n",
            "services/shop/static/style.css": "a {}\n",
        },
    )


def shop_of(release: Build) -> dict[str, object]:
    """Build the workspace's shop."""
    return release(
        source="mono", folder="services/shop", module="shop.main:create_app()", static="static"
    )


def test_a_member_of_a_workspace_comes_with_those_it_depends_on(mono: Path, release: Build) -> None:
    uv("lock", "--quiet", cwd=mono)
    built = shop_of(release)
    assert members(str(built["archive"])) == {
        "dist/common-1.0-py3-none-any.whl",
        "dist/shop-1.0-py3-none-any.whl",
        "src/pyproject.toml",
        "src/src/shop/__init__.py",
        "src/src/shop/main.py",
        "src/static/style.css",
        "static/style.css",
    }
    assert {"idna", "six", "gunicorn"} <= requirements(built).keys()
    assert not {"toml", "iniconfig", "common", "shop"} & requirements(built).keys()

    (mono / "libs/other/src/other/__init__.py").write_text("new = True\n")
    assert shop_of(release)["id"] == built["id"]
    (mono / "libs/common/src/common/__init__.py").write_text("new = True\n")
    assert shop_of(release)["id"] != built["id"]


def test_a_project_that_asks_git_for_its_version_is_built(tmp_path: Path, release: Build) -> None:
    asks = project("shop", "idna").replace('version = "1.0"', 'dynamic = ["version"]')
    asks = asks.replace('["hatchling"]', '["hatchling", "hatch-vcs"]')
    asks += '[tool.hatch.version]\nsource = "vcs"\n'
    shop = made(
        tmp_path / "shop",
        {"pyproject.toml": asks, "src/shop/__init__.py": "", "src/shop/main.py": "app = 1\n"},
    )
    run("git", "init", "--quiet", cwd=shop)
    run("git", "add", ".", cwd=shop)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    run("git", *who, "commit", "--quiet", "--message", "first", cwd=shop)
    run("git", "tag", "v2.5.0", cwd=shop)
    uv("lock", "--quiet", cwd=shop)
    (shop / ".git/info/exclude").write_text("uv.lock\n")
    assert "dist/shop-2.5.0-py3-none-any.whl" in members(release()["archive"])


def test_a_pylock_is_read_for_the_host(tmp_path: Path, release: Build) -> None:
    shop = made(
        tmp_path / "shop", {"shop/main.py": "app = 1\n", "requirements.in": "uvicorn[standard]\n"}
    )
    options = ("--universal", "--python-version", "3.11", "--quiet")
    uv("pip", "compile", *options, "requirements.in", "-o", "pylock.toml", cwd=shop)
    lines = requirements(release())
    assert {"uvicorn", "uvloop", "httptools", "websockets", "gunicorn"} <= lines.keys()
    assert "colorama" not in lines, "it is for Windows"


def test_a_poetry_lock_is_exported_by_poetry(
    tmp_path: Path, private_index: Index, release: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "tool"):
        made(tmp_path / name, {"pyproject.toml": project(name), f"src/{name}/__init__.py": ""})
        uv("build", "--wheel", "--out-dir", private_index.packages, cwd=tmp_path / name)
    shop = made(
        tmp_path / "shop",
        {
            "shop/main.py": "app = 1\n",
            "pyproject.toml": '[project]\nname = "shop"\nversion = "1.0"\nrequires-python = ">=3.11,<4.0"\n'
            'dependencies = ["mine"]\n[tool.poetry]\npackage-mode = false\n'
            '[tool.poetry.group.dev.dependencies]\ntool = "*"\n'
            f'[[tool.poetry.source]]\nname = "private"\nurl = "{private_index.url}"\n',
        },
    )
    programs = installed(tmp_path / "venv", "poetry", "poetry-plugin-export")
    who = {
        "POETRY_HTTP_BASIC_PRIVATE_USERNAME": "me",
        "POETRY_HTTP_BASIC_PRIVATE_PASSWORD": "s3cr@t",
    }
    run(programs / "poetry", "lock", "--no-interaction", cwd=shop, env=WITHOUT_VENV | who)
    with pytest.raises(
        BuildError, match=r"poetry\.lock is read by Poetry .* poetry-plugin-export'"
    ):
        release()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", private_index.with_password)
    lines = requirements(release())
    assert "mine" in lines
    assert "tool" not in lines
