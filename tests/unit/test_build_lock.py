"""Locks of every kind: what they pin for whatever target, where they are looked for, and what is refused."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from slipway_build import lock as locks
from slipway_build.lock import Lock, parsed
from slipway_build.process import BuildError
from slipway_build.target import Target

HASH = "sha256:" + "0" * 64
DEBIAN_13 = Target("3.13.5", "x86_64", "2.41")


def line(name: str, version: str = "1.0", marker: str = "") -> str:
    """Return a locked requirement."""
    return f"{name}=={version}{f' ; {marker}' if marker else ''} --hash={HASH}\n"


def read(text: str, tree: Path = Path()) -> Lock:
    """Return what a requirements file at a source's root locks."""
    return parsed(text, tree, tree)


def test_requirements_without_hashes_are_no_lock() -> None:
    with pytest.raises(
        BuildError, match="without a hash or an exact version: fastapi, starlette, x"
    ):
        read(f"fastapi==1.0\nstarlette>=1 --hash={HASH}\nx==1.* --hash={HASH}\n")


@pytest.mark.parametrize("text", ["-r other.txt", "-c other.txt", "--what"])
def test_lines_that_are_no_pinned_requirement_are_refused(text: str) -> None:
    with pytest.raises(BuildError, match="lock: can't read"):
        read(line("fastapi") + text)


@pytest.mark.parametrize(
    "text", ["-e ../lib", "../wheels/a.whl", "fastapi @ file:///x", "/x/a.whl", "./nowhere"]
)
def test_what_lies_beyond_the_source_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "shop").mkdir()
    with pytest.raises(
        BuildError, match=r"is not in the source\. Set source to a folder that has it"
    ):
        read(text, tmp_path / "shop")


def test_what_comes_from_git_is_refused_by_its_name_and_without_its_password() -> None:
    with pytest.raises(BuildError, match="lock: lib comes from git") as refused:
        read("lib @ git+https://me:s3cret@git.example.org/lib@abc\n")
    assert "s3cret" not in str(refused.value)


def test_markers_are_read_for_the_target_and_not_for_this_machine() -> None:
    lock = "".join(
        f"{name}==1.0 ; {marker} \\\n    --hash={HASH}  # why\n"
        for name, marker in {
            "tomli": "python_version < '3.12'",
            "new": "python_full_version >= '3.13'",
            "windows": "sys_platform == 'win32'",
            "arm": "platform_machine == 'aarch64'",
            "optional": "extra == 'pg'",
            "here": "implementation_name == 'cpython' and platform_machine == 'x86_64'",
        }.items()
    )
    assert set(read(lock).pins_for(DEBIAN_13)) == {"new", "here"}
    assert set(read(lock).pins_for(Target("3.11.2", "aarch64", "2.36"))) == {"tomli", "arm"}


def test_the_index_stays_with_the_control_node() -> None:
    text = f"--index-url https://me:secret@index.example.org/simple\n{line('fastapi')}"
    assert "secret" not in read(text).text


def test_equal_locks_are_equal_however_they_are_written() -> None:
    one = line("b") + line("A.a") + f"c==1 --hash=sha256:{'1' * 64} --hash={HASH}"
    other = (
        f"# by hand\nc==1 \\\n  --hash={HASH} --hash=sha256:{'1' * 64} # via b\n"
        + line("a-a")
        + line("b")
    )
    assert read(one).text == read(other).text


@pytest.mark.parametrize(
    "text",
    [
        "./libs/common",
        "-e ./libs/common ; python_version > '3'",
        "common @ file://{tree}/libs/common",
    ],
)
def test_a_package_in_the_source_is_a_member(tmp_path: Path, text: str) -> None:
    (tmp_path / "libs/common").mkdir(parents=True)
    assert read(text.format(tree=tmp_path), tmp_path).members_for(DEBIAN_13) == ["libs/common"]


