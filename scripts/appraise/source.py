"""The files of a source: where they are, and what those say that are not code."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from slipway_build.files import unpack
from slipway_build.process import BuildError, redacted, run
from slipway_build.source import credentials, source_kind

from appraise import Refusal

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
    kind, given = source_kind(source), start / source
    with tempfile.TemporaryDirectory(prefix="slipway-") as scratch:
        place, branch = Path(scratch) / "source", ""
        try:
            if kind == "git":
                bare, environment = credentials(source.removeprefix("git+"))
                silent = {"GIT_TERMINAL_PROMPT": "0", **environment}
                run("git", "clone", "--quiet", "--depth=1", bare, place, env=silent)
                branch = run("git", "branch", "--show-current", cwd=place).strip()
            elif kind == "package":
                fetch = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
                run(*fetch, "--only-binary=:all:", f"--dest={scratch}", source)
                (given,) = Path(scratch).glob("*.whl")
            elif not given.exists():
                raise BuildError("there is no such file or folder")
            if given.suffix == ".whl":
                with zipfile.ZipFile(given) as wheel:
                    wheel.extractall(place)
            elif kind == "sdist":
                (place,) = unpack(given, place).iterdir()  # <name>-<version>/
        except BuildError as error:
            raise Refusal(
                f"can't look at {redacted(source)}: {error}. Say where the source is: "
                "SOURCE=<a folder, a git URL, a wheel, an sdist, or package==version>"
            ) from error
        yield (place if place.exists() else given), branch


def in_git(path: Path) -> bool:
    """Tell whether git tracks a file."""
    try:
        return bool(run("git", "ls-files", "--", path.name, cwd=path.parent))
    except BuildError:
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


def required_python(folder: Path) -> str:
    """Return the versions of Python that a project asks for, empty if it doesn't say."""
    for path in folder.glob("*.dist-info/METADATA"):
        return ",".join(re.findall(r"^Requires-Python: (.+)$", read(path), re.MULTILINE))
    pyproject = toml(folder / "pyproject.toml")
    poetry = pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return str(pyproject.get("project", {}).get("requires-python") or poetry.get("python", ""))


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
