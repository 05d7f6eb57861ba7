"""Locks: exact versions with hashes, for every target at once, whatever file they are in."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.pylock import Package, Pylock, PylockUnsupportedVersionError, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .files import digest, written
from .process import BuildError, redacted, run, uv
from .target import Target

# By the tool that wrote them, the most telling first.
LOCKS = ("uv.lock", "pylock.toml", "poetry.lock", "requirements.txt")
# Poetry would make an environment for what it only reads.
WITHOUT_VENV = {"POETRY_VIRTUALENVS_CREATE": "false"}
# Where packages come from is the control node's own affair.
OPTIONS = re.compile(
    r"(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host|--require-hashes|--only-binary|--no-binary"
    r"|--prefer-binary|--pre)\b"
)


class NotALock(Exception):
    """A file that could be a lock isn't one, or can't be read here; the message says why."""


@dataclass(frozen=True)
class Conditional:
    """What a lock lists, where its marker is true.

    Attributes:
        marker: Such as ``sys_platform == 'linux'``; empty where it applies to all.
        groups: The groups that a ``pylock.toml`` means if none are named; a marker may ask for them.
    """

    marker: str = field(default="", kw_only=True)
    groups: frozenset[str] = field(default=frozenset(), kw_only=True)

    @property
    def in_groups(self) -> bool:
        """Tell whether the marker asks for groups or extras, which only a ``pylock.toml`` may do."""
        return bool(re.search(r"\b(extras|dependency_groups)\b", self.marker))

    def applies(self, target: Target) -> bool:
        """Tell whether a target needs it."""
        if not self.marker:
            return True
        if self.in_groups:
            groups: dict[str, str | frozenset[str]] = {
                "dependency_groups": self.groups,
                "extras": frozenset(),
            }
            return Marker(self.marker).evaluate({**target.markers, **groups}, context="lock_file")
        return Marker(self.marker).evaluate({**target.markers})


@dataclass(frozen=True)
class Pin(Conditional):
    """A package of the index at its exact version, with the hashes of its files, ``sha256:…``."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """Return it as a line for pip, without the marker."""
        return " ".join(
            [f"{self.name}=={self.version}", *(f"--hash={item}" for item in self.hashes)]
        )

    @property
    def constraint(self) -> str:
        """Return it as a constraint: version and marker."""
        condition = f" ; {self.marker}" if self.marker and not self.in_groups else ""
        return f"{self.name}=={self.version}{condition}"


@dataclass(frozen=True)
class Member(Conditional):
    """A package that lies in the source, by its path in that: a folder or a wheel."""

    path: str


@dataclass(frozen=True)
class Lock:
    """What an application depends on.

    Attributes:
        pins: Packages of the index.
        members: Packages in the source, but for the application itself.
        requires_python: Which Pythons it was resolved for, such as ``>=3.12``; empty if it doesn't say.
        path: The file.
    """

    pins: tuple[Pin, ...] = ()
    members: tuple[Member, ...] = ()
    requires_python: str = ""
    path: Path = Path()

    @property
    def text(self) -> str:
        """Return all of it in an order of its own: equal texts lock the same."""
        lines = [f"{pin.requirement} ; {pin.marker}" for pin in self.pins]
        lines += [f"{member.path} ; {member.marker}" for member in self.members]
        return "".join(f"{line}\n" for line in sorted(lines))

    def pins_for(self, target: Target) -> dict[str, Pin]:
        """Return by name what a target needs of the index."""
        return {pin.name: pin for pin in self.pins if pin.applies(target)}

    def members_for(self, target: Target) -> list[str]:
        """Return the paths of what a target needs of the source."""
        return sorted({member.path for member in self.members if member.applies(target)})


def find(folders: list[Path], given: str, root: Path, name: str, cache: Path) -> Lock:
    """Return the lock of a source.

    Args:
        folders: Where to look: the application's folder, and those above it up to the source's root.
        given: What ``apps.<name>.lock`` says; may be empty.
        root: What a relative path on the control node starts from.
        name: The application's name.
        cache: Where exports are kept.

    Raises:
        BuildError: There is no lock, or it can't be read.
    """
    own = root / "locks" / f"{name}.txt"
    if given:
        path = next((base / given for base in (*folders, root) if (base / given).is_file()), None)
        if path is None:
            raise BuildError(
                f"lock: no file {given!r} in the source, nor on the control node in {root}"
            )
        try:
            return read(path, folders, cache)
        except NotALock as error:
            raise BuildError(
                f"lock: {error}, or 'make lock APP={name}' and remove the key lock"
            ) from error

    lock, reason = in_source(folders, cache)
    if lock:
        return lock
    if own.is_file():
        try:
            return read(own, folders, cache)
        except NotALock as error:
            raise BuildError(f"lock: {error}; 'make lock APP={name}' makes it anew") from error
    if reason:
        raise BuildError(f"lock: {reason}; 'make lock APP={name}' resolves and locks it here")
    listed = f"no {', '.join(LOCKS[:-1])} or {LOCKS[-1]} in the source, and no "
    raise BuildError(
        f"lock: {listed if folders else 'there is no '}locks/{name}.txt. Lock its dependencies where it is developed, "
        f"such as by 'uv lock', or here by 'make lock APP={name}'"
    )


def in_source(folders: list[Path], cache: Path) -> tuple[Lock | None, str]:
    """Return the nearest lock; or none, and why the nearest file that could be one is not."""
    reasons = []
    for path in [folder / name for folder in folders for name in LOCKS]:
        try:
            if path.is_file():
                return read(path, folders, cache), ""
        except NotALock as error:
            reasons.append(str(error))
    return None, reasons[0] if reasons else ""


def read(path: Path, folders: list[Path], cache: Path) -> Lock:
    """Return what a lock says.

    Raises:
        NotALock: It has no hashes, or nothing here can read it.
        BuildError: It has something in it that can't be shipped.
    """
    tree = folders[-1] if folders else path.parent
    # In a lock of ours, members are named by where they are in the source.
    base = path.parent if path.is_relative_to(tree) else tree
    if path.name == "uv.lock":
        wanted = tomllib.loads(path.read_text()).get("requires-python", "")
        lock = parsed(exported_by_uv(path, folders), base, tree, wanted)
    elif path.name == "poetry.lock":
        wanted = tomllib.loads(path.read_text()).get("metadata", {}).get("python-versions", "")
        lock = parsed(exported_by_poetry(path, cache), base, tree, wanted)
    elif path.suffix == ".toml":
        lock = from_pylock(path, tree)
    else:
        text = path.read_text()
        if "--hash" not in text and not all(map(local_path, requirement_lines(text))):
            raise NotALock(
                f"{path.name} has no hashes, which 'uv pip compile --universal --generate-hashes' writes"
            )
        lock = parsed(text, base, tree)
    home = str(folders[0].relative_to(tree)) if folders else "."
    others = tuple(member for member in lock.members if member.path != home)
    return replace(lock, path=path, members=others)


def exported_by_uv(path: Path, folders: list[Path]) -> str:
    """Return a ``uv.lock`` as requirements, those of the application's folder if it is a member of a workspace."""
    project = next(
        (folder for folder in folders if folder.is_relative_to(path.parent)), path.parent
    )
    options = (
        "--frozen",
        "--no-dev",
        "--no-emit-project",
        "--no-header",
        "--no-annotate",
        "--no-editable",
    )
    try:
        return uv(
            "export", "--quiet", *options, "--format", "requirements-txt", "--project", project
        )
    except BuildError as error:
        if "Unable to find lockfile" in str(error):
            raise NotALock(
                f"{path} is of a workspace that the application is no member of"
            ) from error
        raise BuildError(f"lock: uv can't read {path.name}: {error}") from error


