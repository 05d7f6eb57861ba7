"""Sources: where an application's code comes from, and which files of it are the application."""

from __future__ import annotations

import ast
import email
import email.message
import hashlib
import re
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import parse_wheel_filename

from .files import Files, digest_of, folder_files, unpack, walked, written
from .process import BuildError, run


@dataclass(frozen=True)
class Source:
    """An application's code.

    Attributes:
        kind: ``folder``, ``git``, ``wheel``, ``sdist`` or ``package``.
        tree: All of it: the operator's folder, or a copy in the cache; of a wheel, what is in it.
        folder: The application's folder in ``tree``; empty if it is all of it.
        version: What people call it: a commit or a version; empty where nobody says.
        wheel: The wheel that it comes as, if it does.
    """

    kind: str
    tree: Path
    folder: str = ""
    version: str = ""
    wheel: Path | None = None

    @property
    def home(self) -> Path:
        """Return the application's folder."""
        return self.tree / self.folder

    @property
    def upwards(self) -> list[Path]:
        """Return the application's folder and those above it, up to the tree; none where it comes as a wheel."""
        if self.wheel:
            return []
        parts = Path(self.folder).parts
        return [self.tree.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]

    @property
    def shipped(self) -> Files:
        """Return the files that go to ``src/``: those of the application's folder; none where it comes as a wheel."""
        return [] if self.wheel else self.files(self.home)

    @property
    def code(self) -> dict[str, str]:
        """Return the application's Python code by path."""
        return {
            name: path.read_text(errors="replace")
            for name, path in (self.shipped or self.files(self.home))
            if path.suffix == ".py" and path.is_file()
        }

    @property
    def requires_python(self) -> str:
        """Return which Pythons it wants, as its metadata says; empty if it doesn't."""
        if self.wheel:
            return str(wheel_metadata(self.wheel)["Requires-Python"] or "")
        project = pyproject(self.home)
        if text := project.get("project", {}).get("requires-python"):
            return str(text)
        poetry = project.get("tool", {}).get("poetry", {}).get("dependencies", {}).get("python", "")
        return poetry if isinstance(poetry, str) else ""

    @property
    def is_project(self) -> bool:
        """Tell whether it is to be installed and not only to be run from: it has a build system."""
        project = pyproject(self.home)
        packaged = project.get("tool", {}).get("uv", {}).get("package", True)
        return bool(self.shipped) and "build-system" in project and packaged is not False

    def files(self, folder: Path, within: str = "") -> Files:
        """Return the files of one of its folders, each called by its path in it, below ``within``."""
        if folder.is_file():
            return [(within, folder)]
        listed = folder_files(folder) if self.kind == "folder" else walked(folder)
        return [(str(Path(within) / path), folder / path) for path in listed]


def source_kind(source: str) -> str:
    """Return ``wheel``, ``sdist``, ``package``, ``git`` or ``folder``."""
    if re.match(r"(git\+|https?://|ssh://|git://|file://|[\w.-]+@[\w.-]+:)", source):
        return "git"
    if source.endswith(".git"):
        return "git"
    if source.endswith(".whl"):
        return "wheel"
    if source.endswith(".tar.gz"):
        return "sdist"
    return "package" if "==" in source else "folder"


def find(source: str, version: str, folder: str, root: Path, cache: Path) -> Source:
    """Return an application's source, whatever it is but a package of the index.

    Args:
        source: What ``apps.<name>.source`` says.
        version: The branch, tag or commit of a git source.
        folder: The application's folder in the source.
        root: What a relative path starts from.
        cache: Where copies are kept.

    Raises:
        BuildError: There is no such source.
    """
    kind = source_kind(source)
    check_keys(kind, version, folder)
    if kind == "git":
        if not version:
            raise BuildError("version: a git source needs one: a branch, a tag or a commit")
        try:
            found = fetch_git(source, version, cache / "git")
        except BuildError as error:
            raise BuildError(f"source: {error}") from error
    else:
        path = root / source
        if not path.exists():
            raise BuildError(
                f"source: {path} does not exist; write it relative to the project, or absolute"
            )
        if kind == "wheel":
            return from_wheel(path, cache)
        found = from_sdist(path, cache) if kind == "sdist" else Source(kind, path)
    found = replace(found, folder=folder.strip("/"))
    inside = found.home.resolve().is_relative_to(found.tree.resolve())
    if not found.home.is_dir() or not inside:
        beside = ", ".join(
            sorted({path.parts[0] for path in walked(found.tree) if len(path.parts) > 1})
        )
        raise BuildError(f"folder: the source has no folder {folder!r}; it has {beside or 'none'}")
    return replace(found, version=described(found.home)) if kind == "folder" else found


