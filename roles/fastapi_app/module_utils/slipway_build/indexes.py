"""Package indexes: those that the control node's pip and uv are set to, the same for both."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from .process import BuildError, run

# The variables, worked out when the first program needs them: most builds find all in the cache.
Environment = Callable[[], dict[str, str]]


@dataclass(frozen=True)
class Indexes:
    """The index that replaces the public one, if any, and those beside it; with their credentials."""

    default: str = ""
    extra: tuple[str, ...] = ()


@cache
def environment(folders: tuple[Path, ...]) -> dict[str, str]:
    """Return the variables that make pip and uv ask the same indexes.

    What a tool is set to stands. pip is told of uv's on top, since it fetches what uv has locked. uv is told of what
    replaces the public index for pip, but not of those beside it: it would prefer them, and lock their files only.
    By the environment: there may be passwords in them, and arguments can be read by everybody.

    Args:
        folders: The application's, and those above it: its ``pyproject.toml`` may name indexes.
    """
    pip, uv = of_pip(), of_uv(folders)
    variables = {}
    if uv.default and not pip.default:
        variables["PIP_INDEX_URL"] = uv.default
    if uv.extra:
        variables["PIP_EXTRA_INDEX_URL"] = " ".join(dict.fromkeys((*pip.extra, *uv.extra)))
    if (
        uv.default or pip.default
    ):  # uv finds its own, but not the source's while it resolves the server kit
        variables["UV_DEFAULT_INDEX"] = uv.default or pip.default
    return variables


def of_pip() -> Indexes:
    """Return what pip is set to, by variables or files."""
    listed = run(sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list")
    settings = {}
    for line in listed.splitlines():  # in the order of their precedence, :env: last
        name, _, value = line.partition("=")
        if "." in name:
            settings[name.split(".")[-1]] = str(ast.literal_eval(value))
    return Indexes(
        settings.get("index-url", ""), tuple(settings.get("extra-index-url", "").split())
    )


def of_uv(folders: tuple[Path, ...]) -> Indexes:
    """Return what uv is set to, by variables, the source's ``pyproject.toml`` or files of the machine."""
    defaults: list[str] = []
    extra: list[str] = []
    for entry in [*from_variables(), *from_files(folders)]:
        if not entry.get("url") or entry.get("format") == "flat":
            continue
        (defaults if entry.get("default") else extra).append(with_credentials(entry))
    return Indexes(defaults[0] if defaults else "", tuple(dict.fromkeys(extra)))


def from_variables() -> Iterator[dict[str, Any]]:
    """Yield the indexes in uv's environment variables, each perhaps as ``name=url``."""
    for variable, default in {
        "UV_DEFAULT_INDEX": True,
        "UV_INDEX_URL": True,
        "UV_INDEX": False,
        "UV_EXTRA_INDEX_URL": False,
    }.items():
        for text in os.environ.get(variable, "").split():
            named = re.match(r"([\w.-]+)=(.*)", text)
            name, url = named.groups() if named else ("", text)
            yield {"name": name, "url": url, "default": default}


def from_files(folders: tuple[Path, ...]) -> Iterator[dict[str, Any]]:
    """Yield the indexes in uv's files: the source's, the user's, the system's."""
    if os.environ.get("UV_NO_CONFIG"):
        return
    home, system = os.environ.get("XDG_CONFIG_HOME"), os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg")
    files = [folder / name for folder in folders for name in ("uv.toml", "pyproject.toml")]
    files.append((Path(home) if home else Path.home() / ".config") / "uv/uv.toml")
    files += [Path(folder) / "uv/uv.toml" for folder in [*system.split(":"), "/etc"] if folder]
    if own := os.environ.get("UV_CONFIG_FILE"):
        files = [Path(own)]
    for path in files:
        try:
            settings = tomllib.loads(path.read_text()) if path.is_file() else {}
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BuildError(f"lock: {path} can't be read: {error}") from error
        if path.name == "pyproject.toml":
            settings = settings.get("tool", {}).get("uv", {})
        yield from settings.get("index", [])
        for older in (settings, settings.get("pip", {})):
            yield {"url": older.get("index-url", ""), "default": True}
            yield from ({"url": url} for url in older.get("extra-index-url", []))


def with_credentials(entry: dict[str, Any]) -> str:
    """Return an index's URL with the user and the password that variables give for its name."""
    parts = urlsplit(str(entry["url"]))
    variable = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", str(entry.get("name", "")).upper())
    user, password = (os.environ.get(f"{variable}_{key}", "") for key in ("USERNAME", "PASSWORD"))
    if not entry.get("name") or not (user or password):
        return parts.geturl()
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(
        netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"
    ).geturl()