def exported_by_poetry(path: Path, cache: Path) -> str:
    """Return a ``poetry.lock`` as requirements, by Poetry itself: kept, since it takes its time."""
    inputs = [(name, path.with_name(name)) for name in (path.name, "pyproject.toml")]
    export = (
        cache / "locks" / f"poetry-{digest([file for file in inputs if file[1].is_file()])}.txt"
    )
    if export.is_file():
        return export.read_text()
    how = (
        f"{path.name} is read by Poetry with its plugin, which this machine lacks: "
        "'uv tool install poetry --with poetry-plugin-export'"
    )
    if not shutil.which("poetry"):
        raise NotALock(how)
    with written(export) as out:
        options = (
            "--no-interaction",
            "--without-urls",
            "--format",
            "requirements.txt",
            "--output",
            out,
        )
        try:
            run("poetry", "export", *options, cwd=path.parent, env=WITHOUT_VENV)
        except BuildError as error:
            if re.search(r"command .?export.? (does not exist|is not defined)", str(error)):
                raise NotALock(how) from error
            raise BuildError(f"lock: poetry can't export {path.name}: {error}") from error
    return export.read_text()


def requirement_lines(text: str) -> list[str]:
    """Return the lines of a requirements file, joined and without comments and options that don't matter here."""
    joined = re.sub(r"\\\s*\n", " ", text).splitlines()
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined)
    return [line for line in lines if line and not OPTIONS.match(line)]


