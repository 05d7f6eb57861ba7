"""Wheels: those of locked requirements for a target, fetched or built, and the packages of the source itself."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
import zipfile
from functools import cache as remembered
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from .files import add, add_text, digest, written
from .indexes import Environment
from .lock import Pin, parsed
from .process import BuildError, run, uv
from .target import Target

# Raised when the same input must become other archives.
RECIPE = "2"


def archived(
    pins: dict[str, Pin], target: Target, cache: Path, env: Environment
) -> tuple[str, Path, bool]:
    """Return the id and the archive of the wheels of locked requirements, and whether it was made just now."""
    lines = "".join(f"{pin.requirement}\n" for _, pin in sorted(pins.items()))
    wheels_id = digest([], lines, target.name, RECIPE)
    path = cache / "wheels" / f"{wheels_id}.tar"
    if path.exists():
        return wheels_id, path, False
    with written(path) as out:
        requirements = fetch(pins, target, out.parent / "wheels", env)
        with tarfile.open(out, "w") as archive:
            add_text(
                archive,
                f"{wheels_id}/requirements.txt",
                "".join(f"{line}\n" for line in requirements).encode(),
            )
            for wheel in sorted((out.parent / "wheels").iterdir()):
                add(archive, wheel, f"{wheels_id}/{wheel.name}")
    return wheels_id, path, True


def single(pin: Pin, target: Target, cache: Path, env: Environment) -> Path:
    """Return the wheel of one locked package, for whatever Python it is: its metadata says so better than pip."""
    folder = cache / "packages" / digest([], pin.requirement, target.name, RECIPE)
    if not folder.exists():
        with written(folder) as out:
            fetch({pin.name: pin}, target, out, env, "--ignore-requires-python")
    (wheel,) = folder.glob("*.whl")
    return wheel


def fetch(
    pins: dict[str, Pin], target: Target, folder: Path, env: Environment, *options: str
) -> list[str]:
    """Fetch wheels of locked requirements for a target into a folder, and return them as pip's requirements.

    What has no wheel is built here if what comes out of it runs on the target.

    Raises:
        BuildError: Some have none, and can't be built here: all of them are named. Or a file has another hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, lacking, refused = dict(pins), {}, {}
    while found:
        try:
            download(found, target, folder, env, *options)
            break
        except BuildError as error:
            name, python = unfit(str(error))
            if name not in found:
                raise BuildError(
                    f"lock: can't fetch the wheels for {target.name}: {told(error)}"
                ) from error
            pin = found.pop(name)
            if python:
                refused[name] = f"it wants Python {python}"
            else:
                lacking[name] = pin
    lines = {name: pin.requirement for name, pin in found.items()}
    for name, pin in lacking.items():
        try:
            wheel = built_from_sdist(pin, target, folder, env)
            lines[name] = f"{name}=={pin.version} --hash=sha256:{sha256(wheel)}"
        except BuildError as error:
            refused[name] = str(error)
    if refused:
        names = ", ".join(
            f"{name} {pins[name].version} ({reason})" for name, reason in sorted(refused.items())
        )
        raise BuildError(
            f"lock: no wheel for {target.name} of {names}. Lock versions that have one, set python to another, or put "
            "a wheel into an index of your own"
        )
    return [line for _, line in sorted(lines.items())]


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def download(
    pins: dict[str, Pin], target: Target, folder: Path, env: Environment, *more: str
) -> None:
    """Have pip download wheels, and nothing but wheels, for another machine than this one."""
    requirements, log = folder.with_name("requirements.txt"), folder.with_name("pip.log")
    requirements.write_text("".join(f"{pin.requirement}\n" for pin in pins.values()))
    log.unlink(missing_ok=True)
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--log={log}", *more]
    options += ["--implementation=cp", f"--python-version={target.python}"]
    options += [f"--platform={name}" for name in target.platforms]
    try:
        pip("download", *options, "--requirement", requirements, "--dest", folder, env=env)
    except BuildError as error:
        # To pip an index that does not answer is an empty one; what it says of that is in its log only.
        failed = re.findall(r"Could not fetch URL (.*) - skipping", log.read_text())
        if found := [line for line in failed if "404 Client Error" not in line]:
            raise BuildError("\n".join(dict.fromkeys(found))) from error
        raise


def pip(command: str, *arguments: str | Path, env: Environment, python: str = "") -> None:
    """Run the control node's pip, perhaps with another Python than its own."""
    options = ["--disable-pip-version-check", "--no-input", "--quiet"]
    options += ["--python", python] if python else []
    run(sys.executable, "-m", "pip", *options, command, *arguments, env=env())


def unfit(said: str) -> tuple[str, str]:
    """Return the package that pip finds no fitting file of, and the Pythons that it wants if that is why.

    Empty texts where pip failed for another reason.
    """
    if found := re.search(r"Package '(\S+)' requires a different Python: \S+ not in '(.*)'", said):
        return canonicalize_name(found[1]), found[2]
    if found := re.search(r"No matching distribution found for ([^\s=]+)==(\S+)", said):
        wanted = re.search(rf"[:;] {re.escape(found[2])} Requires-Python ([^\s;]+)", said)
        return canonicalize_name(found[1]), wanted[1] if wanted else ""
    return "", ""


