"""A release: what is in its archive, what its id depends on, and what is refused before anything is fetched."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slipway_build import interpreter, kit, release, wheels
from slipway_build.interpreter import Interpreter
from slipway_build.lock import Pin
from slipway_build.process import BuildError

HASH = "sha256:" + "0" * 64
Build = Callable[..., dict[str, Any]]


def made(folder: Path, **files: str) -> Path:
    """Make files in a folder, and return that."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a larger source: an application in ``backend``, its front end, and something else."""
    return made(
        tmp_path / "mono",
        **{
            "backend/shop/main.py": "app = object()\n",
            "backend/static/style.css": "a {}\n" * 200,
            "backend/requirements.txt": f"fastapi==1.0 --hash={HASH}\n",
            "frontend/dist/index.html": "<p>" * 300,
            "other/main.py": "app = object()\n",
        },
    )


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Return how a release of that is built, without an index; the keys of ``apps`` that differ are given."""
    added = (Pin("gunicorn", "26.0", (HASH,)), Pin("fastapi", "9.9", (HASH,)))
    monkeypatch.setattr(kit, "completed", lambda *_: added)
    monkeypatch.setattr(wheels, "fetch_uv", lambda *_: ("0.13", Path("uv"), False))

    def archived(pins: dict[str, Pin], *_: object) -> tuple[str, Path, bool]:
        (tmp_path / "pins").write_text(
            "".join(f"{pin.name} {pin.version}\n" for pin in pins.values())
        )
        return "wheels", Path("wheels.tar"), False

    monkeypatch.setattr(wheels, "archived", archived)
    default = {
        "name": "shop",
        "source": "mono",
        "version": "",
        "folder": "backend",
        "lock": "",
        "module": "shop.main:app",
        "static": "",
        "frontend": "",
        "shared": [],
        "python": "system",
        "system_python": "3.13.5",
        "architecture": "x86_64",
        "glibc": "2.41",
        "source_root": str(tmp_path),
        "build_dir": str(tmp_path / "build"),
        "uv_requirements": str(tmp_path / "uv.txt"),
        "server_requirements": str(tmp_path / "server.txt"),
    }
    return lambda **given: release.build({**default, **given})


def contents(built: dict[str, Any]) -> set[str]:
    """Return the names in a release's archive, below its id."""
    with tarfile.open(built["archive"]) as archive:
        names = archive.getnames()
    top, *below = names
    assert top == built["id"]
    assert all(name.startswith(f"{top}/") for name in below)
    return {name.removeprefix(f"{top}/") for name in below}


SOURCE = {"src/shop/main.py", "src/static/style.css", "src/requirements.txt"}


def test_the_archive_has_the_applications_folder_and_what_nginx_serves(
    shop: Path, build: Build
) -> None:
    built = build(static="static/", frontend="frontend/dist")
    assert contents(built) == SOURCE | {
        "static/style.css",
        "static/style.css.br",
        "static/style.css.gz",
        "frontend/index.html",
        "frontend/index.html.br",
        "frontend/index.html.gz",
    }
    assert (built["changed"], build(static="static/", frontend="frontend/dist")["changed"]) == (
        True,
        False,
    )


def test_what_the_kit_adds_never_replaces_what_the_lock_has(
    tmp_path: Path, shop: Path, build: Build
) -> None:
    assert build()["server"] == ["gunicorn 26.0"]
    assert (tmp_path / "pins").read_text() == "fastapi 1.0\ngunicorn 26.0\n"


