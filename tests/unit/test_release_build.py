"""A release is content-addressed and hermetic: what goes in, what comes out, and what is refused with the fix."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

HASH = "sha256:" + "0" * 64
SERVER = "".join(
    f"{name}==1.0 --hash={HASH}\n" for name in ("gunicorn", "uvicorn", "uvicorn-worker")
)


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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder that is an application, in a git work tree that ignores its secrets."""
    folder = tmp_path / "shop"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop/main.py").write_text("app = object()\n")
    (folder / "requirements.txt").write_text(SERVER)
    (folder / ".gitignore").write_text(".env\n")
    (folder / ".env").write_text("PASSWORD=secret\n")
    git(folder, "init", "--quiet")
    return folder


@pytest.fixture
def target(release_build: ModuleType) -> object:
    """Return Debian 13 on x86_64."""
    return release_build.Target("3.13.5", "x86_64", "2.41")


def files(release_build: ModuleType, folder: Path) -> list[tuple[str, Path]]:
    """Return a folder's files as a build takes them."""
    return [(str(path), folder / path) for path in release_build.folder_files(folder)]


def test_the_same_source_has_the_same_id_wherever_it_lies(
    release_build: ModuleType, source: Path, tmp_path: Path
) -> None:
    first = release_build.digest(files(release_build, source), "lock")
    copy = source.rename(tmp_path / "elsewhere")
    os.utime(copy / "shop/main.py", (0, 0))
    assert release_build.digest(files(release_build, copy), "lock") == first


@pytest.mark.parametrize("change", ["content", "name", "mode", "new", "link"])
def test_every_change_of_the_source_is_another_release(
    release_build: ModuleType, source: Path, change: str
) -> None:
    before = release_build.digest(files(release_build, source), "lock")
    main = source / "shop/main.py"
    if change == "content":
        main.write_text("app = object()  # new\n")
    elif change == "name":
        main.rename(source / "shop/mein.py")
    elif change == "mode":
        main.chmod(0o755)
    elif change == "new":
        (source / "shop/other.py").touch()
    else:
        (source / "shop/link.py").symlink_to("main.py")
    assert release_build.digest(files(release_build, source), "lock") != before


def test_git_that_does_not_answer_is_no_reason_to_ship_everything(
    release_build: ModuleType, source: Path
) -> None:
    (source / ".git").rename(source.parent / "moved")
    (source / ".git").write_text("gitdir: /nonexistent\n")
    with pytest.raises(release_build.BuildError, match="not a git repository"):
        release_build.folder_files(source)


def test_the_lock_is_part_of_the_id(release_build: ModuleType, source: Path) -> None:
    ids = {release_build.digest(files(release_build, source), lock) for lock in ("one", "two")}
    assert len(ids) == 2


def test_what_git_ignores_stays_at_home(release_build: ModuleType, source: Path) -> None:
    (source / "shop/__pycache__").mkdir()
    (source / "shop/__pycache__/main.pyc").touch()
    names = [str(path) for path in release_build.folder_files(source)]
    assert names == [".gitignore", "requirements.txt", "shop/main.py"]


