#!/usr/bin/python
"""Build a release on the control node: the source, its locked wheels for one target, and an id for both."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_build
short_description: Build a hermetic, content-addressed release of a Python application
description:
  - Runs on the control node. Resolves the source, reads its lock, fetches the wheels for the target's Python,
    architecture and C library, and writes two archives that hold all that a host needs.
  - The id is a digest over the source, the lock and the static folder's name.
    The same input gives the same id, and is built once.
options:
  name: {type: str, required: true, description: The application's name; messages name its keys as apps.<name>.<key>.}
  source: {type: str, required: true, description: A folder, the URL of a git repository, or a wheel.}
  version: {type: str, default: "", description: Branch, tag or commit of a git source.}
  folder: {type: str, default: "", description: The application's folder in the source.}
  lock: {type: str, default: "", description: Path of the lock; found in the source if empty.}
  module: {type: str, required: true, description: The application as package.module:attribute.}
  static: {type: str, default: "", description: Folder of static files in the source.}
  frontend: {type: str, default: "", description: 'Folder of a front end, in the source or on the control node.'}
  python: {type: str, default: system, description: 'The interpreter: system, a version, or an archive.'}
  system_python: {type: str, required: true, description: 'The version of the host''s own Python, such as 3.13.5.'}
  architecture: {type: str, required: true, description: The target's machine, such as x86_64.}
  glibc: {type: str, required: true, description: The target's C library, such as 2.41.}
  source_root: {type: path, required: true, description: What a relative source or lock starts from.}
  build_dir: {type: path, required: true, description: Where releases are built and kept.}
  uv_requirements: {type: path, required: true, description: Hash-locked requirement of the uv that the host gets.}
  server_requirements: {type: path, required: true, description: Hash-locked requirements of the server kit.}
"""

RETURN = r"""
id: {description: The release's id, 12 hexadecimal digits., type: str, returned: success}
version: {description: 'What people call it: a commit or a version; empty without git.', type: str, returned: success}
target: {description: 'The target, such as cp313-x86_64-glibc2.41.', type: str, returned: success}
archive: {description: 'Path of a tar: id with src, requirements.txt, dist, static.', type: str, returned: success}
wheels_id: {description: Digest over the target and its requirements., type: str, returned: success}
wheels_archive: {description: 'Path of the tar: <wheels_id>/ with the wheels.', type: str, returned: success}
uv: {description: Path of the uv binary for the target., type: str, returned: success}
uv_version: {description: Its version., type: str, returned: success}
interpreter:
  description: The id, version and archive of the Python to ship; empty where it is the host's own.
  type: dict
  returned: success
server: {description: 'What the server kit added to the lock, such as gunicorn 26.0.0.', type: list, returned: success}
"""

import ast
import fcntl
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

# Raised when the same source must become another release: what a build puts into its archives has changed.
RECIPE = "1"
LOCKS = ("requirements.txt", "uv.lock")
SERVER = ("gunicorn", "uvicorn", "uvicorn-worker")
LEFT_OUT = {
    ".git",
    ".hg",
    ".venv",
    "venv",
    "__pycache__",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
}
COMPRESSIBLE = {
    ".css",
    ".html",
    ".js",
    ".json",
    ".map",
    ".mjs",
    ".svg",
    ".txt",
    ".wasm",
    ".webmanifest",
    ".xml",
}


class BuildError(Exception):
    """A release that can't be built: the message names the key and the fix."""


