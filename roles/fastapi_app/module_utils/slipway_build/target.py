"""What a release is built for: which wheels it runs, and what markers are true of it."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from .process import BuildError

# The Pythons that one might want to be told of.
MINORS = range(8, 31)


@dataclass(frozen=True)
class Target:
    """CPython's version, the machine, and the C library (``2.41``)."""

    python: str
    architecture: str
    glibc: str

    @property
    def minor(self) -> str:
        """Return the version of Python without its last part, ``3.13``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def name(self) -> str:
        """Return a name such as ``cp313-x86_64-glibc2.41``: equal names run equal wheels."""
        return f"cp{self.minor.replace('.', '')}-{self.architecture}-glibc{self.glibc}"

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
        version = tuple(int(part) for part in self.minor.split("."))
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
            "python_version": self.minor,
            "sys_platform": "linux",
        }

    def runs(self, wheel: str) -> bool:
        """Tell whether it runs a wheel of that file name."""
        *_, tags = parse_wheel_filename(wheel)
        return bool(tags & self.tags)


def specifiers(requires_python: str) -> SpecifierSet:
    """Return what a ``requires-python`` asks for; nothing if it can't be read.

    Poetry's ``^3.12`` is not of the standard, and common.
    """
    text = requires_python.strip()
    if text.startswith("^"):
        text = f">={text[1:]},<{int(text[1:].split('.')[0]) + 1}"
    try:
        return SpecifierSet(text)
    except (InvalidSpecifier, ValueError):
        return SpecifierSet()


def combined(requires_python: list[str]) -> SpecifierSet:
    """Return what several of them ask for together."""
    return SpecifierSet(
        ",".join(str(item) for item in map(specifiers, requires_python) if str(item))
    )


def fits(minor: int, wanted: SpecifierSet) -> bool:
    """Tell whether some Python ``3.<minor>`` is wanted."""
    return any(wanted.contains(f"3.{minor}.{patch}", prereleases=True) for patch in (0, 99))


def lowest(wanted: SpecifierSet, floor: int) -> str:
    """Return the lowest Python, such as ``3.12``, that is wanted and not below ``3.<floor>``, if there is one."""
    fitting = [minor for minor in MINORS if fits(minor, wanted)] or [floor]
    return f"3.{min([minor for minor in fitting if minor >= floor] or fitting)}"


def check_python(name: str, requires_python: list[str], python: str, of: str) -> None:
    """Refuse a Python that an application, or its lock, does not want.

    Args:
        name: The application's name.
        requires_python: What is wanted, by each that says so.
        python: The version that it would get.
        of: Whose that is, ``the host has`` or ``its python is``.
    """
    unmet = [
        text for text in requires_python if not specifiers(text).contains(python, prereleases=True)
    ]
    if not unmet:
        return
    wanted = combined(requires_python)
    given = int(python.split(".")[1])
    near = sorted((abs(minor - given), minor) for minor in MINORS if fits(minor, wanted))
    if not near:
        raise BuildError(
            f"python: no Python is what {name} wants: {wanted}; mend its requires-python"
        )
    raise BuildError(
        f"python: {name} wants {unmet[0]}, and {of} {python}; set python to 3.{near[0][1]}, which the control node "
        "gets once through uv, or to the archive of an interpreter"
    )