def test_a_folder_without_git_leaves_out_what_tools_make(
    release_build: ModuleType, tmp_path: Path
) -> None:
    for name in ("main.py", ".venv/bin/python", "__pycache__/main.pyc", "node_modules/x/index.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path) for path in release_build.folder_files(tmp_path)] == ["main.py"]


@pytest.mark.parametrize("version", ["main", "v1", "commit"])
def test_a_git_version_is_resolved_to_its_commit(
    release_build: ModuleType, source: Path, tmp_path: Path, version: str
) -> None:
    git(source, "checkout", "--quiet", "-b", "main")
    git(source, "add", ".")
    git(source, "commit", "--quiet", "-m", "first")
    git(source, "tag", "v1")
    commit = git(source, "rev-parse", "HEAD")
    if version == "commit":
        (source / "later.py").touch()
        git(source, "add", ".")
        git(source, "commit", "--quiet", "-m", "second")
    cache = tmp_path / "cache"
    cache.mkdir()
    tree, resolved = release_build.fetch_git(
        f"file://{source}", commit if version == "commit" else version, cache
    )
    assert resolved == commit[:12]
    assert (tree / "shop/main.py").is_file()
    assert not (tree / "later.py").exists()
    assert not (tree / ".git").exists()


def test_a_folder_is_called_what_git_calls_it(
    release_build: ModuleType, source: Path, tmp_path: Path
) -> None:
    git(source, "add", ".")
    git(source, "commit", "--quiet", "-m", "first")
    git(source, "tag", "v1")
    assert release_build.described(source) == "v1"
    (source / "shop/main.py").write_text("app = 1\n")
    assert release_build.described(source) == "v1-dirty"
    (tmp_path / "plain").mkdir()
    assert release_build.described(tmp_path / "plain") == ""


def test_a_git_branch_that_moved_is_fetched_again(
    release_build: ModuleType, source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    commits = []
    git(source, "checkout", "--quiet", "-b", "main")
    for name in ("one", "two"):
        (source / name).touch()
        git(source, "add", ".")
        git(source, "commit", "--quiet", "-m", name)
        commits.append(release_build.fetch_git(f"file://{source}", "main", cache)[1])
    assert commits[0] != commits[1]


def test_a_git_version_that_is_not_there_is_named(
    release_build: ModuleType, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(release_build.BuildError, match="has no branch, tag or commit 'v9'"):
        release_build.fetch_git(f"file://{source}", "v9", tmp_path)


@pytest.mark.parametrize(
    ("source_text", "kind"),
    [
        ("app/", "folder"),
        ("../shop", "folder"),
        ("/home/me/shop", "folder"),
        ("https://git.example.org/me/shop.git", "git"),
        ("git@git.example.org:me/shop.git", "git"),
        ("git+ssh://git@git.example.org/me/shop", "git"),
        ("../shop.git", "git"),
        ("dist/shop-1.0-py3-none-any.whl", "wheel"),
    ],
)
def test_the_kind_of_a_source_is_told_by_its_text(
    release_build: ModuleType, source_text: str, kind: str
) -> None:
    assert release_build.source_kind(source_text) == kind


def test_no_lock_is_refused_with_the_command_that_makes_one(
    release_build: ModuleType, source: Path
) -> None:
    (source / "requirements.txt").unlink()
    with pytest.raises(
        release_build.BuildError,
        match=r"lock: no requirements.txt or uv.lock .*uv lock.*--generate-hashes",
    ):
        release_build.read_lock(source, "", source)


def test_requirements_without_hashes_are_no_lock(release_build: ModuleType, target: object) -> None:
    with pytest.raises(
        release_build.BuildError, match="without a hash or an exact version: fastapi, starlette"
    ):
        release_build.requirements_for(
            f"{SERVER}fastapi==1.0\nstarlette>=1 --hash={HASH}\n", target
        )


@pytest.mark.parametrize("line", ["-e .", "-r other.txt", "../wheels/a.whl", "fastapi @ file:///x"])
def test_lines_that_are_no_pinned_requirement_are_refused(
    release_build: ModuleType, target: object, line: str
) -> None:
    with pytest.raises(release_build.BuildError, match="lock: "):
        release_build.requirements_for(f"{SERVER}{line}\n", target)


def test_a_lock_without_the_server_is_refused(release_build: ModuleType, target: object) -> None:
    with pytest.raises(release_build.BuildError, match="lacks gunicorn, uvicorn-worker"):
        release_build.requirements_for(f"uvicorn==1.0 --hash={HASH}\n", target)


def test_markers_are_read_for_the_target_and_not_for_this_machine(
    release_build: ModuleType, target: object
) -> None:
    lock = SERVER + "".join(
        f"{name}==1.0 ; {marker} \\\n    --hash={HASH}  # why\n"
        for name, marker in {
            "tomli": "python_version < '3.12'",
            "new": "python_full_version >= '3.13'",
            "windows": "sys_platform == 'win32'",
            "arm": "platform_machine == 'aarch64'",
            "here": "implementation_name == 'cpython' and platform_machine == 'x86_64'",
        }.items()
    )
    assert set(release_build.requirements_for(lock, target)) == {
        "gunicorn",
        "uvicorn",
        "uvicorn-worker",
        "new",
        "here",
    }


def test_the_index_stays_with_the_control_node(release_build: ModuleType, target: object) -> None:
    lock = f"--index-url https://me:secret@index.example.org/simple\n{SERVER}"
    assert "secret" not in str(release_build.requirements_for(lock, target))


def test_a_target_takes_the_wheels_of_older_c_libraries_and_no_newer(
    release_build: ModuleType, target: object
) -> None:
    platforms = target.platforms  # type: ignore[attr-defined]
    assert platforms[0] == "manylinux_2_41_x86_64"
    assert "manylinux2014_x86_64" in platforms
    assert "manylinux_2_42_x86_64" not in platforms
    tags = {str(tag) for tag in target.tags}  # type: ignore[attr-defined]
    assert {
        "cp313-cp313-manylinux_2_17_x86_64",
        "cp39-abi3-manylinux2014_x86_64",
        "py3-none-any",
    } <= tags
    assert "cp312-cp312-manylinux_2_17_x86_64" not in tags


def test_a_wheel_for_another_platform_is_refused(release_build: ModuleType, target: object) -> None:
    release_build.check_wheel(Path("shop-1.0-py3-none-any.whl"), target)
    with pytest.raises(release_build.BuildError, match=r"does not run on cp313-x86_64-glibc2\.41"):
        release_build.check_wheel(Path("shop-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"), target)


@pytest.mark.parametrize(
    "code",
    [
        "app = 1",
        "app: int = 1",
        "def app(): ...",
        "from x import app",
        "from x import *",
        "try:\n  app = 1\nexcept E: ...",
    ],
)
def test_a_module_that_binds_its_attribute_passes(release_build: ModuleType, code: str) -> None:
    release_build.check_module("shop.main:app", {"src/shop/main.py": code})


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "shop.mian:app",
            r"module: 'shop.mian:app' is not in the source.*an 'app' is made in shop.main",
        ),
        ("shop.main:application", "module: shop/main.py does not define 'application'"),
        ("shop.broken:app", "module: shop/broken.py can't be parsed"),
    ],
)
def test_a_module_that_cannot_be_is_named_with_what_is_there(
    release_build: ModuleType, module: str, message: str
) -> None:
    code = {"shop/main.py": "app = FastAPI()", "shop/broken.py": "def app(:"}
    with pytest.raises(release_build.BuildError, match=message):
        release_build.check_module(module, code)


def test_static_files_get_a_compressed_sibling_where_it_pays(
    release_build: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "big.css").write_text("a {}\n" * 1000)
    (folder / "small.css").write_text("a {}\n")
    (folder / "photo.jpg").write_bytes(b"x" * 5000)
    with tarfile.open(tmp_path / "out.tar", "w") as archive:
        files = [(f"static/{path.name}", path) for path in sorted(folder.iterdir())]
        files.append(("other.css", folder / "big.css"))
        release_build.add_static(archive, files, "static/", "id/static")
    with tarfile.open(tmp_path / "out.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert set(members) == {
        "id/static/big.css",
        "id/static/big.css.gz",
        "id/static/small.css",
        "id/static/photo.jpg",
    }
    assert members["id/static/big.css.gz"].mtime == members["id/static/big.css"].mtime
    assert {(member.uid, member.mode) for member in members.values()} == {(0, 0o644)}


def test_a_build_that_fails_leaves_nothing_that_looks_built(
    release_build: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError), release_build.written(tmp_path / "build/release.tar") as out:
        out.write_text("half")
        raise RuntimeError
    assert list((tmp_path / "build").iterdir()) == []