@dataclass(frozen=True)
class Target:
    """What a release is built for: CPython's version, the machine, and the C library (``2.41``)."""

    python: str
    architecture: str
    glibc: str

    @property
    def name(self) -> str:
        """Return a name such as ``cp313-x86_64-glibc2.41``: equal names run equal wheels."""
        return f"cp{''.join(self.python.split('.')[:2])}-{self.architecture}-glibc{self.glibc}"

    @property
    def platforms(self) -> list[str]:
        """Return the platform tags that the target runs, newest first (PEP 600, and the aliases it keeps)."""
        aliases = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        tags = []
        for minor in range(int(self.glibc.split(".")[1]), 4, -1):
            tags.append(f"manylinux_2_{minor}_{self.architecture}")
            if minor in aliases:
                tags.append(f"{aliases[minor]}_{self.architecture}")
        return [*tags, f"linux_{self.architecture}"]

    @property
    def tags(self) -> set[Tag]:
        """Return every wheel tag that the target runs."""
        version = tuple(int(part) for part in self.python.split(".")[:2])
        interpreter = f"cp{version[0]}{version[1]}"
        return {
            *cpython_tags(version, platforms=self.platforms),
            *compatible_tags(version, interpreter, platforms=self.platforms),
        }

    @property
    def markers(self) -> dict[str, str]:
        """Return the environment that markers such as ``python_version < "3.12"`` are evaluated in."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": self.python,
            "python_version": ".".join(self.python.split(".")[:2]),
            "sys_platform": "linux",
        }


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return what it prints.

    Raises:
        BuildError: It failed; the message is the end of what it said.
    """
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise BuildError("\n".join((done.stderr or done.stdout).strip().splitlines()[-12:]))
    return done.stdout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs on one control node do not build the same thing at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def source_kind(source: str) -> str:
    """Return ``wheel``, ``git`` or ``folder``."""
    if source.endswith(".whl"):
        return "wheel"
    if re.match(
        r"(git\+|https?://|ssh://|git://|file://|[\w.-]+@[\w.-]+:)", source
    ) or source.endswith(".git"):
        return "git"
    return "folder"


def walked(folder: Path) -> list[Path]:
    """Return the files of a folder, relative to it, but for tools' own folders."""
    files = (
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    )
    return sorted(path for path in files if not LEFT_OUT & set(path.parts))


def folder_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are its source: what git tracks or would track.

    Outside of git, and where a work tree ignores the whole folder, all files but those of tools.
    """
    if not any((parent / ".git").exists() for parent in (folder, *folder.resolve().parents)):
        return walked(folder)
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    tracked = {Path(name) for name in listed.split("\0") if name}
    return [path for path in walked(folder) if path in tracked] if tracked else walked(folder)


def described(folder: Path) -> str:
    """Return what git calls the state of a folder, such as ``v1.2-3-g0a1b2c4-dirty``; empty without git."""
    try:
        return run("git", "describe", "--always", "--tags", "--dirty", cwd=folder).strip()
    except BuildError:
        return ""


def fetch_git(url: str, version: str, cache: Path) -> tuple[Path, str]:
    """Return a folder with the tree of a git repository at a version, and the commit that the version names.

    Credentials are the control node's own; no part of the repository's history goes to a host.
    """
    url = url.removeprefix("git+")
    mirror = cache / hashlib.sha256(url.encode()).hexdigest()[:12]
    if not mirror.exists():
        run("git", "init", "--bare", "--quiet", mirror)
    run(
        "git",
        "fetch",
        "--quiet",
        "--prune",
        url,
        "+refs/heads/*:refs/heads/*",
        "+refs/tags/*:refs/tags/*",
        cwd=mirror,
    )
    try:
        commit = run(
            "git", "rev-parse", "--verify", "--quiet", f"{version}^{{commit}}", cwd=mirror
        ).strip()
    except BuildError as error:
        raise BuildError(f"{url} has no branch, tag or commit {version!r}") from error
    tree = cache / f"{mirror.name}-{commit[:12]}"
    if not tree.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            run("git", "archive", "--output", Path(scratch) / "tree.tar", commit, cwd=mirror)
            (Path(scratch) / "tree").mkdir()
            run(
                "tar",
                "--extract",
                "--file",
                Path(scratch) / "tree.tar",
                "--directory",
                Path(scratch) / "tree",
            )
            (Path(scratch) / "tree").rename(tree)
    return tree, commit[:12]


def digest(files: list[tuple[str, Path]], *more: str) -> str:
    """Return 12 hexadecimal digits over files, by name, mode and content, and over further texts."""
    total = hashlib.sha256()
    for name, path in files:
        if path.is_symlink():
            kind, content = "link", str(path.readlink()).encode()
        else:
            kind, content = "exec" if os.access(path, os.X_OK) else "file", path.read_bytes()
        total.update(f"{kind} {name} {len(content)}\0".encode() + content)
    for text in more:
        total.update(f"text {len(text)}\0{text}".encode())
    return total.hexdigest()[:12]


def read_lock(folder: Path, given: str, root: Path) -> str:
    """Return the locked requirements of a source, exported from a ``uv.lock`` where that is the lock.

    Raises:
        BuildError: There is no lock, or it can't be read.
    """
    candidates = [folder / given, root / given] if given else [folder / name for name in LOCKS]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        wanted = given or " or ".join(LOCKS)
        raise BuildError(
            f"lock: no {wanted} in the source. Lock its dependencies with hashes: 'uv lock' in a uv project, "
            "or 'uv pip compile --universal --generate-hashes pyproject.toml -o requirements.txt'"
        )
    if path.name != "uv.lock":
        return path.read_text()
    export = ("export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate")
    return run(uv(), *export, "--format", "requirements-txt", "--project", path.parent)


def uv() -> str:
    """Return the control node's uv, the one beside its Ansible."""
    return (
        shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        or "uv"
    )


