"""/: what runs where and the log, and /deployments/<id>: one deployment. Readable without JavaScript.

The list carries a blank row as `<template>`, which board.js fills with the fields of the
API: there is one markup of a row, the one here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import urlencode

import psycopg
from fastapi import APIRouter, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import ValidationError

from board import assets, deployments, plot
from board.access import Viewer
from board.database import Database
from board.deployments import (
    Deployment,
    DetailedDeployment,
    Figures,
    Filters,
    Identifier,
    Page,
    Place,
    Summary,
)
from board.problems import RETRY_AFTER

router = APIRouter(include_in_schema=False)


def template(name: str) -> Template:
    """A file beside this one, with the names of static files filled in."""
    text = files("board").joinpath(name).read_text(encoding="utf-8")
    return Template(Template(text).safe_substitute(assets.NAMES))


LIST, DETAIL = template("page.html"), template("deployment.html")

ROW = Template("""\
      <tr data-id="$id" data-status="$status">
        <td><span class="status" data-field="status">$label</span></td>
        <td><a data-field="app" href="$app_link">$app</a></td>
        <td><a data-field="host" href="$host_link">$host</a></td>
        <td><a class="release" data-field="link" href="$link"><span data-field="version">$version</span> \
<code data-field="release">$release</code></a><p data-field="message">$message</p></td>
        <td><span data-field="probe">$probe</span></td>
        <td><time data-field="started_at" datetime="$started_at">$started</time></td>
        <td data-field="took">$took</td>
      </tr>""")

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
NOTHING = Page(items=[], next=None)


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


def noticed(probe: Figures | None) -> str:
    """What clients noticed, in a few words. board.js says it likewise."""
    if not probe:
        return ""
    text = f"{probe.failed:,} of {probe.requests:,} failed"
    return text if probe.p99_ms is None else f"{text}, p99 {probe.p99_ms:.3g} ms"


def moment(at: datetime) -> str:
    """A time as a person reads it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def row(fields: Mapping[str, object]) -> str:
    return ROW.substitute({key: escape(str(value)) for key, value in fields.items()})


def deployment_row(deployment: Deployment) -> str:
    started, finished = deployment.started_at, deployment.finished_at
    return row(
        {
            "id": deployment.id,
            "status": deployment.status,
            "label": deployment.status.replace("_", " "),
            "app": deployment.app,
            "app_link": link(app=deployment.app),
            "host": deployment.host,
            "host_link": link(host=deployment.host),
            "link": f"/deployments/{deployment.id}",
            "version": deployment.version or "",
            "release": deployment.release,
            "message": deployment.message or "",
            "probe": noticed(deployment.probe),
            "started_at": started.astimezone(UTC).isoformat(),
            "started": moment(started),
            "took": duration(finished - started) if finished else "",
        }
    )


BLANK = row(dict.fromkeys(ROW.get_identifiers(), ""))


def place(place: Place) -> str:
    """A host as a link to what was released there, and to what state."""
    state = "" if place.status == "succeeded" else f" ({place.status.replace('_', ' ')})"
    return (
        f'<li data-status="{place.status}"><a href="{escape(link(app=place.app, host=place.host))}">'
        f"{escape(place.host)}{state}</a></li>"
    )


def serving(places: Iterable[Place]) -> str:
    """What runs where: for each application its releases, the one that most hosts have first."""
    apps: dict[str, dict[tuple[str, str], list[Place]]] = defaultdict(lambda: defaultdict(list))
    for each in places:
        running = each.serving
        key = (running.version or "", running.release) if running else ("", "")
        apps[each.app][key].append(each)
    sections = []
    for app, releases in apps.items():
        parts = []
        for (version, release), having in sorted(releases.items(), key=lambda item: -len(item[1])):
            number = f"{len(having)} host{'s' if len(having) > 1 else ''}"
            name = f"<b>{escape(version)}</b> " if version else ""
            what = f"{name}<code>{escape(release)}</code>" if release else "nothing yet"
            hosts = "".join(map(place, having))
            parts.append(f'<p>{what} <span>{number}</span></p><ul class="hosts">{hosts}</ul>')
        head = f'<h3><a href="{escape(link(app=app))}">{escape(app)}</a></h3>'
        sections.append(f"<section>{head}{''.join(parts)}</section>")
    if not sections:
        return ""
    return f'<h2>What runs where</h2><div class="apps">{"".join(sections)}</div>'


def options(chosen: str | None) -> str:
    """The states as options of a select."""
    named = {"": "any", "running": "running", "succeeded": "succeeded"}
    named |= {"failed": "failed", "rolled_back": "rolled back"}
    return "".join(
        f'<option value="{value}"{" selected" if value == (chosen or "") else ""}>{label}</option>'
        for value, label in named.items()
    )


