"""Resolving: exact versions with hashes, for every target at once, by uv."""

from __future__ import annotations

import re
from pathlib import Path

from .indexes import Environment, of_pip
from .process import BuildError, uv

OLDEST = 11  # Debian 12's Python, 3.11


def resolve(
    wanted: Path,
    python: str,
    out: Path,
    env: Environment,
    constraints: Path | None = None,
    called: str = "",
) -> str:
    """Resolve what a file asks for, and return for which Pythons that was done, such as ``3.12``: that one and later.

    Args:
        wanted: A ``pyproject.toml``, or a requirements file; its relative paths start from its folder.
        python: The oldest Python that it is for.
        out: The file to write. The versions that it has already are kept where they fit.
        env: The indexes.
        constraints: Versions that must not be left.
        called: The command to name in the file; nothing is said in it if empty.

    Raises:
        BuildError: It can't be resolved; the message is uv's.
    """
    options = [f"--custom-compile-command={called}"] if called else ["--no-header", "--no-annotate"]
    options += [f"--constraints={constraints}"] if constraints else []
    options += [
        "--universal",
        "--generate-hashes",
        f"--python-version={python}",
        f"--output-file={out}",
    ]
    try:
        uv("pip", "compile", "--quiet", *options, wanted.name, cwd=wanted.parent, env=env())
    except BuildError as error:
        # What doesn't say for which Pythons it is may not be for the oldest.
        newer = re.search(r"does not satisfy Python>=3\.(\d+)", str(error))
        if newer and int(newer[1]) > int(python.split(".")[1]):
            return resolve(wanted, f"3.{newer[1]}", out, env, constraints, called)
        if "was not found in" in str(error) and of_pip().extra:
            hint = "The extra-index-url of pip is not asked: if it is there, name that index to uv, too, by UV_INDEX"
            raise BuildError(f"{error}\n{hint}") from error
        raise
    return python
