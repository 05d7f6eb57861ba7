"""A release: the source, its wheels, the server and the interpreter, for one target and with one id for all."""

from __future__ import annotations

import tarfile
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from . import indexes, interpreter, kit, lock, source, wheels
from .files import COMPRESSION, Files, add, add_compressed, copied, digest, folder_files, written
from .process import BuildError
from .target import Target, check_python


def build(params: dict[str, Any]) -> dict[str, Any]:
    """Build a release and return what the module's RETURN lists, with ``changed``.

    Raises:
        BuildError: It can't be built; the message begins with the key of the application that is wrong.
    """
    name, root, cache = params["name"], Path(params["source_root"]), Path(params["build_dir"])
    target = Target(params["system_python"], params["architecture"], params["glibc"])
    shipped, made = None, []
    if params["python"] != "system":
        shipped, new = interpreter.find(params["python"], target.architecture, root, cache)
        target = replace(target, python=shipped.version)
        made.append(new)

    app, locked = located(params, target, root, cache)
    env = partial(indexes.environment, tuple(app.upwards))
    wanted = [app.requires_python, locked.requires_python]
    check_python(name, wanted, target.python, "its python is" if shipped else "the host has")
    if app.wheel:
        wheels.check_wheel(app.wheel, target)
    misplaced = missing_module(params["module"], app.code)
    if misplaced and not app.is_project:
        raise misplaced
    shown = served_by_nginx(params, app, root)
    server = kit.completed(locked, wanted, Path(params["server_requirements"]), cache, env)
    pins = locked.pins_for(target)
    added = {pin.name: pin for pin in server if pin.applies(target) and pin.name not in pins}

    # Not the target: the same input is the same release on every host.
    everything = [*app.files(app.home, "src")] if not app.wheel else []
    for member in locked.members:
        everything += app.files(app.tree / member.path, f"members/{member.path}")
    if app.kind == "wheel" and app.wheel:
        everything.append((app.wheel.name, app.wheel))
    everything += shown
    texts = (locked.text, "".join(f"{pin.requirement} ; {pin.marker}\n" for pin in server))
    of_package = params["source"] if app.kind == "package" else ""
    python = shipped.id.replace(target.architecture, "") if shipped else ""
    links = "\n".join(sorted(params["shared"]))
    release_id = digest(
        everything,
        *texts,
        *(of_package, params["static"], python, links, wheels.RECIPE),
        *([COMPRESSION] if shown else []),
    )

    path = cache / "releases" / f"{name}-{release_id}-{target.name}.tar.gz"
    made.append(not path.exists())
    if not path.exists():
        with written(path) as out:
            called = params["version"] or app.version
            packages = built(app, locked.members_for(target), target, out.parent, env, called)
            with tarfile.open(out, "w:gz", compresslevel=1) as archive:
                # A package of the index has no files but its wheels, and nobody unpacks an empty archive.
                folder = tarfile.TarInfo(release_id)
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(folder)
                for file, at in app.shipped:
                    add(archive, at, f"{release_id}/src/{file}")
                for wheel in packages:
                    add(archive, wheel, f"{release_id}/dist/{wheel.name}")
                add_compressed(archive, [(f"{release_id}/{file}", at) for file, at in shown])
    if misplaced and missing_module(params["module"], code_in_wheels(path)):
        raise misplaced  # nor does the build system put it there
    uv_version, uv_path, new = wheels.fetch_uv(Path(params["uv_requirements"]), target, cache, env)
    made.append(new)
    wheels_id, wheels_archive, new = wheels.archived({**pins, **added}, target, cache, env)
    made.append(new)
    return {
        "changed": any(made),
        "id": release_id,
        "version": app.version,
        # What an environment was made for: it belongs to the one interpreter that made it.
        "target": f"{target.name}-{shipped.id}" if shipped else target.name,
        "archive": str(path),
        "wheels_id": wheels_id,
        "wheels_archive": str(wheels_archive),
        "uv": str(uv_path),
        "uv_version": uv_version,
        "interpreter": {
            "id": shipped.id,
            "version": shipped.version,
            "archive": str(shipped.archive),
        }
        if shipped
        else {},
        "server": [f"{pin.name} {pin.version}" for _, pin in sorted(added.items())],
    }


def located(
    params: dict[str, Any], target: Target, root: Path, cache: Path
) -> tuple[source.Source, lock.Lock]:
    """Return an application's source and its lock; of a package of the index the lock says where it comes from."""
    if source.source_kind(params["source"]) != "package":
        app = source.find(params["source"], params["version"], params["folder"], root, cache)
        return app, lock.find(app.upwards, params["lock"], root, params["name"], cache)
    source.check_keys("package", params["version"], params["folder"])
    wanted = source.requirement(params["source"])
    locked = lock.find([], params["lock"], root, params["name"], cache)
    pin = locked.pins_for(target).get(canonicalize_name(wanted.name))
    if pin is None or not wanted.specifier.contains(pin.version, prereleases=True):
        has = f"{pin.name} {pin.version}" if pin else f"no {wanted.name}"
        raise BuildError(
            f"lock: it pins {has}, and source is {wanted}; 'make lock APP={params['name']}' locks that"
        )
    return source.from_wheel(
        wheels.single(pin, target, cache, partial(indexes.environment, ())), cache, "package"
    ), locked


def missing_module(module: str, code: dict[str, str]) -> BuildError | None:
    """Return why a module can't be the application, if it can't."""
    try:
        source.check_module(module, code)
    except BuildError as error:
        return error
    return None


def served_by_nginx(params: dict[str, Any], app: source.Source, root: Path) -> Files:
    """Return the files that Nginx serves itself: those of ``static/`` and of ``frontend/``."""
    files: Files = []
    if params["static"]:
        folder = app.home / params["static"]
        if not folder.is_dir():
            raise BuildError(f"static.path: the source has no folder {params['static']!r}")
        files += app.files(folder, "static")
    if params["frontend"]:
        folder = source.frontend(params["frontend"], app, root)
        files += [(f"frontend/{path}", folder / path) for path in folder_files(folder)]
    for name, path in files:
        key = name.partition("/")[0]
        top = path.parents[len(Path(name).parts) - 2].resolve()
        if path.is_symlink() and not path.resolve().is_relative_to(top):
            raise BuildError(
                f"{key}.path: {name} leads out of the folder, to {path.readlink()}; "
                "put the file itself there, or remove the link"
            )
    return files


def built(
    app: source.Source,
    members: list[str],
    target: Target,
    scratch: Path,
    env: indexes.Environment,
    called: str,
) -> list[Path]:
    """Return the wheels of the source's own packages: the application, if it is one, and members it depends on.

    They are built from a copy of the whole source: a build leaves things behind, and may look beyond its folder.
    """
    if app.wheel:
        return [app.wheel] if app.kind == "wheel" else []
    projects = [*([app.folder] if app.is_project else []), *members]
    if not projects:
        return []
    copy = copied([Path(path) for path, _ in app.files(app.tree)], app.tree, scratch / "copy")
    return [
        copy / project
        if project.endswith(".whl")
        else wheels.built_from_source(copy / project, target, scratch / "dist", env, called)
        for project in projects
    ]


def code_in_wheels(release: Path) -> dict[str, str]:
    """Return the Python code in the wheels of a release's archive, by path."""
    code: dict[str, str] = {}
    with tarfile.open(release) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".whl") else None
            if file is None:
                continue
            with zipfile.ZipFile(file) as wheel:
                paths = [path for path in wheel.namelist() if path.endswith(".py")]
                code |= {path: wheel.read(path).decode(errors="replace") for path in paths}
    return code
