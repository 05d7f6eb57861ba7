"""/: the log as a page, readable without JavaScript.

The page carries a blank row as `<template>`, which board.js fills with the fields of the
API: there is one markup of a row, the one here.
"""

from collections.abc import Mapping
from datetime import UTC, timedelta
from html import escape
from importlib.resources import files
from string import Template
from typing import Annotated
from urllib.parse import urlencode

import psycopg
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from board import deployments
from board.database import Database
from board.deployments import Deployment, Filters
from board.problems import RETRY_AFTER

router = APIRouter(include_in_schema=False)

SHELL = Template(files("board").joinpath("page.html").read_text(encoding="utf-8"))

ROW = Template("""\
      <tr data-id="$id" data-status="$status">
        <td><span class="status" data-field="status">$label</span></td>
        <td><a data-field="app" href="$app_link">$app</a></td>
        <td><a data-field="host" href="$host_link">$host</a></td>
        <td><span data-field="version">$version</span> <code data-field="release">$release</code>\
<p data-field="message">$message</p></td>
        <td><time data-field="started_at" datetime="$started_at">$started</time></td>
        <td data-field="took">$took</td>
      </tr>""")

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def link(**parameters: object) -> str:
    """An address of this page, without the parameters that are None."""
    given = {key: value for key, value in parameters.items() if value is not None}
    return f"/?{urlencode(given)}" if given else "/"


def duration(took: timedelta) -> str:
    """The largest two units: `4 s`, `3 min 20 s`, `2 h 5 min`. board.js says it likewise."""
    seconds = round(took.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def row(fields: Mapping[str, object]) -> str:
    return ROW.substitute({key: escape(str(value)) for key, value in fields.items()})


def deployment_row(deployment: Deployment) -> str:
    started, finished = deployment.started_at.astimezone(UTC), deployment.finished_at
    return row(
        {
            "id": deployment.id,
            "status": deployment.status,
            "label": deployment.status.replace("_", " "),
            "app": deployment.app,
            "app_link": link(app=deployment.app),
            "host": deployment.host,
            "host_link": link(host=deployment.host),
            "version": deployment.version or "",
            "release": deployment.release,
            "message": deployment.message or "",
            "started_at": started.isoformat(),
            "started": f"{started:%Y-%m-%d %H:%M:%S}",
            "took": duration(finished - deployment.started_at) if finished else "",
        }
    )


BLANK = row(dict.fromkeys(ROW.get_identifiers(), ""))


def render(
    page: deployments.Page, filters: Filters, release: str, notice: str | None = None
) -> str:
    """The whole page. `notice` stands where the rows would be."""
    chosen = {"app": filters.app, "host": filters.host}
    chips = "".join(
        f'<li><a href="{escape(link(**(chosen | {key: None})))}" '
        f'aria-label="Remove the filter {key} {escape(value)}">'
        f"{key} <b>{escape(value)}</b></a></li>"
        for key, value in chosen.items()
        if value
    )
    if not page.items and not notice:
        notice = "Nothing matches." if chips or filters.before else "No deployments yet."
    older = escape(link(**chosen, before=page.next))
    return SHELL.substitute(
        rows="\n".join(deployment_row(deployment) for deployment in page.items),
        filters=f'<ul class="filters" aria-label="Filters">{chips}</ul>' if chips else "",
        notice=f'<p class="notice">{escape(notice)}</p>' if notice else "",
        older=f'<nav><a rel="next" href="{older}">Older deployments</a></nav>' if page.next else "",
        release=escape(release),
        blank=BLANK,
    )


@router.get("/")
async def index(
    filters: Annotated[Filters, Query()], request: Request, database: Database
) -> HTMLResponse:
    release = request.state.settings.slipway_release
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
    try:
        async with database.connection() as connection:
            page = await deployments.find(connection, filters)
    except psycopg.OperationalError:
        nothing = deployments.Page(items=[], next=None)
        html = render(nothing, filters, release, "The log can't be read just now. Try again soon.")
        return HTMLResponse(html, 503, headers | RETRY_AFTER)
    return HTMLResponse(render(page, filters, release), headers=headers)
