"""Static files: kept as their name allows, compressed at the build, there for a page of the release before."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from tests.stack import ROOT, Run, Stack, eventually, play

SOURCE = ROOT / ".slipway/edge/edge"
URL = "https://edge.test/static"
YEAR = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("name", "told"),
    [("app-3f2a9c1b.js", YEAR), ("style.css", "public, max-age=3600"), ("page.html", "no-cache")],
)
def test_a_file_is_kept_as_long_as_its_name_allows(stack: Stack, name: str, told: str) -> None:
    answer = stack.get(f"{URL}/{name}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == told
    again = stack.get(f"{URL}/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    since = {"If-Modified-Since": answer.headers["Last-Modified"]}
    assert stack.get(f"{URL}/{name}", headers=since).status_code == 304


@pytest.mark.parametrize(
    ("accepted", "encoding"), [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("identity", None)]
)
def test_a_file_comes_as_it_was_compressed_at_the_build(
    stack: Stack, accepted: str, encoding: str | None
) -> None:
    answer = stack.get(f"{URL}/app-3f2a9c1b.js", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.headers["Vary"] == "Accept-Encoding"
    whole = (SOURCE / "static/app-3f2a9c1b.js").read_bytes()
    assert encoding == "br" or answer.content == whole
    small = {"br": ".br", "gzip": ".gz", None: ""}[encoding]
    on_disk = f"/srv/edge/live/release/static/app-3f2a9c1b.js{small}"
    assert int(answer.headers["Content-Length"]) == int(stack.run(f"stat -c %s {on_disk}"))
    assert len(gzip.compress(whole)) < len(whole) / 3


@pytest.mark.parametrize("stack", ["edge13"], indirect=True)
def test_a_page_that_was_loaded_before_a_release_finds_its_files_after_it(
    stack: Stack, inventory: Path
) -> None:
    old, new = SOURCE / "static/app-3f2a9c1b.js", SOURCE / "static/app-77aa10cd.js"
    text, main = old.read_text(), (SOURCE / "main.py").read_text()
    style = (SOURCE / "static/style.css").read_text()
    missing: list[str] = []
    try:
        new.write_text(f"// another\n{text}")
        old.unlink()
        (SOURCE / "static/style.css").write_text(f"{style}/* another */\n")
        (SOURCE / "main.py").write_text(re.sub("GREETING = .*", 'GREETING = "second"', main))
        assert stack.get(f"{URL}/{new.name}").status_code == 404
        run = Run("playbooks/deploy.yml", inventory, "--limit", stack.name)
        while not run.ended():
            answer = stack.get(f"{URL}/{old.name}")
            if answer.status_code != 200 or answer.text != text:
                missing.append(f"{answer.status_code}")
        assert run.wait().returncode == 0, run.output()[-4000:]
        assert missing == []
        assert stack.get("https://edge.test/up").json()["greeting"] == "second"
        # Both are there, each with its compressed siblings; what has kept its name is the new one.
        assert stack.get(f"{URL}/{new.name}").text == new.read_text()
        assert stack.get(f"{URL}/{old.name}").text == text
        assert stack.get(f"{URL}/{old.name}").headers["Cache-Control"] == YEAR
        fresh = eventually(lambda: "another" in stack.get(f"{URL}/style.css").text, 3)
        assert fresh
        back = play("playbooks/rollback.yml", inventory, "--limit", stack.name, "-e", "app=edge")
        assert back.returncode == 0, back.stdout[-4000:]
        assert stack.get(f"{URL}/{new.name}").status_code == 200
        assert eventually(lambda: "another" not in stack.get(f"{URL}/style.css").text, 3)
    finally:
        old.write_text(text)
        new.unlink(missing_ok=True)
        (SOURCE / "main.py").write_text(main)
        (SOURCE / "static/style.css").write_text(style)