def check_keys(kind: str, version: str, folder: str) -> None:
    """Refuse what has no meaning for a kind of source, rather than ship something else than was meant."""
    if version and kind != "git":
        raise BuildError(
            f"version: {version!r} is for a git repository, and source is a {kind}; remove it, or make source the "
            "repository's URL"
        )
    if folder and kind in {"wheel", "package"}:
        raise BuildError(
            f"folder: {folder!r} is for a source with folders, and source is a {kind}; remove it"
        )


def requirement(source: str) -> Requirement:
    """Return a package of the index at an exact version, ``shop==1.4.2``."""
    try:
        parsed = Requirement(source)
    except InvalidRequirement as error:
        raise BuildError(
            f"source: can't read {source!r} as a package and its version, such as shop==1.4.2"
        ) from error
    if [item.operator for item in parsed.specifier] != ["=="] or source.endswith(".*"):
        raise BuildError(f"source: {source!r} must name one version, such as {parsed.name}==1.4.2")
    return parsed


def described(folder: Path) -> str:
    """Return what git calls the state of a folder, such as ``v1.2-3-g0a1b2c4-dirty``; empty without git."""
    try:
        return run("git", "describe", "--always", "--tags", "--dirty", cwd=folder).strip()
    except BuildError:
        return ""


def credentials(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its credentials, and the variables by which git gets them: not by its arguments."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return url, {}
    # What the URL says goes before what helpers of the machine know: the first, empty one forgets those.
    helper = '!answer() { printf "username=%s\\npassword=%s\\n" "$SLIPWAY_USER" "$SLIPWAY_PASSWORD"; }; answer'
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": "",
        "GIT_CONFIG_KEY_1": "credential.helper",
        "GIT_CONFIG_VALUE_1": helper,
        "SLIPWAY_USER": unquote(parts.username or ""),
        "SLIPWAY_PASSWORD": unquote(parts.password or ""),
    }


def fetch_git(url: str, version: str, cache: Path) -> Source:
    """Return the tree of a git repository at a version, called by the commit that the version names.

    Credentials are the control node's own; no part of the repository's history goes to a host.
    """
    bare, environment = credentials(url.removeprefix("git+"))
    mirror = cache / hashlib.sha256(bare.encode()).hexdigest()[:12]
    if not mirror.exists():
        cache.mkdir(parents=True, exist_ok=True)
        run("git", "init", "--bare", "--quiet", mirror)
    branches, tags = "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"
    run(
        *("git", "fetch", "--quiet", "--prune", bare, branches, tags),
        cwd=mirror,
        env={"GIT_TERMINAL_PROMPT": "0", **environment},
    )
    try:
        commit = run(
            "git", "rev-parse", "--verify", "--quiet", f"{version}^{{commit}}", cwd=mirror
        ).strip()
    except BuildError as error:
        raise BuildError(f"{bare} has no branch, tag or commit {version!r}") from error
    tree = cache / f"{mirror.name}-{commit[:12]}"
    if not tree.exists():
        with written(tree) as out:
            run("git", "archive", "--output", out.with_name("tree.tar"), commit, cwd=mirror)
            unpack(out.with_name("tree.tar"), out)
    return Source("git", tree, version=commit[:12])