def parsed(text: str, base: Path, tree: Path, requires_python: str = "") -> Lock:
    """Return what a requirements file with hashes locks.

    Args:
        text: Its content.
        base: What its relative paths start from.
        tree: The source, which paths must not leave.
        requires_python: Which Pythons it is for, if that is known.

    Raises:
        BuildError: A requirement has no hash or no exact version, or a line is not a requirement.
    """
    pins, members, unlocked = [], [], []
    for line in requirement_lines(text):
        specification, *hashes = re.split(r"\s+--hash[= ]", line)
        if found := local_path(specification):
            path, marker = found
            members.append(Member(within(base / path, tree, line), marker=marker))
            continue
        try:
            requirement = Requirement(specification)
        except InvalidRequirement as error:
            raise BuildError(
                f"lock: can't read {redacted(line)!r}; it must list exact versions with hashes and nothing else"
            ) from error
        if requirement.url:
            raise BuildError(from_elsewhere(requirement.name, requirement.url))
        exact = [item.version for item in requirement.specifier if item.operator == "=="]
        if not hashes or not exact or exact[0].endswith(".*"):
            unlocked.append(requirement.name)
            continue
        values = tuple(sorted(value.strip() for value in hashes))
        name = canonicalize_name(requirement.name)
        pins.append(Pin(name, exact[0], values, marker=str(requirement.marker or "")))
    if unlocked:
        raise BuildError(
            f"lock: without a hash or an exact version: {', '.join(sorted(unlocked))}. "
            "Lock them: 'uv pip compile --universal --generate-hashes <requirements.in> -o requirements.txt'"
        )
    return Lock(tuple(pins), tuple(members), requires_python)


def local_path(specification: str) -> tuple[str, str] | None:
    """Return the path and the marker of a requirement that lies on this machine: ``-e ./lib``, ``lib @ file:///x``."""
    text, _, marker = specification.partition(" ; ")
    text = re.sub(r"^(-e|--editable)[\s=]+", "", text.strip())
    text = re.sub(r"^[\w.-]+(\[[^]]*\])?\s*@\s*(?=file:)", "", text)
    if text.startswith("file:"):
        return unquote(urlsplit(text).path), marker.strip()
    if text.startswith((".", "/")) or text.endswith(".whl"):
        return text, marker.strip()
    return None


def within(path: Path, tree: Path, line: str) -> str:
    """Return a path relative to the source's tree, which it must not leave."""
    resolved, root = path.resolve(), tree.resolve()
    if not resolved.is_relative_to(root) or not resolved.exists():
        raise BuildError(
            f"lock: {line!r} is not in the source. Set source to a folder that has it in it, and folder to the "
            "application's own; or take it from an index"
        )
    return str(resolved.relative_to(root))


def from_elsewhere(name: str, origin: str) -> str:
    """Return the refusal of a package that has no hash since it comes from no index."""
    return (
        f"lock: {name} comes from {redacted(origin)}, which no hash can be locked for. Take it from an index, your own "
        "for instance, or put it into the source as a member of its workspace"
    )


def from_pylock(path: Path, tree: Path) -> Lock:
    """Return what a ``pylock.toml`` locks (PEP 751)."""
    try:
        pylock = Pylock.from_dict(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, PylockValidationError, PylockUnsupportedVersionError) as error:
        raise BuildError(f"lock: {path.name} can't be read: {error}") from error
    groups = frozenset(pylock.default_groups or ())
    pins, members = [], []
    for package in pylock.packages:
        marker = str(package.marker or "")
        if package.directory and not package.directory.subdirectory:
            member = within(
                path.parent / package.directory.path,
                tree,
                f"{package.name} at {package.directory.path}",
            )
            members.append(Member(member, marker=marker, groups=groups))
            continue
        if package.vcs or package.archive or package.directory or not package.version:
            origin = package.vcs or package.archive or package.directory
            where = (
                getattr(origin, "url", None) or getattr(origin, "path", None) or "an unknown place"
            )
            raise BuildError(from_elsewhere(package.name, where))
        if not (hashes := tuple(sorted(set(hashes_of(package))))):
            raise BuildError(
                f"lock: without a SHA-256: {package.name}; lock again with a tool that writes them"
            )
        pins.append(Pin(package.name, str(package.version), hashes, marker=marker, groups=groups))
    return Lock(tuple(pins), tuple(members), str(pylock.requires_python or ""))


def hashes_of(package: Package) -> Iterable[str]:
    """Yield the hashes of a package's files."""
    hashes = [wheel.hashes for wheel in package.wheels or []]
    if package.sdist:
        hashes.append(package.sdist.hashes)
    for known in hashes:
        if value := known.get("sha256"):
            yield f"sha256:{value}"