def requirements_for(lock: str, target: Target) -> dict[str, str]:
    """Return the pinned requirements of a lock that apply to a target: name to ``name==1.0 --hash=...``.

    Raises:
        BuildError: A requirement has no hash or no exact version, or a line is not a requirement.
    """
    chosen: dict[str, str] = {}
    unlocked = []
    for line in re.sub(r"\\\s*\n", " ", lock).splitlines():
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not text or text.startswith(("--index-url", "--extra-index-url", "--find-links")):
            continue  # where the wheels come from is the control node's own affair
        specification, *hashes = re.split(r"\s+--hash[= ]", text)
        try:
            requirement = Requirement(specification)
        except InvalidRequirement as error:
            raise BuildError(
                f"lock: can't read {text!r}; it must list exact versions with hashes and nothing else"
            ) from error
        exact = [specifier for specifier in requirement.specifier if specifier.operator == "=="]
        if not hashes or not exact:
            unlocked.append(requirement.name)
        elif requirement.marker is None or Marker(str(requirement.marker)).evaluate(target.markers):
            pinned = f"{requirement.name}{exact[0]}"
            chosen[canonicalize_name(requirement.name)] = " ".join(
                [pinned, *(f"--hash={value.strip()}" for value in sorted(hashes))]
            )
    if unlocked:
        raise BuildError(
            f"lock: without a hash or an exact version: {', '.join(sorted(unlocked))}. "
            "Lock them: 'uv pip compile --universal --generate-hashes <requirements.in> -o requirements.txt'"
        )
    if missing := [name for name in SERVER if name not in chosen]:
        raise BuildError(
            f"lock: lacks {', '.join(missing)}, which serve it. Add them to its dependencies and lock again"
        )
    return chosen