def told(error: BuildError) -> str:
    """Return the lines of what pip said that say what is wrong."""
    lines = dict.fromkeys(str(error).splitlines())
    return "\n".join(line for line in lines if not line.startswith("WARNING: Location"))


def built_from_sdist(pin: Pin, target: Target, folder: Path, env: Environment) -> Path:
    """Build a wheel of a locked package from its source distribution, whose hash is checked; return the wheel.

    Raises:
        BuildError: That fails, or the wheel does not run on the target; the message says why in a line.
    """
    scratch = folder.with_name(f"built-{pin.name}")
    scratch.mkdir()
    requirements = scratch.with_suffix(".txt")
    requirements.write_text(f"{pin.requirement}\n")
    options = ["--no-deps", "--require-hashes", f"--no-binary={pin.name}", f"--wheel-dir={scratch}"]
    python = builder(target.minor)
    try:
        pip("wheel", *options, "--requirement", requirements, env=env, python=python)
    except BuildError as error:
        if unfit(str(error))[0]:
            raise BuildError("nor a source distribution") from error
        # What went wrong is within the output of the build, which pip quotes.
        reasons = re.findall(r"^ {3,}((?:error|fatal|\w*Error)\b.*)", str(error), re.MULTILINE)
        reason = reasons[0] if reasons else str(error).splitlines()[-1]
        raise BuildError(f"it can't be built here: {reason}") from error
    (wheel,) = scratch.glob("*.whl")
    check_built(wheel, target)
    return wheel.rename(folder / wheel.name)


def check_built(wheel: Path, target: Target) -> None:
    """Refuse a wheel that was built here and does not run on a target."""
    *_, tags = parse_wheel_filename(wheel.name)
    native = any(tag.platform.startswith("linux_") for tag in tags)
    here = (os.confstr("CS_GNU_LIBC_VERSION") or "glibc 0.0").split()[-1]
    if not target.runs(wheel.name) or (native and version(here) > version(target.glibc)):
        what = "-".join(wheel.stem.split("-")[-3:]) + (f", glibc {here}" if native else "")
        raise BuildError(f"built here it is for {what}")


def version(text: str) -> tuple[int, ...]:
    """Return a version such as ``2.41`` so that it can be compared."""
    return tuple(int(part) for part in text.split("."))


@remembered
def builder(minor: str) -> str:
    """Return this machine's Python of a version, such as ``3.13``, to build with; our own if it has none."""
    for name in (sys.executable, f"python{minor}", "/usr/bin/python3"):
        try:
            found = run(name, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        except BuildError:
            continue
        if found == minor:
            return shutil.which(name) or name
    return sys.executable


def built_from_source(
    project: Path, target: Target, folder: Path, env: Environment, version: str
) -> Path:
    """Build the wheel of a package that lies in the source, and return it.

    Args:
        project: Its folder.
        target: What it is for.
        folder: Where the wheel goes.
        env: The indexes, for what it takes to build it.
        version: What people call the source, for a build system that would ask git: there is none in a copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    try:
        options = ("--wheel", "--python", builder(target.minor), "--out-dir", folder)
        uv("build", *options, project, cwd=project, env=env() | scm(version))
        (wheel,) = set(folder.glob("*.whl")) - before
        check_built(wheel, target)
    except BuildError as error:
        raise BuildError(
            f"source: the wheel of {project.name} can't be made for {target.name}: {error}"
        ) from error
    return wheel


def scm(described: str) -> dict[str, str]:
    """Return the variables that tell build systems the version which they would ask git for.

    Args:
        described: Such as ``v1.2``, ``v1.2-3-g0a1b2c4-dirty``, a branch or a commit; may be empty.
    """
    found = re.match(r"v?(\d+(?:\.\d+)+)(.*)", described)
    base, rest = found.groups() if found else ("0", described)
    local = ".".join(re.findall(r"[a-z0-9]+", rest.lower()))
    version = f"{base}+{local}" if local else base
    return {
        "SETUPTOOLS_SCM_PRETEND_VERSION": version,  # hatch-vcs, too
        "PDM_BUILD_SCM_VERSION": version,
        "POETRY_DYNAMIC_VERSIONING_BYPASS": version,
        "UV_DYNAMIC_VERSIONING_BYPASS": version,
    }


def check_wheel(wheel: Path, target: Target) -> None:
    """Refuse an application's wheel that the target can't install."""
    if not target.runs(wheel.name):
        raise BuildError(
            f"source: {wheel.name} does not run on {target.name}; build it for that target"
        )


def fetch_uv(
    requirements: Path, target: Target, cache: Path, env: Environment
) -> tuple[str, Path, bool]:
    """Return version and path of the uv binary for a target, and whether it was fetched just now."""
    pins = {
        pin.name: pin
        for pin in parsed(requirements.read_text(), requirements.parent, requirements.parent).pins
    }
    if "uv" not in pins:
        raise BuildError(
            f"{requirements.name} pins no uv; restore it from the project's repository"
        )
    release = pins["uv"].version
    path = cache / "uv" / f"uv-{release}-{target.architecture}"
    if path.exists():
        return release, path, False
    with written(path) as out:
        fetch({"uv": pins["uv"]}, target, out.parent / "wheels", env)
        (wheel,) = (out.parent / "wheels").glob("uv-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (binary,) = [name for name in archive.namelist() if name.endswith("/scripts/uv")]
            out.write_bytes(archive.read(binary))
        out.chmod(0o755)
    return release, path, True
