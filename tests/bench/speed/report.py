"""What `make bench` makes of what it has measured: ratios and their aims, tables, and the two files of figures."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What is compared, on what, and what it should come to: at least, or at most. None is for orientation.
Comparison = tuple[str, str, str, str, float | None]  # against, on, ours, theirs, aim
TEMPLATE = "FastAPI template style, plain"
ASYNCHRONOUS = "uvicorn --workers 4, SQLAlchemy async, plain"
TUTORIAL = "tutorial nginx"
DIRECT = "same app direct, no nginx, no TLS"
COMPARISONS: list[Comparison] = [
    (TEMPLATE, "one row by id", "ours/row", "template/row", 5),
    (TEMPLATE, "list of 50", "ours/list", "template/list", 4.5),
    (ASYNCHRONOUS, "one row by id", "ours/row", "asynchronous/row", 3.5),
    (ASYNCHRONOUS, "list of 50", "ours/list", "asynchronous/list", 3.5),
    (f"{TUTORIAL}, same app", "small JSON", "ours/small", "tutorial/small", 2),
    (DIRECT, "small JSON", "ours/small", "direct/small", 0.65),
    (DIRECT, "one row by id", "ours/row", "direct/row", 0.75),
    (DIRECT, "list of 50", "ours/list", "direct/list", 0.9),
    ("on-the-fly gzip, 200 kB script", "static", "ours/script", "on-the-fly/script", 100),
    ("uncached list", "micro-cache, with lock", "cached/list", "million/list", 25),
    ("list at 1,000 rows", "list at 1,000,000 rows", "million/list", "thousand/list", 0.9),
    (f"{TUTORIAL}, template style", "one row by id", "ours/row", "template-nginx/row", None),
    (f"{TUTORIAL}, template style", "list of 50", "ours/list", "template-nginx/list", None),
    (f"{TUTORIAL}, SQLAlchemy async", "one row by id", "ours/row", "asynchronous-nginx/row", None),
    (f"{TUTORIAL}, SQLAlchemy async", "list of 50", "ours/list", "asynchronous-nginx/list", None),
    ("nginx `return 200`, TLS", "small JSON", "ours/small", "ceiling/small", None),
    ("raw ASGI, same server and nginx", "small JSON", "ours/small", "raw/small", None),
    ("`pgbench -S`, prepared", "one row by id", "ours/row", "pgbench/row", None),
]
MEMORY = ("PSS of two workers at rest", "MiB", 100.0)  # against, on, and the most that it should be

MARKS = re.compile(r"(<!-- bench (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


@dataclass(frozen=True)
class Sample:
    """One measurement: requests a second, CPU in microseconds a request by what took it, and bytes of a body."""

    rate: float
    cpu: Mapping[str, float]
    body: float


Round = Mapping[str, Sample]  # by step, such as ours/row


def significant(value: float) -> float:
    """Return a value with the four digits that may mean something."""
    return float(f"{value:.4g}")


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return the median, the least and the most."""
    known = list(values)
    return {
        "ratio": significant(statistics.median(known)),
        "min": significant(min(known)),
        "max": significant(max(known)),
    }


def entries(rounds: Sequence[Round], memory: Sequence[float]) -> list[dict[str, Any]]:
    """Return what is compared: the ratios of each round, of which the median counts.

    Args:
        rounds: What was measured.
        memory: The PSS at rest in MiB, once a round.
    """
    found: list[dict[str, Any]] = [
        {
            **{"against": against, "on": on},
            **spread(each[ours].rate / each[theirs].rate for each in rounds),
            **{"aim": aim, "at_most": False},
        }
        for against, on, ours, theirs, aim in COMPARISONS
    ]
    against, on, aim = MEMORY
    return [*found, {"against": against, "on": on, **spread(memory), "aim": aim, "at_most": True}]


