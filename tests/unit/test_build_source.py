"""Sources: what kind, which files, what it is called, and what is refused with the fix."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from slipway_build import source as sources
from slipway_build.files import folder_files
from slipway_build.process import BuildError, redacted, secrets
from slipway_build.source import Source, check_module, fetch_git, find, source_kind


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, as somebody, without the machine's settings."""
    who = {
        f"GIT_{role}_{key}": "a@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for key in ("NAME", "EMAIL")
    }
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **who}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(folder: Path, message: str) -> str:
    """Commit all that is in a folder, and return the commit."""
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a folder that is an application, in a git work tree that ignores its secrets."""
    folder = tmp_path / "shop"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop/main.py").write_text("app = object()\n")
    (folder / ".gitignore").write_text(".env\ndist/\n")
    (folder / ".env").write_text("PASSWORD=secret\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    return folder


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., Source]:
    """Return how a source is found, below the test's own folder."""

    def find_it(source: str, version: str = "", folder: str = "") -> Source:
        return find(source, version, folder, tmp_path, tmp_path / "cache")

    return find_it


def names(app: Source) -> list[str]:
    """Return the names of what is shipped as the source."""
    return [name for name, _ in app.shipped]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("app/", "folder"),
        ("../shop", "folder"),
        ("/home/me/shop", "folder"),
        ("https://git.example.org/me/shop.git", "git"),
        ("git@git.example.org:me/shop.git", "git"),
        ("git+ssh://git@git.example.org/me/shop", "git"),
        ("../shop.git", "git"),
        ("dist/shop-1.0-py3-none-any.whl", "wheel"),
        ("dist/shop-1.0.tar.gz", "sdist"),
        ("shop==1.0", "package"),
        ("shop[fast]==1.0", "package"),
    ],
)
def test_the_kind_of_a_source_is_told_by_its_text(text: str, kind: str) -> None:
    assert source_kind(text) == kind


def test_git_that_does_not_answer_is_no_reason_to_ship_everything(shop: Path) -> None:
    (shop / ".git").rename(shop.parent / "moved")
    (shop / ".git").write_text("gitdir: /nonexistent\n")
    with pytest.raises(BuildError, match="not a git repository"):
        folder_files(shop)


def test_what_git_ignores_stays_at_home(shop: Path, found: Callable[..., Source]) -> None:
    (shop / "shop/__pycache__").mkdir()
    (shop / "shop/__pycache__/main.pyc").touch()
    assert names(found("shop")) == [".gitignore", "shop/main.py"]


def test_what_is_built_into_a_folder_that_git_ignores_is_a_front_end(
    shop: Path, found: Callable[..., Source]
) -> None:
    (shop / "dist").mkdir()
    (shop / "dist/index.html").touch()
    assert found("shop").files(shop / "dist") == [("index.html", shop / "dist/index.html")]


def test_a_folder_without_git_leaves_out_what_tools_make(
    tmp_path: Path, found: Callable[..., Source]
) -> None:
    for name in ("main.py", ".venv/bin/python", "__pycache__/main.pyc", "node_modules/x/index.js"):
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).touch()
    assert names(found("plain")) == ["main.py"]