def fetch_wheels(requirements: Path, target: Target, folder: Path) -> None:
    """Fetch the wheels of hash-locked requirements for a target into a folder.

    Raises:
        BuildError: A wheel is missing for the target, or has another hash.
    """
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    command += ["--require-hashes", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={'.'.join(target.python.split('.')[:2])}"]
    command += [f"--platform={platform}" for platform in target.platforms]
    try:
        run(*command, "--requirement", requirements, "--dest", folder)
    except BuildError as error:
        if missing := re.search(r"No matching distribution found for (\S+)", str(error)):
            raise BuildError(
                f"lock: no wheel of {missing[1]} for {target.name}. Lock a version that has one, or another Python"
            ) from error
        raise BuildError(f"lock: can't fetch the wheels for {target.name}: {error}") from error


def defined(code: str, attribute: str) -> bool:
    """Tell whether a module's code binds a name at its top level, in an ``if`` or in a ``try``."""
    for node in ast.walk(ast.parse(code)):
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        if attribute in names or names == ["*"]:
            return True
    return False


def check_module(module: str, python_files: dict[str, str]) -> None:
    """Check that the source has the module, that it parses, and that it binds the attribute.

    What only running it tells is told on the host, before the switch.

    Args:
        module: Such as ``board.main:app``.
        python_files: The source's Python code by path, ``src/board/main.py``.
    """
    dotted, attribute = module.split(":")
    stem = dotted.replace(".", "/")
    wanted = [f"{root}{stem}{end}" for root in ("", "src/") for end in (".py", "/__init__.py")]
    path = next((path for path in wanted if path in python_files), None)
    if path is None:
        makers = [
            name
            for name, code in sorted(python_files.items())
            if re.search(r"^app\s*[:=].*", code, re.MULTILINE)
        ]
        names = [
            re.sub(r"(/__init__)?\.py$", "", name.removeprefix("src/")).replace("/", ".")
            for name in makers
        ]
        hint = f"; an 'app' is made in {', '.join(names)}" if names else ""
        raise BuildError(
            f"module: {module!r} is not in the source: no {' or '.join(wanted[:2])}, there or in src/{hint}"
        )
    try:
        if not defined(python_files[path], attribute.split(".")[0]):
            raise BuildError(
                f"module: {path} does not define {attribute!r}; name the attribute that is the application"
            )
    except SyntaxError as error:
        raise BuildError(f"module: {path} can't be parsed: {error}") from error


def python_files(files: list[tuple[str, Path]]) -> dict[str, str]:
    """Return the Python code among files, a wheel's members included, by path."""
    code = {}
    for name, path in files:
        if path.suffix == ".py" and path.is_file():
            code[name] = path.read_text(errors="replace")
        elif path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                members = [member for member in wheel.namelist() if member.endswith(".py")]
                code |= {member: wheel.read(member).decode(errors="replace") for member in members}
    return code


def is_package(folder: Path) -> bool:
    """Tell whether a folder is a project to be installed and not only to be run from: it has a build system."""
    pyproject = folder / "pyproject.toml"
    return pyproject.is_file() and "build-system" in tomllib.loads(pyproject.read_text())


def add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file to an archive as root's, readable by all, with the time that it has."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = int(member.mtime)  # gzip_static wants a file and its .gz to be of one time
        if member.isfile():
            member.mode = 0o755 if member.mode & 0o100 else 0o644
        return member

    archive.add(path, name, recursive=False, filter=plain)


def add_text(archive: tarfile.TarFile, name: str, content: bytes, mtime: float) -> None:
    """Add a file that is nowhere on the disk to an archive."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o644, int(mtime)
    archive.addfile(member, io.BytesIO(content))


def add_static(
    archive: tarfile.TarFile, files: list[tuple[str, Path]], folder: str, prefix: str
) -> None:
    """Add the files of a folder of the source under a prefix, with a ``.gz`` beside each that is worth one."""
    for name, path in files:
        if not Path(name).is_relative_to(folder) or not path.is_file():
            continue
        name = f"{prefix}/{Path(name).relative_to(folder)}"
        add(archive, path, name)
        content = path.read_bytes()
        if path.suffix in COMPRESSIBLE and len(content) >= 512:
            add_text(
                archive, f"{name}.gz", gzip.compress(content, 9, mtime=0), path.stat().st_mtime
            )


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give a scratch folder whose file ``out`` becomes ``path`` when all went well, and not before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        yield Path(scratch) / "out"
        (Path(scratch) / "out").rename(path)


def build_wheels(
    requirements: dict[str, str], target: Target, build_dir: Path
) -> tuple[str, Path, bool]:
    """Return the id and the archive of the wheels of locked requirements, and whether it was made just now."""
    lines = "".join(f"{line}\n" for _, line in sorted(requirements.items()))
    wheels_id = digest([], lines, target.name, RECIPE)
    archive_path = build_dir / "wheels" / f"{wheels_id}.tar"
    if archive_path.exists():
        return wheels_id, archive_path, False
    with written(archive_path) as out:
        (out.parent / "requirements.txt").write_text(lines)
        fetch_wheels(out.parent / "requirements.txt", target, out.parent / "wheels")
        with tarfile.open(out, "w") as archive:
            for wheel in sorted((out.parent / "wheels").iterdir()):
                add(archive, wheel, f"{wheels_id}/{wheel.name}")
    return wheels_id, archive_path, True


def fetch_uv(requirements: Path, target: Target, build_dir: Path) -> tuple[str, Path, bool]:
    """Return version and path of the uv binary for a target, and whether it was fetched just now."""
    pinned = re.search(r"^uv==(\S+)", requirements.read_text(), re.MULTILINE)
    if pinned is None:
        raise BuildError(
            f"{requirements.name} pins no uv; restore it from the project's repository"
        )
    path = build_dir / "uv" / f"uv-{pinned[1]}-{target.architecture}"
    if path.exists():
        return pinned[1], path, False
    with written(path) as out:
        fetch_wheels(requirements, target, out.parent)
        (wheel,) = out.parent.glob("uv-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (binary,) = [name for name in archive.namelist() if name.endswith("/scripts/uv")]
            out.write_bytes(archive.read(binary))
        out.chmod(0o755)
    return pinned[1], path, True


def build_project(files: list[tuple[str, Path]], folder: Path, target: Target) -> Path:
    """Build a project's wheel from a copy of its files, and return its path within the scratch folder."""
    copy = folder / "project"
    for name, path in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy / name, follow_symlinks=False)
    try:
        run(uv(), "build", "--wheel", "--out-dir", folder / "dist", copy)
    except BuildError as error:
        raise BuildError(f"source: its wheel can't be built: {error}") from error
    (wheel,) = (folder / "dist").glob("*.whl")
    check_wheel(wheel, target)
    return wheel


