"""The files of a source: where they are, and what those say that are not code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from appraise import Refusal

GIT = re.compile(r"(git\+|https?://|ssh://|git://|file://|[\w.-]+@[\w.-]+:)|.*\.git$")
PACKAGE = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w,-]+\])?==[\w.!+-]+")
# Folders that are no part of an application, or not of its code.
SKIPPED = {
    *("node_modules", "site-packages", "__pycache__", "venv", "env", "build", "dist"),
    *("tests", "test", "docs", "docs_src", "examples", "alembic", "migrations"),
}


@contextmanager
def at_hand(source: str, start: Path) -> Iterator[tuple[Path, str]]:
    """Give a folder with a source to look at, and the branch where it is a git repository elsewhere.

    Args:
        source: As the inventory names it.
        start: What a relative one starts from.

    Raises:
        Refusal: There is no such source, or it can't be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-") as scratch:
        place, branch = Path(scratch) / "source", ""
        given = start / source
        if GIT.match(source) and not given.is_dir():
            run("git", "clone", "--quiet", "--depth=1", source.removeprefix("git+"), str(place))
            branch = run("git", "branch", "--show-current", cwd=place)
        elif PACKAGE.fullmatch(source):
            fetch = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
            run(*fetch, "--only-binary=:all:", f"--dest={scratch}", source)
            (given,) = Path(scratch).glob("*.whl")
        elif not given.exists():
            raise Refusal(
                f"there is no {source}; say where the source is: "
                "SOURCE=<a folder, a git URL, a wheel, or package==version>"
            )
        if given.suffix == ".whl":
            with zipfile.ZipFile(given) as wheel:
                wheel.extractall(place)
        elif given.is_file():
            with tarfile.open(given) as archive:
                archive.extractall(place, filter="data")
            (place,) = place.iterdir()  # <name>-<version>/
        yield (place if place.exists() else given), branch


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command that asks nothing, and return what it says.

    Raises:
        Refusal: It failed.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refusal(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
    return done.stdout.strip()


def in_git(path: Path) -> bool:
    """Tell whether git tracks a file."""
    try:
        return bool(run("git", "ls-files", "--", path.name, cwd=path.parent))
    except Refusal:
        return False


def found(root: Path, *patterns: str, depth: int = 6) -> list[Path]:
    """Return the files below a folder that fit a pattern, the highest first; tools' and tests' own are left out."""
    paths = []
    for folder, subfolders, files in os.walk(root):
        here = Path(folder)
        deep = len(here.relative_to(root).parts)
        subfolders[:] = [
            name
            for name in subfolders
            if deep < depth and name not in SKIPPED and not name.startswith(".")
        ]
        paths += [
            here / name
            for name in files
            if any((here / name).match(pattern) for pattern in patterns)
        ]
    return sorted(paths, key=lambda path: (len(path.parts), path))


def read(path: Path) -> str:
    """Return a file's text, empty if there is none."""
    return path.read_text(errors="replace") if path.is_file() else ""


def toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file says: nothing, if there is none or it can't be read."""
    try:
        return tomllib.loads(read(path))
    except tomllib.TOMLDecodeError:
        return {}


def dependencies(folder: Path) -> set[str]:
    """Return the names of the packages that a folder says it depends on; those for development don't count."""
    pyproject = toml(folder / "pyproject.toml")
    said = list(pyproject.get("project", {}).get("dependencies", []))
    said += pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
    said += toml(folder / "Pipfile").get("packages", {})
    for pattern in ("requirements*.txt", "requirements*.in", "requirements/*.txt"):
        for path in folder.glob(pattern):
            if not re.search(r"dev|test|lint|doc", path.stem):
                said += read(path).splitlines()
    for path in folder.glob("*.dist-info/METADATA"):
        said += re.findall(r"^Requires-Dist: ([^;\n]+)$", read(path), re.MULTILINE)
    names = (re.match(r"[A-Za-z0-9][\w.-]*", line.strip()) for line in said)
    return {canonicalize_name(name[0]) for name in names if name}


def required_python(folder: Path) -> SpecifierSet | None:
    """Return the versions of Python that a project asks for, if it says so in a way that is understood."""
    pyproject = toml(folder / "pyproject.toml")
    text = str(pyproject.get("project", {}).get("requires-python", ""))
    if not text:
        poetry = pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
        text = re.sub(r"\^(\d+)([.\d]*)", r">=\1\2,<\1.999", str(poetry.get("python", "")))
    for path in folder.glob("*.dist-info/METADATA"):
        text = ",".join(re.findall(r"^Requires-Python: (.+)$", read(path), re.MULTILINE))
    try:
        return SpecifierSet(text) if text else None
    except InvalidSpecifier:
        return None


def dotenv(text: str) -> dict[str, str]:
    """Return the variables of a .env file; one that is commented out isn't among them."""
    said = {}
    line = re.compile(r"^(?:export\s+)?([A-Za-z_]\w*)\s*=[ \t]*(.*)$", re.MULTILINE)
    for name, value in line.findall(text):
        quoted = re.match(r"""(["'])(.*?)\1""", value)
        said[name] = quoted[2] if quoted else re.sub(r"(^|\s+)#.*$", "", value).strip()
    return said


def prepared(script: str, folder: Path) -> list[str]:
    """Return the items of ``migrate`` for the commands of a script that prepares a database.

    A migration has the owner's rights, any other program the application's.
    """
    items = []
    for line in script.splitlines():
        command = re.sub(r"^(release:\s*)?((uv|poetry) run\s+)?", "", line.strip())
        program, argument, *_ = [*command.split(), "", ""]
        if program in ("alembic", "aerich"):
            items.append(f"- {command}")
        elif program in ("python", "python3") and (
            argument == "-m" or (folder / argument).is_file()
        ):
            items.append(f"- {{run: {command}, as: app}}")
    return items
