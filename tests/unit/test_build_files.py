"""Files: what makes a digest another one, and what is in an archive."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from slipway_build.files import Files, add_compressed, digest, unpack, written
from slipway_build.process import BuildError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a folder with a file."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/main.py").write_text("app = object()\n")
    return tmp_path / "shop"


def files(folder: Path) -> Files:
    """Return a folder's files as a build takes them."""
    return [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*"))]


def test_the_same_source_has_the_same_id_wherever_it_lies(shop: Path, tmp_path: Path) -> None:
    first = digest(files(shop), "lock")
    copy = shop.rename(tmp_path / "elsewhere")
    os.utime(copy / "main.py", (0, 0))
    assert digest(files(copy), "lock") == first


@pytest.mark.parametrize("change", ["content", "name", "mode", "new", "link", "lock"])
def test_every_change_is_another_release(shop: Path, change: str) -> None:
    before = digest(files(shop), "lock")
    if change == "content":
        (shop / "main.py").write_text("app = object()  # new\n")
    elif change == "name":
        (shop / "main.py").rename(shop / "mein.py")
    elif change == "mode":
        (shop / "main.py").chmod(0o755)
    elif change == "new":
        (shop / "other.py").touch()
    elif change == "link":
        (shop / "link.py").symlink_to("main.py")
    assert digest(files(shop), "other" if change == "lock" else "lock") != before


def test_a_link_is_told_by_where_it_leads(shop: Path) -> None:
    (shop / "other.py").write_text((shop / "main.py").read_text())
    ids = set()
    for target in ("main.py", "other.py"):
        (shop / "link.py").unlink(missing_ok=True)
        (shop / "link.py").symlink_to(target)
        ids.add(digest(files(shop)))
    assert len(ids) == 2


def test_static_files_get_a_compressed_sibling_where_it_pays(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "big.css").write_text("a {}\n" * 1000)
    (folder / "small.css").write_text("a {}\n")
    (folder / "photo.jpg").write_bytes(b"x" * 5000)
    if os.geteuid() == 0:
        os.chown(folder / "photo.jpg", 1000, 1000)
    with tarfile.open(tmp_path / "out.tar", "w") as archive:
        add_compressed(archive, [(f"id/static/{path.name}", path) for path in folder.iterdir()])
    with tarfile.open(tmp_path / "out.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert set(members) == {
        "id/static/big.css",
        "id/static/big.css.gz",
        "id/static/big.css.br",
        "id/static/small.css",
        "id/static/photo.jpg",
    }
    assert len({members[f"id/static/big.css{end}"].mtime for end in ("", ".gz", ".br")}) == 1
    assert {(member.uid, member.mode) for member in members.values()} == {(0, 0o644)}


def test_a_compression_that_this_machine_does_not_know_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tar").symlink_to(str(shutil.which("tar")))
    (tmp_path / "python.tar.zst").write_bytes(bytes.fromhex("28b52ffd") + b"x" * 600)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(BuildError, match="that takes zstd, which is not installed"):
        unpack(tmp_path / "python.tar.zst", tmp_path / "out")


def test_a_build_that_fails_leaves_nothing_that_looks_built(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written(tmp_path / "build/release.tar") as out:
        out.write_text("half")
        raise RuntimeError
    assert list((tmp_path / "build").iterdir()) == []