def check_wheel(wheel: Path, target: Target) -> None:
    """Refuse an application's wheel that the target can't install."""
    *_, tags = parse_wheel_filename(wheel.name)
    if not tags & target.tags:
        raise BuildError(
            f"source: {wheel.name} does not run on {target.name}; build it for that target"
        )


def build(params: dict[str, Any]) -> dict[str, Any]:
    """Build a release and return what RETURN lists, with ``changed``.

    Raises:
        BuildError: It can't be built; the message begins with the key of the application that is wrong.
    """
    target = Target(params["system_python"], params["architecture"], params["glibc"])
    root, build_dir = Path(params["source_root"]), Path(params["build_dir"])
    kind = source_kind(params["source"])
    commit = ""
    if kind == "git":
        if not params["version"]:
            raise BuildError("version: a git source needs one: a branch, a tag or a commit")
        (build_dir / "git").mkdir(parents=True, exist_ok=True)
        try:
            folder, commit = fetch_git(params["source"], params["version"], build_dir / "git")
        except BuildError as error:
            raise BuildError(f"source: {error}") from error
    else:
        folder = root / params["source"]
        if not folder.exists():
            raise BuildError(
                f"source: {folder} does not exist; write it relative to the project, or absolute"
            )
    if kind == "wheel":
        files = [(folder.name, folder)]
        check_wheel(folder, target)
    else:
        listed = walked(folder) if kind == "git" else folder_files(folder)
        files = [(str(path), folder / path) for path in listed]
    check_module(params["module"], python_files(files))
    lock = read_lock(folder, params["lock"], root)
    requirements = requirements_for(lock, target)
    static = folder / params["static"] if params["static"] else None
    if static is not None and not static.is_dir():
        raise BuildError(f"static.path: the source has no folder {params['static']!r}")

    release_id = digest(files, lock, params["static"], RECIPE)
    archive_path = build_dir / "releases" / f"{params['name']}-{release_id}-{target.name}.tar.gz"
    uv_version, uv_path, fetched = fetch_uv(Path(params["uv_requirements"]), target, build_dir)
    wheels_id, wheels_archive, downloaded = build_wheels(requirements, target, build_dir)
    built = not archive_path.exists()
    if built:
        with written(archive_path) as out:
            wheel = (
                folder
                if kind == "wheel"
                else build_project(files, out.parent, target)
                if is_package(folder)
                else None
            )
            with tarfile.open(out, "w:gz", compresslevel=1) as archive:
                for name, path in files if kind != "wheel" else []:
                    add(archive, path, f"{release_id}/src/{name}")
                add_text(
                    archive,
                    f"{release_id}/requirements.txt",
                    "".join(f"{line}\n" for _, line in sorted(requirements.items())).encode(),
                    0,
                )
                if wheel:
                    add(archive, wheel, f"{release_id}/dist/{wheel.name}")
                if params["static"]:
                    add_static(archive, files, params["static"], f"{release_id}/static")
    return {
        "changed": fetched or downloaded or built,
        "id": release_id,
        "version": str(parse_wheel_filename(folder.name)[1])
        if kind == "wheel"
        else commit or described(folder),
        "target": target.name,
        "archive": str(archive_path),
        "wheels_id": wheels_id,
        "wheels_archive": str(wheels_archive),
        "uv": str(uv_path),
        "uv_version": uv_version,
        "interpreter": {},
        "server": [],
    }


def main() -> None:
    """Run as an Ansible module."""
    required = ("name", "source", "module", "system_python", "architecture", "glibc")
    optional = ("version", "folder", "lock", "static", "frontend")
    paths = ("source_root", "build_dir", "uv_requirements", "server_requirements")
    spec: dict[str, Any] = {key: {"type": "str", "required": True} for key in required}
    spec |= {key: {"type": "str", "default": ""} for key in optional}
    spec |= {key: {"type": "path", "required": True} for key in paths}
    spec["python"] = {"type": "str", "default": "system"}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        with locked(Path(module.params["build_dir"]) / "lock"):
            module.exit_json(**build(module.params))
    except BuildError as error:
        module.fail_json(msg=f"apps.{module.params['name']}.{error}")


if __name__ == "__main__":
    main()
