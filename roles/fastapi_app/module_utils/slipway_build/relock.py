"""``make lock APP=…``: resolve and lock an application that brings no lock of its own."""

from __future__ import annotations

import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from . import indexes, interpreter, lock, source
from .process import BuildError
from .resolve import OLDEST, resolve
from .target import combined, lowest


def relock(params: dict[str, Any], write: bool = True) -> dict[str, Any]:
    """Resolve what an application asks for into ``locks/<app>.txt``, and return what the module's RETURN lists.

    Args:
        params: The module's.
        write: Whether to write the file, and not only to say what would be in it.

    Raises:
        BuildError: It has a lock of its own, doesn't say what it needs, or that can't be had.
    """
    name, root, cache = params["name"], Path(params["source_root"]), Path(params["build_dir"])
    path = root / "locks" / f"{name}.txt"
    if params["lock"] and (root / params["lock"]).resolve() != path.resolve():
        raise BuildError(
            f"lock: it is {params['lock']}, which this doesn't write; remove the key lock first"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        wanted, folders, requires_python = asked(params, root, cache, Path(scratch))
        own, _ = lock.in_source(folders, cache)
        if own:
            raise BuildError(
                f"lock: the source has one, {own.path.relative_to(folders[-1])}, and that is used; "
                "renew it there, by what wrote it"
            )
        before = path.read_text() if path.is_file() else ""
        out = Path(scratch) / "lock.txt"
        out.write_text(before)
        env = partial(indexes.environment, tuple(folders))
        python = lowest(combined([requires_python]), oldest(params["python"]))
        try:
            python = resolve(wanted, python, out, env, called=f"make lock APP={name}")
        except BuildError as error:
            raise BuildError(f"lock: {wanted.name} can't be resolved: {error}") from error
        tree = folders[-1] if folders else Path(scratch)
        # Members of a workspace by where they are in the source, not on this machine.
        prefix = re.escape(f"file://{tree}/")
        text = re.sub(rf"^(-e )?{prefix}", "./", out.read_text(), flags=re.MULTILINE)
        packages = lock.parsed(text, tree, tree).pins
    if write and text != before:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return {
        "changed": text != before,
        "path": str(path),
        "packages": len(packages),
        "of": wanted.name if folders else params["source"],
        "python": python,
    }


def oldest(python: str) -> int:
    """Return the oldest Python that hosts may have: Debian 12's, or the older one that an application asks for."""
    version = python if interpreter.VERSION.fullmatch(python) else ""
    return min(OLDEST, int(version.split(".")[1])) if version else OLDEST


def asked(
    params: dict[str, Any], root: Path, cache: Path, scratch: Path
) -> tuple[Path, list[Path], str]:
    """Return the file that says what an application asks for, the folders it is in, and the Pythons it wants."""
    file = scratch / "requirements.in"
    if source.source_kind(params["source"]) == "package":
        file.write_text(f"{source.requirement(params['source'])}\n")
        return file, [], ""
    app = source.find(params["source"], params["version"], params["folder"], root, cache)
    if app.wheel:
        needs = [
            Requirement(text)
            for text in source.wheel_metadata(app.wheel).get_all("Requires-Dist") or []
        ]
        file.write_text(
            "".join(f"{need}\n" for need in needs if "extra ==" not in str(need.marker))
        )
        return file, [], app.requires_python
    for name in ("pyproject.toml", "setup.py", "requirements.in", "requirements.txt"):
        if (app.home / name).is_file() and (
            name != "pyproject.toml" or says_what_it_needs(app.home)
        ):
            return app.home / name, app.upwards, app.requires_python
    raise BuildError(
        "lock: nothing in the source says what it needs: no pyproject.toml with dependencies, and no requirements.txt"
    )


def says_what_it_needs(folder: Path) -> bool:
    """Tell whether a folder's ``pyproject.toml`` lists dependencies, and isn't there for tools only."""
    settings = source.pyproject(folder)
    project = settings.get("project", {})
    dynamic = "dependencies" in project.get("dynamic", [])
    return bool(dynamic or project.get("dependencies") or "poetry" in settings.get("tool", {}))
