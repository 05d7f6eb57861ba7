"""Hands news feeds on as JSON: RSS or Atom in, one shape out. All of it over HTTPS."""

import sys
from calendar import timegm
from typing import Annotated

import feedparser  # type: ignore[import-not-found]
import strict_rfc3339  # type: ignore[import-not-found]
from fastapi import Body, FastAPI, HTTPException
from fastapi.middleware.httpsredirect import HTTPSRedirectMiddleware
from pydantic import BaseModel

app = FastAPI(title="Relay")
app.add_middleware(HTTPSRedirectMiddleware)


class Entry(BaseModel):
    """A piece of news; its date is as RFC 3339 has it."""

    title: str
    link: str
    published: str


class Feed(BaseModel):
    """A feed, whatever it was written in."""

    title: str
    entries: list[Entry]


@app.get("/status")
async def status() -> dict[str, str]:
    """Say what it runs on."""
    return {"python": sys.version, "base_prefix": sys.base_prefix}


@app.post("/feeds")
def parse(document: Annotated[bytes, Body(media_type="application/xml")]) -> Feed:
    """Return a feed as JSON."""
    parsed = feedparser.parse(document)
    if parsed.bozo:
        raise HTTPException(422, f"this is no feed: {parsed.bozo_exception}")
    entries = [
        Entry(
            title=item.title,
            link=item.link,
            published=strict_rfc3339.timestamp_to_rfc3339_utcoffset(timegm(item.published_parsed)),
        )
        for item in parsed.entries
    ]
    return Feed(title=parsed.feed.title, entries=entries)