def from_wheel(wheel: Path, cache: Path, kind: str = "wheel") -> Source:
    """Return a wheel as a source; what is in it can be looked at, and is not shipped but as the wheel."""
    tree = cache / "sources" / digest_of(wheel)
    if not tree.exists():
        with written(tree) as out, zipfile.ZipFile(wheel) as archive:
            archive.extractall(out)
    return Source(kind, tree, version=str(parse_wheel_filename(wheel.name)[1]), wheel=wheel)


def from_sdist(sdist: Path, cache: Path) -> Source:
    """Return a source distribution as a source."""
    tree = cache / "sources" / digest_of(sdist)
    if not tree.exists():
        with written(tree) as out:
            try:
                (top,) = unpack(sdist, out.with_name("unpacked")).iterdir()
                (top / "PKG-INFO").stat()
            except (BuildError, ValueError, OSError) as error:
                raise BuildError(
                    f"source: {sdist.name} is no source distribution: one folder with PKG-INFO in a .tar.gz"
                ) from error
            top.rename(out)
    version = email.message_from_string((tree / "PKG-INFO").read_text())["Version"]
    return Source("sdist", tree, version=version or "")


def wheel_metadata(wheel: Path) -> email.message.Message:
    """Return a wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def pyproject(folder: Path) -> dict[str, Any]:
    """Return a folder's ``pyproject.toml``; empty if there is none."""
    path = folder / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text()) if path.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        raise BuildError(f"source: {path.name} can't be read: {error}") from error


def frontend(path: str, source: Source, root: Path) -> Path:
    """Return the folder of a front end: in the application's folder, in the source, or on the control node."""
    for base in (source.home, source.tree, root):
        if (base / path).is_dir():
            return base / path
    raise BuildError(
        f"frontend.path: {path!r} is a folder neither in the source nor on the control node; build it first"
    )


def bound(code: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield each name that a module's code binds at its top level, in an ``if`` or in a ``try``, and where."""
    pending: list[ast.AST] = [ast.parse(code)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
            continue  # what is bound within is not the module's
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (((alias.asname or alias.name).split(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node
        pending += ast.iter_child_nodes(node)


def check_module(module: str, code: dict[str, str]) -> None:
    """Check that the source has the module, that it parses, and that it binds the attribute.

    What only running it tells is told on the host, before the switch.

    Args:
        module: Such as ``board.main:app`` or ``board.main:create_app()``.
        code: The source's Python code by path, ``src/board/main.py``.
    """
    dotted, attribute = module.split(":", 1)
    stem = dotted.replace(".", "/")
    wanted = [f"{root}{stem}{end}" for root in ("", "src/") for end in (".py", "/__init__.py")]
    path = next((path for path in wanted if path in code), None)
    if path is None:
        made = ", ".join(makers(code))
        raise BuildError(
            f"module: {module!r} is not in the source: no {' or '.join(wanted[:2])}, there or in src/"
            + (f"; did you mean {made}?" if made else "")
        )
    name = re.split(r"[.(]", attribute)[0]
    try:
        names = {name for name, _ in bound(code[path])}
    except SyntaxError as error:
        raise BuildError(f"module: {path} can't be parsed: {error}") from error
    if not {name, "*"} & names:
        made = ", ".join(makers({path: code[path]}))
        raise BuildError(
            f"module: {path} does not define {name!r}; name the attribute that is the application, or its factory"
            + (f"; did you mean {made}?" if made else "")
        )


def makers(code: dict[str, str]) -> list[str]:
    """Return what looks like the application in code, ``shop.main:app`` or ``shop.main:create_app()``."""
    found = []
    for path, text in sorted(code.items()):
        module = re.sub(r"(/__init__)?\.py$", "", path.removeprefix("src/")).replace("/", ".")
        made = re.findall(r"^(\w+)\s*(?::[^=\n]+)?=\s*FastAPI\(", text, re.MULTILINE)
        made += re.findall(r"^def ((?:create|make|get|build)_app\()", text, re.MULTILINE)
        found += [f"{module}:{name}".replace("(", "()") for name in made]
    return found
