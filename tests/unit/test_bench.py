"""What `make bench` says is what it has measured, and docs/performance.md says the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.bench.speed import report
from tests.bench.speed.report import Sample

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/performance"
DOCUMENT = ROOT / "docs/performance.md"
# The table of the aims that the stack was built for.
AIMS = {
    ("FastAPI template style, plain", "one row by id"): 5,
    ("FastAPI template style, plain", "list of 50"): 4.5,
    ("uvicorn --workers 4, SQLAlchemy async, plain", "one row by id"): 3.5,
    ("uvicorn --workers 4, SQLAlchemy async, plain", "list of 50"): 3.5,
    ("tutorial nginx, same app", "small JSON"): 2,
    ("same app direct, no nginx, no TLS", "small JSON"): 0.65,
    ("same app direct, no nginx, no TLS", "one row by id"): 0.75,
    ("same app direct, no nginx, no TLS", "list of 50"): 0.9,
    ("on-the-fly gzip, 200 kB script", "static"): 100,
    ("uncached list", "micro-cache, with lock"): 25,
    ("list at 1,000 rows", "list at 1,000,000 rows"): 0.9,
    ("PSS of two workers at rest", "MiB"): 100,
}
FACTS = {"date": "2026-11-28", "how": "2 rounds of 5 s", "versions": {"Nginx": "1.26.3"}}
STEPS = sorted({step for _, _, ours, theirs, _ in report.COMPARISONS for step in (ours, theirs)})


def rounds(*ours: float) -> list[dict[str, Sample]]:
    """Return rounds in which our steps have these rates, and all others 100."""

    def sample(step: str, rate: float) -> Sample:
        mine = step.startswith(("ours/", "cached/", "million/"))
        return Sample(rate if mine else 100, {"nginx": 20, "application": 1e6 / rate}, 40)

    return [{step: sample(step, rate) for step in STEPS} for rate in ours]


def defaults() -> list[str]:
    """Return the options of the roles whose defaults decide how fast the stack is."""
    roles = [ROOT / f"roles/{name}" for name in ("fastapi_app", "nginx", "postgresql")]
    return [
        name for role in roles for name in yaml.safe_load((role / "defaults/main.yml").read_text())
    ]


def written(name: str) -> list[dict[str, Any]]:
    """Return one of the files of the last measurement."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.relative_to(ROOT)} is not there: nobody has run make bench yet")
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def test_each_aim_is_compared() -> None:
    listed = report.entries(rounds(300), [90])
    aimed = {(one["against"], one["on"]): one["aim"] for one in listed if one["aim"] is not None}
    assert aimed == AIMS
    assert [one["on"] for one in listed if one["at_most"]] == ["MiB"]


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    found = report.entries(rounds(300, 900, 450), [101.2, 99.96, 98])
    assert found[0] == {
        **{"against": "FastAPI template style, plain", "on": "one row by id"},
        **{"ratio": 4.5, "min": 3, "max": 9, "aim": 5, "at_most": False},
    }
    # Not rounded to an aim that it misses.
    assert found[-1]["ratio"] == 99.96 and found[-1]["max"] == 101.2


@pytest.mark.parametrize(
    ("ratio", "aim", "at_most", "by"),
    [
        (5, 5, False, ""),
        (4.5, 5, False, "10.0%"),
        (5.5, 5, False, ""),
        (100, 100, True, ""),
        (101, 100, True, "1.0%"),
        (90, 100, True, ""),
        (0.1, None, False, ""),
    ],
)
def test_an_aim_that_is_missed_is_missed_by_so_much(
    ratio: float, aim: float | None, at_most: bool, by: str
) -> None:
    assert report.missed({"ratio": ratio, "aim": aim, "at_most": at_most}) == by


def test_the_tables_say_it_in_the_words_of_a_table() -> None:
    table = report.ratio_table(report.entries(rounds(450), [90]))
    assert (
        "\n| FastAPI template style, plain | one row by id | 4.5 | 4.5 | 4.5 | 5 at least | 10.0% |\n"
        in table
    )
    assert "\n| PSS of two workers at rest | MiB | 90 | 90 | 90 | 100 at most |  |\n" in table
    rates = report.rate_table(report.rates(rounds(1250, 1250)))
    assert "| ours/row | 1,250 | 1,250 | 1,250 | 20 | 800 | 820 | 40 |" in rates
    columns = {line.count("|") for line in rates.splitlines()}
    assert len(columns) == 1


def test_figures_tables_and_pictures_are_written_where_they_belong(tmp_path: Path) -> None:
    folder = tmp_path / "performance"
    report.write(folder, rounds(450, 500), [90, 91], FACTS)
    document = folder.with_suffix(".md")
    before = document.read_text()
    listed = json.loads((folder / "bench.json").read_text())
    assert {(one["date"], one["versions"]["Nginx"]) for one in listed} == {("2026-11-28", "1.26.3")}
    assert report.ratio_table(listed) in before and "](performance/ratios.png)" in before

    document.write_text(f"# Mine\n\n{before}\nand mine\n")
    report.write(folder, rounds(600), [80], FACTS)
    after = document.read_text()
    assert after.startswith("# Mine\n") and after.endswith("\nand mine\n")
    assert before not in after and "| one row by id | 6 | 6 | 6 | 5 at least |" in after


@pytest.mark.parametrize("option", defaults())
def test_each_default_has_its_reason(option: str) -> None:
    text = DOCUMENT.read_text()
    chapter = text[text.index("## Where the defaults come from") :]
    assert re.search(rf"^\| `{option}`", chapter, re.MULTILINE)


def test_the_document_has_a_place_for_each_text() -> None:
    compared = [one | FACTS for one in report.entries(rounds(300), [90])]
    measured = [one | FACTS for one in report.rates(rounds(300))]
    texts = report.sections(compared, measured, "performance")
    assert report.marked(DOCUMENT.read_text()).keys() == texts.keys()


def test_the_document_says_what_was_measured() -> None:
    texts = report.sections(written("bench"), written("rates"), FOLDER.name)
    assert report.marked(DOCUMENT.read_text()) == texts
    for picture in ("ratios.png", "cpu.png"):
        assert (FOLDER / picture).read_bytes().startswith(b"\x89PNG")


def test_all_aims_were_measured() -> None:
    found = {(one["against"], one["on"]): one for one in written("bench")}
    for key, aim in AIMS.items():
        assert found[key]["aim"] == aim
        assert found[key]["at_most"] == (key[1] == "MiB")
        assert 0 < found[key]["min"] <= found[key]["ratio"] <= found[key]["max"]
