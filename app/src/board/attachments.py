"""Logs of runs, kept as files in the folder that outlives releases.

They come in as they are sent, and nginx sends them out: a log is never in this process's memory.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import anyio
from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import FileResponse

FOLDER = "logs"  # in the shared folder
PARTS = "parts"  # in there: what is still coming in
CUT_OFF = 3600  # seconds without a byte, after which nobody is at it any more

HEADERS = {
    # Whatever is in it, it is text and nothing that a browser runs.
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}


class TooLargeError(Exception):
    """A log is larger than is taken."""


def path_of(shared: Path, id: int) -> Path:
    """Where the log of a deployment is: at most a thousand in a folder."""
    return shared / FOLDER / str(id // 1000) / f"{id}.log"


def sweep(parts: Path) -> None:
    """Remove what a worker that was killed has left, on whichever host."""
    for part in parts.glob("*.part"):
        with suppress(OSError):  # another was quicker; and whatever it is, this log can be written
            if part.stat().st_mtime < time.time() - CUT_OFF:
                part.unlink()


async def receive(chunks: AsyncIterator[bytes], shared: Path, id: int, limit: int) -> int:
    """Write a log down and return its size in bytes. It is there whole, or not at all.

    Raises:
        TooLargeError: it has more than `limit` bytes.
        OSError: it can't be written.
    """
    path, parts = path_of(shared, id), shared / FOLDER / PARTS
    for folder in (path.parent, parts):
        await anyio.Path(folder).mkdir(mode=0o750, parents=True, exist_ok=True)
    await to_thread.run_sync(sweep, parts)
    part = parts / f"{uuid4().hex}.part"
    size = 0
    try:
        async with await anyio.open_file(part, "xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLargeError
                await file.write(chunk)
            await file.flush()
            await to_thread.run_sync(os.fsync, file.wrapped.fileno())
        await anyio.Path(part).replace(path)
    finally:
        # Gone already, unless something went wrong; not awaited, for it may be a cancellation.
        part.unlink(missing_ok=True)
    return size


def mapped(mapping: str, path: Path) -> str | None:
    """Where the server in front has a file, None if it doesn't have it.

    Args:
        mapping: What it says in X-Accel-Mapping, `/folder/=/address/` each, as Rack's Sendfile reads it.
        path: The file.
    """
    for pair in filter(None, map(str.strip, mapping.split(","))):
        folder, _, address = pair.partition("=")
        if folder.startswith("/") and address.startswith("/") and path.is_relative_to(folder):
            return f"{address.rstrip('/')}/{quote(str(path.relative_to(folder)))}"
    return None


def send(request: Request, path: Path) -> Response:
    """Answer with a log: by nginx, if that says that it has the file, otherwise from here."""
    address = mapped(request.headers.get("X-Accel-Mapping", ""), path.absolute())
    if address:
        return Response(headers=HEADERS | {"X-Accel-Redirect": address})
    return FileResponse(path, headers=HEADERS)
