"""Targets: which wheels they run, and which Pythons are wanted."""

from __future__ import annotations

import pytest
from slipway_build.process import BuildError
from slipway_build.target import Target, check_python, combined, lowest, specifiers

DEBIAN_13 = Target("3.13.5", "x86_64", "2.41")


def test_a_target_takes_the_wheels_of_older_c_libraries_and_no_newer() -> None:
    assert DEBIAN_13.platforms[0] == "manylinux_2_41_x86_64"
    assert "manylinux2014_x86_64" in DEBIAN_13.platforms
    assert "manylinux_2_42_x86_64" not in DEBIAN_13.platforms


@pytest.mark.parametrize(
    ("wheel", "runs"),
    [
        ("x-1.0-py3-none-any.whl", True),
        ("x-1.0-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("x-1.0-cp39-abi3-manylinux2014_x86_64.whl", True),
        ("x-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        ("x-1.0-cp313-cp313-manylinux_2_17_aarch64.whl", False),
        ("x-1.0-cp313-cp313-musllinux_1_2_x86_64.whl", False),
        ("x-1.0-cp313-cp313-manylinux_2_42_x86_64.whl", False),
    ],
)
def test_a_wheel_runs_where_its_tags_say(wheel: str, runs: bool) -> None:
    assert DEBIAN_13.runs(wheel) is runs


def test_equal_names_run_equal_wheels() -> None:
    assert DEBIAN_13.name == "cp313-x86_64-glibc2.41"
    assert DEBIAN_13.name == Target("3.13.9", "x86_64", "2.41").name


@pytest.mark.parametrize(
    ("wanted", "python", "suggested"),
    [
        ([">=3.14"], "3.13.5", "3.14"),
        ([">=3.9,<3.13"], "3.13.5", "3.12"),
        (["==3.12.*", ""], "3.11.2", "3.12"),
        (["^3.12"], "3.11.2", "3.12"),
        ([">=3.11", ">=3.12"], "3.11.2", "3.12"),
        ([">=3.13.6"], "3.13.5", "3.13"),
    ],
)
def test_a_python_that_is_not_wanted_is_refused_with_the_nearest_that_is(
    wanted: list[str], python: str, suggested: str
) -> None:
    with pytest.raises(BuildError) as refused:
        check_python("shop", wanted, python, "the host has")
    unmet = next(text for text in wanted if not specifiers(text).contains(python))
    assert str(refused.value) == (
        f"python: shop wants {unmet}, and the host has {python}; set python to {suggested}, "
        "which the control node gets once through uv, or to the archive of an interpreter"
    )


def test_what_no_python_is_says_so() -> None:
    with pytest.raises(BuildError, match="python: no Python is what shop wants"):
        check_python("shop", ["<3.13", ">=3.14"], "3.13.5", "the host has")


@pytest.mark.parametrize("wanted", [["", ">=3.11"], [">=3.11,<4.0"], ["^3.11"], ["nonsense"], []])
def test_a_python_that_is_wanted_passes(wanted: list[str]) -> None:
    check_python("shop", wanted, "3.13.5", "the host has")


@pytest.mark.parametrize(
    ("wanted", "floor", "python"),
    [
        ("", 11, "3.11"),
        (">=3.8", 11, "3.11"),
        (">=3.8", 9, "3.9"),
        (">=3.12.4", 11, "3.12"),
        (">=3.8,<3.10", 11, "3.8"),
    ],
)
def test_the_lowest_python_is_one_that_hosts_have(wanted: str, floor: int, python: str) -> None:
    assert lowest(combined([wanted]), floor) == python