def test_a_member_counts_where_its_marker_is_true(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    assert read("./lib ; sys_platform == 'win32'", tmp_path).members_for(DEBIAN_13) == []


# Where a lock is looked for.


@pytest.fixture
def mono(tmp_path: Path) -> list[Path]:
    """Return the folders of an application within a larger source, upwards, beside a project with its locks."""
    (tmp_path / "mono/services/shop").mkdir(parents=True)
    (tmp_path / "locks").mkdir()
    return [tmp_path / "mono/services/shop", tmp_path / "mono/services", tmp_path / "mono"]


def names(folders: list[Path], given: str = "") -> set[str]:
    """Return what the lock pins that is found."""
    project = folders[-1].parent
    lock = locks.find(folders, given, project, "shop", project / "cache")
    return {pin.name for pin in lock.pins}


def test_the_nearest_lock_counts(mono: list[Path]) -> None:
    (mono[2].parent / "locks/shop.txt").write_text(line("own"))
    assert names(mono) == {"own"}
    for folder, name in zip(reversed(mono), ("top", "middle", "near"), strict=True):
        (folder / "requirements.txt").write_text(line(name))
        assert names(mono) == {name}


@pytest.mark.parametrize("where", ["mono/services/shop", "mono", "."])
def test_a_lock_that_is_named_is_in_the_source_or_on_the_control_node(
    mono: list[Path], where: str
) -> None:
    (mono[0] / "requirements.txt").write_text(line("near"))
    (mono[2].parent / where / "prod.txt").write_text(line("named"))
    assert names(mono, "prod.txt") == {"named"}


def test_a_lock_that_is_named_and_not_there_is_refused(mono: list[Path]) -> None:
    with pytest.raises(BuildError, match=r"lock: no file 'prod\.txt' in the source, nor on the"):
        names(mono, "prod.txt")


def test_no_lock_is_refused_with_the_command_that_makes_one(mono: list[Path]) -> None:
    with pytest.raises(
        BuildError, match=r"lock: no uv\.lock, .* no locks/shop\.txt.*make lock APP=shop"
    ):
        names(mono)
    with pytest.raises(BuildError, match=r"lock: there is no locks/shop\.txt.*make lock APP=shop"):
        locks.find([], "", mono[2].parent, "shop", mono[2].parent / "cache")


def test_requirements_without_hashes_are_passed_over_and_never_locked_silently(
    mono: list[Path],
) -> None:
    (mono[0] / "requirements.txt").write_text("fastapi\n")
    with pytest.raises(
        BuildError, match=r"lock: requirements\.txt has no hashes.*'make lock APP=shop' resolves"
    ):
        names(mono)
    (mono[2].parent / "locks/shop.txt").write_text(line("own"))
    assert names(mono) == {"own"}
    (mono[2] / "requirements.txt").write_text(line("top"))
    assert names(mono) == {"top"}


def test_a_lock_of_ours_names_members_by_where_they_are_in_the_source(mono: list[Path]) -> None:
    (mono[2] / "lib").mkdir()
    project = mono[2].parent
    (project / "locks/shop.txt").write_text("./lib\n")
    lock = locks.find(mono, "", project, "shop", project / "cache")
    assert lock.members_for(DEBIAN_13) == ["lib"]


def test_requirements_without_hashes_that_are_named_are_refused(mono: list[Path]) -> None:
    (mono[0] / "requirements.txt").write_text("fastapi\n")
    (mono[2].parent / "locks/shop.txt").write_text(line("own"))
    with pytest.raises(BuildError, match=r"has no hashes.*'make lock APP=shop' and remove the key"):
        names(mono, "requirements.txt")


def test_a_lock_of_ours_without_hashes_is_refused(mono: list[Path]) -> None:
    (mono[2].parent / "locks/shop.txt").write_text("fastapi\n")
    with pytest.raises(
        BuildError, match=r"lock: shop\.txt has no hashes.*'make lock APP=shop' makes it anew"
    ):
        names(mono)


def test_an_application_that_needs_nothing_has_a_lock_with_nothing(mono: list[Path]) -> None:
    (mono[0] / "requirements.txt").write_text("# nothing\n")
    assert names(mono) == set()


def test_a_poetry_lock_without_poetry_says_what_to_install(
    mono: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (mono[0] / "poetry.lock").write_text("[metadata]\npython-versions = '^3.12'\n")
    with pytest.raises(BuildError, match=r"poetry-plugin-export'; 'make lock APP=shop'"):
        names(mono)
    (mono[2].parent / "locks/shop.txt").write_text(line("own"))
    assert names(mono) == {"own"}


# pylock.toml


def pylock(tmp_path: Path, packages: str) -> Lock:
    """Return what a ``pylock.toml`` with these packages locks."""
    (tmp_path / "pylock.toml").write_text(
        'lock-version = "1.0"\ncreated-by = "test"\nrequires-python = ">=3.12"\n'
        'dependency-groups = ["dev"]\ndefault-groups = ["default"]\n' + textwrap.dedent(packages)
    )
    return locks.find([tmp_path], "", tmp_path, "shop", tmp_path / "cache")


def package(name: str, marker: str = "") -> str:
    """Return an entry with a wheel and a source distribution."""
    condition = f'marker = "{marker}"\n' if marker else ""
    hashes = [f'hashes = {{sha256 = "{digit * 64}"}}' for digit in "21"]
    return (
        f'[[packages]]\nname = "{name}"\nversion = "1.0"\n{condition}'
        f'sdist = {{name = "{name}-1.0.tar.gz", url = "https://e.org/{name}-1.0.tar.gz", {hashes[0]}}}\n'
        f'wheels = [{{name = "{name}-1.0-py3-none-any.whl", url = "https://e.org/{name}.whl", {hashes[1]}}}]\n'
    )


def test_a_pylock_pins_wheels_and_source_distributions(tmp_path: Path) -> None:
    lock = pylock(tmp_path, package("fastapi"))
    (pin,) = lock.pins
    assert pin.requirement == (f"fastapi==1.0 --hash=sha256:{'1' * 64} --hash=sha256:{'2' * 64}")
    assert lock.requires_python == ">=3.12"


def test_a_pylocks_markers_may_ask_for_groups_and_extras(tmp_path: Path) -> None:
    lock = pylock(
        tmp_path,
        package("always", "'default' in dependency_groups and sys_platform == 'linux'")
        + package("dev", "'dev' in dependency_groups")
        + package("extra", "'pg' in extras")
        + package("windows", "sys_platform == 'win32'"),
    )
    assert set(lock.pins_for(DEBIAN_13)) == {"always"}
    # As a constraint it has no marker that only a pylock.toml may have.
    assert {pin.constraint for pin in lock.pins} == {
        "always==1.0",
        "dev==1.0",
        "extra==1.0",
        'windows==1.0 ; sys_platform == "win32"',
    }


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (
            'vcs = {type = "git", url = "https://me:s3cret@e.org/lib.git", commit-id = "abc"}',
            "lock: lib comes from https://",
        ),
        (
            f'archive = {{url = "https://e.org/lib.tgz", hashes = {{sha256 = "{"0" * 64}"}}}}',
            "lock: lib comes from https://e.org/lib.tgz",
        ),
        (
            f'wheels = [{{url = "https://e.org/lib-1-py3-none-any.whl", hashes = {{sha256 = "{"0" * 64}"}}}}]',
            "lock: lib comes from an unknown place",
        ),
        ('directory = {path = "../lib"}', "lock: 'lib at ../lib' is not in the source"),
    ],
)
def test_a_pylocks_entries_from_elsewhere_are_refused_by_name(
    tmp_path: Path, origin: str, message: str
) -> None:
    with pytest.raises(BuildError, match=message) as refused:
        pylock(tmp_path, f'[[packages]]\nname = "lib"\n{origin}\n')
    assert "s3cret" not in str(refused.value)


def test_a_pylocks_directories_in_the_source_are_members_but_for_the_application(
    tmp_path: Path,
) -> None:
    (tmp_path / "lib").mkdir()
    lock = pylock(
        tmp_path,
        '[[packages]]\nname = "shop"\ndirectory = {path = "."}\n'
        '[[packages]]\nname = "lib"\ndirectory = {path = "lib"}\n',
    )
    assert lock.members_for(DEBIAN_13) == ["lib"]


@pytest.mark.parametrize("text", ["lock-version = '2.0'", "[broken", "created-by = 'x'"])
def test_a_pylock_that_cannot_be_read_says_why(tmp_path: Path, text: str) -> None:
    (tmp_path / "pylock.toml").write_text(text)
    with pytest.raises(BuildError, match=r"lock: pylock\.toml can't be read: "):
        locks.find([tmp_path], "", tmp_path, "shop", tmp_path / "cache")