def rates(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return what each step came to: requests a second, CPU a request by what took it, and the body's bytes."""
    found = []
    for step in rounds[0]:
        samples = [each[step] for each in rounds]
        rate = spread(sample.rate for sample in samples)
        found.append(
            {
                "step": step,
                "rate": rate["ratio"],
                "min": rate["min"],
                "max": rate["max"],
                "cpu_us": {
                    part: significant(statistics.median(sample.cpu[part] for sample in samples))
                    for part in samples[0].cpu
                },
                "bytes": round(statistics.median(sample.body for sample in samples)),
            }
        )
    return found


def missed(entry: Mapping[str, Any]) -> str:
    """Return by how much an aim is missed; nothing if it isn't, or there is none."""
    ratio, aim = entry["ratio"], entry["aim"]
    if aim is None or (ratio <= aim if entry["at_most"] else ratio >= aim):
        return ""
    share = abs(ratio / aim - 1)
    return f"{share:.1%}"


def number(value: float) -> str:
    """Return a figure as a table has it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def ratio_table(listed: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of comparisons."""
    lines = [
        "| against | on | ratio | min | max | aim | missed by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in listed:
        bound = "at most" if entry["at_most"] else "at least"
        cells = [
            entry["against"],
            entry["on"],
            number(entry["ratio"]),
            number(entry["min"]),
            number(entry["max"]),
            "" if entry["aim"] is None else f"{number(entry['aim'])} {bound}",
            missed(entry),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rate_table(listed: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of what was measured."""
    parts = list(dict.fromkeys(part for entry in listed for part in entry["cpu_us"]))
    heads = ["step", "requests a second", "min", "max", *(f"{part}, CPU µs" for part in parts)]
    lines = [
        f"| {' | '.join([*heads, 'in all', 'bytes'])} |",
        f"|{' --- |' * (len(heads) + 2)}",
    ]
    for entry in listed:
        cpu = entry["cpu_us"]
        cells = [
            entry["step"],
            *(number(entry[key]) for key in ("rate", "min", "max")),
            *(number(cpu[part]) if part in cpu else "" for part in parts),
            number(significant(sum(cpu.values()))),
            number(entry["bytes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def told(facts: Mapping[str, Any]) -> str:
    """Return in a sentence or two when and how it was measured, from what each entry says of that."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"{facts['date']}, {facts['how']}. {versions}.\n"


def sections(
    compared: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]], folder: str
) -> dict[str, str]:
    """Return what stands between the marks of the document, by name.

    Args:
        compared: What bench.json has.
        measured: What rates.json has.
        folder: The pictures' folder, as the document names it.
    """
    pictures = [
        f"![What each comparison came to, and its aim]({folder}/ratios.png)",
        f"![Where the CPU goes, a request]({folder}/cpu.png)",
    ]
    return {
        "when": told(compared[0]),
        "ratios": ratio_table(compared),
        "rates": rate_table(measured),
        "pictures": "\n\n".join(pictures) + "\n",
    }


def between(document: str, texts: Mapping[str, str]) -> str:
    """Return a document with texts between its marks.

    Raises:
        KeyError: It has marks of a name for which there is no text.
    """
    return MARKS.sub(lambda found: f"{found[1]}{texts[found[2]]}{found[3]}", document)


def marked(document: str) -> dict[str, str]:
    """Return what stands between a document's marks, by name."""
    marks = MARKS.finditer(document)
    return {found[2]: document[found.end(1) : found.start(3)] for found in marks}


def empty(names: Iterable[str]) -> str:
    """Return a document with marks and nothing between them."""
    return "\n".join(f"<!-- bench {name} -->\n<!-- /bench -->\n" for name in names)


def write(
    folder: Path, rounds: Sequence[Round], memory: Sequence[float], facts: Mapping[str, Any]
) -> None:
    """Write the figures into a folder, and the tables into the document beside it that has its name.

    Args:
        folder: Such as docs/performance, for which the document is docs/performance.md.
        rounds: What was measured.
        memory: The PSS at rest.
        facts: ``date``, ``how`` and ``versions``, which each entry gets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compared = [{**entry, **facts} for entry in entries(rounds, memory)]
    measured = [{**entry, **facts} for entry in rates(rounds)]
    for name, listed in (("bench", compared), ("rates", measured)):
        text = json.dumps(listed, indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n")
    document = folder.with_suffix(".md")
    texts = sections(compared, measured, folder.name)
    before = document.read_text() if document.exists() else empty(texts)
    document.write_text(between(before, texts))