def test_one_id_for_all_targets(shop: Path, build: Build) -> None:
    targets = [
        {"system_python": "3.11.2", "glibc": "2.36"},
        {"architecture": "aarch64"},
        {},
    ]
    built = [build(**target) for target in targets]
    assert len({item["id"] for item in built}) == 1
    assert len({item["archive"] for item in built}) == 3
    assert [item["target"] for item in built] == [
        "cp311-x86_64-glibc2.36",
        "cp313-aarch64-glibc2.41",
        "cp313-x86_64-glibc2.41",
    ]


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ("backend/shop/main.py", True),
        ("backend/static/style.css", True),
        ("frontend/dist/index.html", True),
        ("lib-1.0-py3-none-any.whl", True),
        ("other/main.py", False),
    ],
)
def test_the_id_is_of_what_is_shipped_and_of_nothing_else(
    shop: Path, build: Build, change: str, other: bool
) -> None:
    wheel(shop, "lib")
    lock = shop / "backend/requirements.txt"
    lock.write_text(lock.read_text() + "../lib-1.0-py3-none-any.whl\n")
    before = build(static="static", frontend="frontend/dist")["id"]
    (shop / change).write_bytes((shop / change).read_bytes() + b"\n")
    assert (build(static="static", frontend="frontend/dist")["id"] != before) is other


def test_the_lock_and_the_kit_are_part_of_the_id(
    shop: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {build()["id"]}
    (shop / "other.txt").write_text(f"fastapi==1.1 --hash={HASH}\n")
    ids.add(build(lock="other.txt")["id"])
    ids.add(build(shared=["uploads"])["id"])
    monkeypatch.setattr(kit, "completed", lambda *_: ())
    ids.add(build()["id"])
    assert len(ids) == 4


def test_folders_that_outlive_releases_are_part_of_the_id(shop: Path, build: Build) -> None:
    ids = {build(shared=shared)["id"] for shared in ([], ["uploads"], ["uploads", "media"])}
    assert len(ids) == 3


def test_another_interpreter_is_another_release_but_not_another_architectures(
    shop: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(version: str, architecture: str) -> str:
        name = f"cpython-{version}-linux-{architecture}-gnu"
        shipped = Interpreter(name, version, Path(f"{name}.tar.gz"))
        monkeypatch.setattr(interpreter, "find", lambda *_: (shipped, False))
        return str(build(python=version, architecture=architecture)["id"])

    versions = [("3.12.1", "x86_64"), ("3.12.1", "aarch64"), ("3.12.2", "x86_64")]
    ids = [built(*version) for version in versions]
    assert ids[0] == ids[1] != ids[2]
    assert build()["id"] not in ids


def wheel(folder: Path, name: str, requires_python: str = ">=3.9") -> Path:
    """Make a wheel with a module ``<name>.main`` and a style sheet."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/main.py", "app = 1\n")
        archive.writestr(f"{name}/static/style.css", "a {}\n")
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA",
            f"Name: {name}\nVersion: 1.0\nRequires-Python: {requires_python}\n",
        )
    return path


def locked(root: Path, *names: str) -> None:
    """Write the lock on the control node, ``locks/shop.txt``."""
    made(root, **{"locks/shop.txt": "".join(f"{name}==1.0 --hash={HASH}\n" for name in names)})


def test_a_wheel_is_shipped_as_such_with_its_static_files(tmp_path: Path, build: Build) -> None:
    wheel(tmp_path, "shop")
    locked(tmp_path, "fastapi")
    built = build(source="shop-1.0-py3-none-any.whl", folder="", static="shop/static")
    assert contents(built) == {"dist/shop-1.0-py3-none-any.whl", "static/style.css"}
    assert built["version"] == "1.0"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an index with the package shop 1.0."""
    path = wheel(tmp_path, "shop", ">=3.13")
    monkeypatch.setattr(wheels, "single", lambda *_: path)


@pytest.mark.usefixtures("index")
def test_a_package_comes_with_its_dependencies_and_has_no_source(
    tmp_path: Path, build: Build
) -> None:
    locked(tmp_path, "shop", "fastapi")
    built = build(source="shop==1.0", folder="", static="shop/static")
    assert contents(built) == {"static/style.css"}
    assert built["version"] == "1.0"
    assert "shop 1.0\n" in (tmp_path / "pins").read_text()
    with pytest.raises(BuildError, match=r"module: 'shop\.api:app' is not in the source"):
        build(source="shop==1.0", folder="", module="shop.api:app")
    with pytest.raises(BuildError, match=r"python: shop wants >=3\.13, and the host has 3\.11\.2"):
        build(source="shop==1.0", folder="", system_python="3.11.2")


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(("source", "has"), [("shop==2.0", "shop 1.0"), ("shap==1.0", "no shap")])
def test_a_package_that_the_lock_does_not_pin_is_refused(
    tmp_path: Path, build: Build, source: str, has: str
) -> None:
    locked(tmp_path, "shop", "fastapi")
    with pytest.raises(
        BuildError, match=f"lock: it pins {has}, and source is {source}; 'make lock APP=shop'"
    ):
        build(source=source, folder="")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"static": "assets"}, "static.path: the source has no folder 'assets'"),
        ({"frontend": "dist"}, "frontend.path: 'dist' is a folder neither in the source"),
        ({"folder": "back"}, "folder: the source has no folder 'back'; it has backend, frontend"),
        ({"module": "shop.mian:app"}, "module: 'shop.mian:app' is not in the source"),
        ({"lock": "uv.lock"}, "lock: no file 'uv.lock' in the source"),
    ],
)
def test_what_is_not_there_is_refused_by_its_key(
    shop: Path, build: Build, given: dict[str, str], message: str
) -> None:
    with pytest.raises(BuildError) as refused:
        build(**given)
    assert str(refused.value).startswith(message)