@pytest.mark.parametrize(
    ("source", "version", "folder", "message"),
    [
        (
            "shop",
            "v1",
            "",
            "version: 'v1' is for a git repository, and source is a folder; remove it",
        ),
        (
            "shop.whl",
            "",
            "backend",
            "folder: 'backend' is for a source with folders, and source is a wheel",
        ),
    ],
)
def test_keys_without_a_meaning_are_refused(
    found: Callable[..., Source], source: str, version: str, folder: str, message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        found(source, version, folder)


def test_a_source_that_is_not_there_is_named(found: Callable[..., Source]) -> None:
    with pytest.raises(BuildError, match=r"source: .*/shpo does not exist; write it relative"):
        found("shpo")


def test_of_a_larger_source_only_the_applications_folder_is_shipped(
    tmp_path: Path, found: Callable[..., Source]
) -> None:
    for name in ("backend/app/main.py", "frontend/index.html", "README.md"):
        (tmp_path / "mono" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mono" / name).touch()
    app = found("mono", folder="backend/")
    assert names(app) == ["app/main.py"]
    assert app.upwards == [tmp_path / "mono/backend", tmp_path / "mono"]


@pytest.mark.parametrize("folder", ["bakend", "..", "backend/../../other"])
def test_a_folder_that_is_not_in_the_source_is_refused_with_those_that_are(
    tmp_path: Path, found: Callable[..., Source], folder: str
) -> None:
    for name in ("mono/backend/main.py", "mono/web/index.html", "other/main.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(BuildError, match=r"folder: the source has no folder .*it has backend, web"):
        found("mono", folder=folder)


@pytest.mark.parametrize("version", ["main", "v1", "commit"])
def test_a_git_version_is_resolved_to_its_commit(
    shop: Path, found: Callable[..., Source], version: str
) -> None:
    first = commit(shop, "first")
    git(shop, "tag", "v1")
    if version == "commit":
        (shop / "later.py").touch()
        commit(shop, "second")
    app = found(f"file://{shop}", first if version == "commit" else version)
    assert app.version == first[:12]
    assert (app.tree / "shop/main.py").is_file()
    assert not (app.tree / "later.py").exists()
    assert not (app.tree / ".git").exists()


def test_a_git_branch_that_moved_is_fetched_again(shop: Path, found: Callable[..., Source]) -> None:
    versions = []
    for name in ("one", "two"):
        (shop / name).touch()
        commit(shop, name)
        versions.append(found(f"file://{shop}", "main").version)
    assert versions[0] != versions[1]


def test_a_git_version_that_is_not_there_is_named(shop: Path, found: Callable[..., Source]) -> None:
    with pytest.raises(BuildError, match="has no branch, tag or commit 'v9'"):
        found(f"file://{shop}", "v9")
    with pytest.raises(BuildError, match="version: a git source needs one"):
        found(f"file://{shop}")


def test_credentials_of_a_git_source_are_in_no_argument_no_file_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    # It notes what it is called with, asks the real one for the password, and fails.
    (programs / "git").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n[ "$1" = fetch ] || {{ mkdir -p "$4"; exit; }}\n'
        "printf 'protocol=https\\nhost=git.example.org\\n' | "
        f"{shutil.which('git')} credential fill > {tmp_path}/answer\n"
        'echo "fatal: $5" >&2; exit 128\n'
    )
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    url = "https://me:s%40cret%2F1@git.example.org/shop.git"
    with pytest.raises(BuildError) as refused:
        fetch_git(url, "main", tmp_path / "cache")
    assert "username=me\npassword=s@cret/1\n" in (tmp_path / "answer").read_text()
    told = str(refused.value) + (tmp_path / "arguments").read_text()
    assert "https://git.example.org/shop.git" in told
    assert "cret" not in told


@pytest.mark.parametrize("who", ["me:s3cret", "s3cret"])
def test_what_is_secret_in_a_url_is_taken_out_of_messages(who: str) -> None:
    assert secrets(f"git+https://{who}@example.org/x") == {"s3cret"}
    said = f"fatal: 'https://{who}@example.org/x/': not found"
    assert redacted(said) == "fatal: 'https://***@example.org/x/': not found"


def test_addresses_without_a_secret_stay_as_they_are() -> None:
    assert (
        redacted("https://example.org/a@b and me@example.org")
        == "https://example.org/a@b and me@example.org"
    )
    assert secrets("git@example.org:me/shop.git") == secrets("ssh://git@example.org/x") == set()


def test_a_folder_is_called_what_git_calls_it(
    tmp_path: Path, shop: Path, found: Callable[..., Source]
) -> None:
    commit(shop, "first")
    git(shop, "tag", "v1")
    assert found("shop").version == "v1"
    (shop / "shop/main.py").write_text("app = 1\n")
    assert found("shop").version == "v1-dirty"
    (tmp_path / "plain").mkdir()
    assert found("plain").version == ""


def wheel(folder: Path, requires_python: str = ">=3.12") -> Path:
    """Make a wheel ``shop-1.4`` with a module and a static file."""
    path = folder / "shop-1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("shop/main.py", "app = 1\n")
        archive.writestr("shop/static/style.css", "a {}\n")
        archive.writestr(
            "shop-1.4.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: shop\nVersion: 1.4\nRequires-Python: {requires_python}\n",
        )
    return path


def test_a_wheel_is_shipped_as_it_is_and_looked_into(
    tmp_path: Path, found: Callable[..., Source]
) -> None:
    wheel(tmp_path)
    app = found("shop-1.4-py3-none-any.whl")
    assert (app.version, app.requires_python, app.shipped) == ("1.4", ">=3.12", [])
    assert app.wheel == tmp_path / "shop-1.4-py3-none-any.whl"
    assert (app.home / "shop/static/style.css").is_file()
    check_module("shop.main:app", app.code)


def sdist(folder: Path, members: dict[str, str]) -> Path:
    """Make a source distribution with these files."""
    path = folder / "shop-2.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            (folder / "member").write_text(text)
            archive.add(folder / "member", name)
    return path


def test_an_sdist_is_a_folder_that_is_called_by_its_version(
    tmp_path: Path, found: Callable[..., Source]
) -> None:
    sdist(
        tmp_path,
        {
            "shop-2.0/PKG-INFO": "Metadata-Version: 2.1\nName: shop\nVersion: 2.0\n",
            "shop-2.0/src/shop/main.py": "app = 1\n",
            "shop-2.0/pyproject.toml": "[build-system]\n[project]\nrequires-python = '>=3.10'\n",
        },
    )
    app = found("shop-2.0.tar.gz")
    assert (app.version, app.requires_python, app.is_project) == ("2.0", ">=3.10", True)
    assert names(app) == ["PKG-INFO", "pyproject.toml", "src/shop/main.py"]


@pytest.mark.parametrize(
    "members",
    [
        {"shop-2.0/main.py": ""},
        {"shop-2.0/PKG-INFO": "", "other/x": ""},
        {"shop-2.0/PKG-INFO": "", "../escaped": ""},
    ],
)
def test_a_tar_that_is_no_sdist_is_refused(
    tmp_path: Path, found: Callable[..., Source], members: dict[str, str]
) -> None:
    sdist(tmp_path, members)
    with pytest.raises(BuildError, match=r"source: shop-2\.0\.tar\.gz is no source distribution"):
        found("shop-2.0.tar.gz")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("text", ["shop==", "shop==1.*", "shop>=1,==1.2", "sh op==1"])
def test_a_package_is_one_version(text: str) -> None:
    with pytest.raises(BuildError, match=r"source: .* such as shop==1\.4\.2"):
        sources.requirement(text)


@pytest.mark.parametrize(
    ("pyproject", "wanted"),
    [
        ("[project]\nrequires-python = '>=3.14'\n", ">=3.14"),
        ("[tool.poetry.dependencies]\npython = '^3.12'\n", "^3.12"),
        ("[tool.ruff]\n", ""),
    ],
)
def test_the_python_that_is_wanted_is_where_the_tool_puts_it(
    tmp_path: Path, pyproject: str, wanted: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject)
    assert Source("folder", tmp_path).requires_python == wanted


@pytest.mark.parametrize(
    ("pyproject", "project"),
    [
        ("[build-system]\nrequires = []\n", True),
        ("[build-system]\nrequires = []\n[tool.uv]\npackage = false\n", False),
        ("[project]\nname = 'shop'\n", False),
    ],
)
def test_what_has_a_build_system_is_installed(
    tmp_path: Path, pyproject: str, project: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject)
    assert Source("folder", tmp_path).is_project is project


def test_a_front_end_is_looked_for_in_the_source_and_then_on_the_control_node(
    tmp_path: Path,
) -> None:
    for name in ("mono/backend/dist", "mono/web", "built"):
        (tmp_path / name).mkdir(parents=True)
    app = Source("folder", tmp_path / "mono", "backend")
    for path, wanted in {"dist": "mono/backend/dist", "web": "mono/web", "built": "built"}.items():
        assert sources.frontend(path, app, tmp_path) == tmp_path / wanted
    with pytest.raises(BuildError, match=r"frontend\.path: 'out' .* build it"):
        sources.frontend("out", app, tmp_path)


@pytest.mark.parametrize(
    "code",
    [
        "app = 1",
        "app: int = 1",
        "def app(): ...",
        "from x import app",
        "from x import *",
        "try:\n  app = 1\nexcept E: ...",
        "if DEBUG:\n  app = 1",
    ],
)
def test_a_module_that_binds_its_attribute_passes(code: str) -> None:
    check_module("shop.main:app", {"src/shop/main.py": code})
    check_module("shop.main:app.asgi", {"shop/main.py": code})


def test_a_factory_is_looked_up_by_its_name() -> None:
    code = {"shop/main.py": "def create_app(debug=False): ..."}
    check_module("shop.main:create_app()", code)
    check_module("shop.main:create_app(debug=True)", code)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "shop.mian:app",
            r"module: 'shop.mian:app' is not in the source.*did you mean shop.made:create_app\(\), shop.main:app\?",
        ),
        (
            "shop.main:application",
            "module: shop/main.py does not define 'application'.*did you mean shop.main:app",
        ),
        # What a factory binds within is not the module's.
        (
            "shop.made:app",
            r"module: shop/made.py does not define 'app'.*did you mean shop.made:create_app\(\)",
        ),
        ("shop.broken:app", "module: shop/broken.py can't be parsed"),
    ],
)
def test_a_module_that_cannot_be_is_named_with_what_is_there(module: str, message: str) -> None:
    code = {
        "shop/main.py": "app = FastAPI()",
        "shop/made.py": "def create_app():\n    app = FastAPI()\n    return app\n",
        "shop/broken.py": "def app(:",
    }
    with pytest.raises(BuildError, match=message):
        check_module(module, code)
