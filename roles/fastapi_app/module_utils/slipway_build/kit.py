"""The server kit: what serves an application whose lock leaves that open, see docs/adr/0007."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .files import digest, written
from .indexes import Environment
from .lock import Lock, Pin, parsed
from .process import BuildError
from .resolve import OLDEST, resolve
from .target import Target, combined, lowest, specifiers

# The bounds are what templates/srv/gunicorn.conf.py.j2 works with.
KIT = ("gunicorn>=23", "httptools>=0.5", "uvicorn>=0.22", "uvicorn-worker>=0.3", "uvloop>=0.17")
# A package that a lock has for all of these is there for whatever host comes.
HOSTS = [
    Target(python, machine, "2.36")
    for python in ("3.11.2", "3.14.0")
    for machine in ("x86_64", "aarch64")
]


def completed(
    lock: Lock, wanted: list[str], pinned: Path, cache: Path, env: Environment
) -> tuple[Pin, ...]:
    """Return what the kit adds to a lock, resolved under the lock's own versions and never over them.

    Args:
        lock: The application's.
        wanted: Which Pythons application and lock want.
        pinned: The kit's own lock, whose versions are preferred.
        cache: Where the outcome is kept, so that it is the same tomorrow.
        env: The indexes.

    Raises:
        BuildError: The lock pins a version that the kit can't work with.
    """
    check_bounds(lock)
    names = [requirement.name for requirement in map(Requirement, KIT)]
    if all(
        any(pin.name == name and pin.applies(host) for pin in lock.pins)
        for name in names
        for host in HOSTS
    ):
        return ()
    constraints = "".join(f"{pin.constraint}\n" for pin in sorted(lock.pins, key=str))
    python = lowest(combined(wanted), OLDEST)
    path = cache / "kits" / f"{digest([], constraints, pinned.read_text(), python, *KIT)}.txt"
    if not path.exists():
        with written(path) as out:
            (out.parent / "kit.in").write_text("\n".join(KIT))
            (out.parent / "constraints.txt").write_text(constraints)
            out.write_text(pinned.read_text())
            try:
                resolve(out.parent / "kit.in", python, out, env, out.parent / "constraints.txt")
            except BuildError as error:
                raise BuildError(clash(constraints, str(error))) from error
    own = {pin.name for pin in lock.pins if not pin.marker}
    return tuple(
        pin
        for pin in parsed(path.read_text(), path.parent, path.parent).pins
        if pin.name not in own
    )


def check_bounds(lock: Lock) -> None:
    """Refuse a lock that has a package of the kit, but one that is too old for it."""
    for requirement in map(Requirement, KIT):
        for pin in lock.pins:
            if pin.name == requirement.name and not requirement.specifier.contains(
                pin.version, prereleases=True
            ):
                raise BuildError(
                    f"lock: the lock pins {pin.name} {pin.version}, and the server kit needs {requirement}; "
                    f"raise {pin.name} in the application's dependencies, or remove it there, and lock again"
                )


def clash(constraints: str, said: str) -> str:
    """Return why the kit can't be resolved: the two packages in question, if that is it, and all that uv says."""
    pins = {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", constraints, re.MULTILINE)
    }
    needs = re.findall(
        r"([\w.-]+?)(?:[<>=!~][^ ]*)? depends on ([\w.-]+)(?:\{[^}]*\})?((?:[<>=!~]=?[\w.*]+,?)*)",
        said,
    )
    for name, needed, bounds in needs:
        pin = pins.get(canonicalize_name(needed))
        if pin and not specifiers(bounds.rstrip(",")).contains(pin, prereleases=True):
            return (
                f"lock: the lock pins {needed} {pin}, and {name} of the server kit needs {needed}{bounds}; raise "
                f"{needed} in the application's dependencies, or add the server to them, and lock again. "
                f"uv says: {said}"
            )
    return f"lock: it lacks a server, and that of the kit can't be resolved. uv says: {said}"