def test_a_python_that_the_application_does_not_want_names_the_option(
    shop: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "backend/pyproject.toml").write_text("[project]\nrequires-python = '>=3.14'\n")
    with pytest.raises(
        BuildError, match=r"python: shop wants >=3\.14, and the host has 3\.13\.5; set"
    ):
        build()
    shipped = interpreter.Interpreter("cpython-3.14.2-x", "3.14.2", Path("python.tar.gz"))
    monkeypatch.setattr(interpreter, "find", lambda *_: (shipped, True))
    built = build(python="3.14")
    assert built["interpreter"] == {
        "id": "cpython-3.14.2-x",
        "version": "3.14.2",
        "archive": "python.tar.gz",
    }
    assert built["target"] == "cp314-x86_64-glibc2.41-cpython-3.14.2-x"


def test_a_module_may_be_where_the_build_system_puts_it(
    shop: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(project: Path, target: object, folder: Path, *_: object) -> Path:
        folder.mkdir()
        return wheel(folder, "shop")

    monkeypatch.setattr(wheels, "built_from_source", packed)
    (shop / "backend/pyproject.toml").write_text("[build-system]\nrequires = []\n")
    (shop / "backend/shop").rename(shop / "backend/lib")
    assert "dist/shop-1.0-py3-none-any.whl" in contents(build())
    for _ in "built", "found":
        with pytest.raises(BuildError, match=r"module: 'shop\.api:app' is not in the source"):
            build(module="shop.api:app")


def test_a_link_in_what_nginx_serves_is_shipped_as_the_file_it_leads_to(
    shop: Path, build: Build
) -> None:
    (shop / "backend/static/theme.css").symlink_to("style.css")
    with tarfile.open(build(static="static")["archive"]) as archive:
        (theme,) = (
            each
            for each in archive
            if each.name.endswith("static/theme.css") and "/src/" not in each.name
        )
        assert theme.isfile()
        assert theme.size == 1000


@pytest.mark.parametrize("to", ["../shop/main.py", "/etc/passwd"])
def test_a_link_out_of_what_nginx_serves_is_refused(shop: Path, build: Build, to: str) -> None:
    (shop / "backend/static/theme.css").symlink_to(to)
    with pytest.raises(
        BuildError, match=r"static\.path: static/theme\.css leads out of the folder"
    ):
        build(static="static")
    (shop / "frontend/dist/theme.css").symlink_to(to)
    with pytest.raises(BuildError, match=r"frontend\.path: frontend/theme\.css leads out"):
        build(frontend="frontend/dist")
