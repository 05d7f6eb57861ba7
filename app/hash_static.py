"""Name the files in static/ by what is in them, and write down the names: `python hash_static.py`.

So a browser may keep a file for ever, and the page of each release names its own. Nginx knows such a
name by its hexadecimal digits, among which it wants both a digit and a letter.
"""

import hashlib
import re
from pathlib import Path

HERE = Path(__file__).parent
STATIC, WRITTEN = HERE / "static", HERE / "src/board/assets.py"
NAME = re.compile(r"(?P<stem>[a-z]+)(-[0-9a-f]+)?(?P<suffix>\.[a-z]+)")


def hashed(path: Path) -> str:
    """The name that a file is to have."""
    match = NAME.fullmatch(path.name)
    if not match:
        raise SystemExit(f"{path}: the name must be lower-case letters and a suffix")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    length = next(
        n for n in range(12, 65) if re.search(r"\d", digest[:n]) and re.search("[a-f]", digest[:n])
    )
    return f"{match['stem']}-{digest[:length]}{match['suffix']}"


def key(path: Path) -> str:
    """What a file is called in templates: board_js."""
    match = NAME.fullmatch(path.name)
    assert match
    return f"{match['stem']}_{match['suffix'][1:]}"


def module(names: dict[str, str]) -> str:
    """The module that says the names."""
    lines = "".join(f'    "{each}": "{name}",\n' for each, name in sorted(names.items()))
    return f'"""Names of the files in static/, written by hash_static.py."""\n\nNAMES = {{\n{lines}}}\n'


def main() -> None:
    """Run as a program."""
    for path in sorted(STATIC.iterdir()):
        path.rename(path.with_name(hashed(path)))
    WRITTEN.write_text(module({key(path): path.name for path in STATIC.iterdir()}))


if __name__ == "__main__":
    main()