def render(
    page: Page,
    filters: Filters,
    release: str,
    notice: str | None = None,
    summary: Summary | None = None,
) -> str:
    """The whole page. `notice` stands where the rows would be."""
    chosen = filters.model_dump(include={"app", "host", "status", "release"})
    chips = "".join(
        f'<li><a href="{escape(link(**(chosen | {key: None})))}" '
        f'aria-label="Remove the filter {key} {escape(value)}">'
        f"{key} <b>{escape(value.replace('_', ' '))}</b></a></li>"
        for key, value in chosen.items()
        if value
    )
    if not page.items and not notice:
        notice = "Nothing matches." if chips or filters.before else "No deployments yet."
    older = escape(link(**chosen, before=page.next))
    return LIST.substitute(
        rows="\n".join(deployment_row(deployment) for deployment in page.items),
        filters=f'<ul class="filters" aria-label="Filters">{chips}</ul>' if chips else "",
        app=escape(filters.app or ""),
        host=escape(filters.host or ""),
        options=options(filters.status),
        notice=f'<p class="notice">{escape(notice)}</p>' if notice else "",
        older=f'<nav aria-label="Pages"><a rel="next" href="{older}">Older deployments</a></nav>'
        if page.next
        else "",
        serving=serving(summary.places) if summary else "",
        last=summary.revision if summary else "",
        release=escape(release),
        blank=BLANK,
    )


def facts(deployment: DetailedDeployment) -> str:
    """What is known of a deployment, each with its name."""
    probe, finished = deployment.probe, deployment.finished_at
    named = {
        "Release": f"<code>{escape(deployment.release)}</code>",
        "Version": escape(deployment.version or ""),
        "Started": f'<time datetime="{deployment.started_at.astimezone(UTC).isoformat()}">'
        f"{moment(deployment.started_at)}</time>",
        "Took": duration(finished - deployment.started_at) if finished else "",
    }
    if probe:
        named["Requests"] = f"{probe.requests:,}"
        named["Failed"] = f"{probe.failed:,}"
        for name, value in (
            ("p50", probe.p50_ms),
            ("p99", probe.p99_ms),
            ("Worst", probe.worst_ms),
        ):
            named[name] = "" if value is None else f"{value:.3g} ms"
    return "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in named.items() if value
    )


def steps(deployment: DetailedDeployment) -> str:
    """The steps of a deployment as a table, with a bar as long as each took."""
    if not deployment.steps:
        return ""
    longest = max(step.seconds for step in deployment.steps) or 1
    rows = "".join(
        f'<tr data-status="{step.status}"><th scope="row">{escape(step.name)}</th>'
        f"<td>{step.seconds:.3g} s{' (failed)' if step.status == 'failed' else ''}</td>"
        f'<td aria-hidden="true">{plot.bar(step.seconds / longest)}</td></tr>'
        for step in deployment.steps
    )
    return (
        '<h2>Steps</h2><table class="steps"><thead><tr><th scope="col">Step</th>'
        '<th scope="col">Took</th><td></td></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def render_deployment(deployment: DetailedDeployment, release: str) -> str:
    """The page of one deployment."""
    log = ""
    if deployment.log_bytes is not None:
        log = (
            f'<p><a href="/api/deployments/{deployment.id}/log">The log of the run</a> '
            f"({deployment.log_bytes:,} bytes)</p>"
        )
    latency = plot.latency(deployment.latency)
    return DETAIL.substitute(
        id=deployment.id,
        last=deployment.revision,
        status=deployment.status,
        label=deployment.status.replace("_", " "),
        app=escape(deployment.app),
        app_link=escape(link(app=deployment.app)),
        host=escape(deployment.host),
        host_link=escape(link(host=deployment.host)),
        message=f'<p class="message">{escape(deployment.message)}</p>'
        if deployment.message
        else "",
        facts=facts(deployment),
        latency=f"<h2>Latency during the deployment</h2>{latency}" if latency else "",
        steps=steps(deployment),
        log=log,
        release=escape(release),
    )


def chosen_by(request: Request) -> Filters:
    """What the address asks for. A form sends a field that was left empty along.

    Raises:
        RequestValidationError: it makes no sense.
    """
    given = {key: value for key, value in request.query_params.items() if value}
    try:
        return Filters.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        ) from None


@router.get("/", dependencies=Viewer)
async def index(request: Request, database: Database) -> HTMLResponse:
    filters = chosen_by(request)
    release = request.state.settings.slipway_release
    try:
        async with database.connection() as connection:
            # First, so that what is written meanwhile is told of rather than missed.
            summary = await deployments.summarize(connection)
            page = Page.model_validate(await deployments.find(connection, filters))
    except psycopg.OperationalError:
        html = render(NOTHING, filters, release, "The log can't be read just now. Try again soon.")
        return HTMLResponse(html, 503, HEADERS | RETRY_AFTER)
    return HTMLResponse(render(page, filters, release, summary=summary), headers=HEADERS)


@router.get("/deployments/{id}", dependencies=Viewer)
async def detail(id: Identifier, request: Request, database: Database) -> HTMLResponse:
    async with database.connection() as connection:
        deployment = await deployments.get_detailed(connection, id)
    if not deployment:
        raise HTTPException(404, f"There is no deployment {id}.")
    html = render_deployment(deployment, request.state.settings.slipway_release)
    return HTMLResponse(html, headers=HEADERS)
