"""/api/stream: deployments as they are written, over a WebSocket, or as server-sent events.

The first message is `{"type": "hello", "release": …, "last": …, "complete": …}`. Then comes
`{"type": "deployment", "last": …, "deployment": {…}}` for each deployment that has changed. Whoever
asks with the `last` of what it had, as `?last=` or as Last-Event-ID, first gets what has changed
since then; `complete` is false where that was too much, or isn't known: read the list then.

A number is given to each change by the database, in the order of commits (migrations 0002). So
nothing is missed while a viewer, this worker or its connection to the database is away.
"""

import asyncio
import json
import logging
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Header, Query, Request, WebSocket, WebSocketException
from fastapi.sse import EventSourceResponse, ServerSentEvent

from board import access, deployments
from board.access import Reader
from board.database import Pool, connection_arguments
from board.deployments import Deployment
from board.problems import responses
from board.settings import Settings

log = logging.getLogger(__name__)
router = APIRouter()

BACKLOG = 1000  # messages that a viewer may be behind before it is sent away
RESUMED = 500  # changes that are told one by one to whoever comes again
PART = 100  # changes that are read at once
PAUSE = 1.0  # seconds until it listens again; twice that after a second failure, then four times
PATIENCE = 30.0  # seconds without a notification, after which the database is asked all the same
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013  # WebSocket close codes
# Milliseconds after which a viewer by server-sent events comes again: each its own, not all at once.
RETRY = (500, 3000)

Last = Annotated[int | None, Query(ge=0, lt=2**63, description="`last` of what is known already")]
Resume = Annotated[int | None, Header(ge=0, lt=2**63, description="as EventSource sends it")]


class Message:
    """A message as text, made once for all viewers, and the number of the last change that it tells."""

    def __init__(self, kind: str, last: int, **fields: Any) -> None:
        self.last = last
        self.about_one = kind == "deployment"
        self.text = json.dumps({"type": kind, "last": last} | fields)

    @classmethod
    def about(cls, deployment: Deployment) -> "Message":
        """Say how a deployment is now."""
        document = deployment.model_dump(mode="json")
        return cls("deployment", deployment.revision, deployment=document)


Queue = asyncio.Queue[Message | None]


class Feed:
    """Hands what PostgreSQL notifies to the viewers connected to this worker.

    One connection a worker, beside the pool, listens: an event written through any worker on
    any host reaches every viewer.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.viewers: set[Queue] = set()
        self.answers: set[Queue] = set()  # those whose stream is an answer
        self.last = 0  # number of the last change that the viewers were told
        self.failures = 0  # one after another, of the connection that listens
        self.ready = asyncio.Event()
        self.closed = False

    async def run(self) -> None:
        """Listen until cancelled, and begin anew when the database was away, or whatever went wrong."""
        while True:
            try:
                await self.listen()
            except (psycopg.Error, OSError) as error:
                log.warning("stream interrupted: %s", error)
            except Exception:
                log.exception("stream interrupted")
            # Not all workers at once.
            await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE * 2 ** min(self.failures, 2))
            self.failures += 1

    async def listen(self) -> None:
        """Tell of each change, those first that came while nobody listened."""
        async with await psycopg.AsyncConnection.connect(
            self.settings.database_url,
            **connection_arguments(self.settings),  # type: ignore[arg-type]
        ) as connection:
            await connection.execute(f"LISTEN {deployments.CHANNEL}")
            if not self.ready.is_set():
                self.last = await deployments.latest_revision(connection)
                self.ready.set()
            while True:
                await self.catch_up(connection)
                self.failures = 0
                # Those that have come already say nothing more than the first.
                async for _ in connection.notifies(timeout=PATIENCE, stop_after=1):
                    pass

    async def catch_up(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Tell what has changed since the last time."""
        before = self.last
        while changes := await deployments.changed(connection, self.last, PART):
            for deployment in changes:
                self.publish(Message.about(deployment))
            self.last = changes[-1].revision
        if self.last == before:
            newest = await deployments.latest_revision(connection)
            if newest < before:
                # It is another log, one that was restored, say: what is known of it is worth nothing.
                self.last = newest
                self.publish(self.greeting(newest, False))

    def greeting(self, last: int, complete: bool) -> Message:
        """The first message, or one after which all that was said is void."""
        release = self.settings.slipway_release
        return Message("hello", last, release=release, complete=complete)

    def publish(self, message: Message) -> None:
        """Hand a message to each viewer; one that is too far behind is sent away, and comes again."""
        for queue in tuple(self.viewers):
            if queue.qsize() < BACKLOG:
                queue.put_nowait(message)
            else:
                self.send_away(queue)

    def send_away(self, queue: Queue) -> None:
        """End the stream of a viewer when it has got what waits for it."""
        self.viewers.discard(queue)
        queue.put_nowait(None)

    def close(self) -> None:
        """End all answers, whose viewers will find another worker. WebSockets are the server's to close."""
        self.closed = True
        for queue in tuple(self.answers):
            self.send_away(queue)

    @contextmanager
    def view(self, answer: bool) -> Iterator[Queue]:
        """A queue of messages; None in it means that there will be no more."""
        queue: Queue = asyncio.Queue()
        self.viewers.add(queue)
        if answer:
            self.answers.add(queue)
            if self.closed:
                self.send_away(queue)
        try:
            yield queue
        finally:
            self.viewers.discard(queue)
            self.answers.discard(queue)

    async def messages(self, since: int | None, answer: bool = False) -> AsyncIterator[Message]:
        """Greet a viewer, tell what it has missed since a change, and then all that happens."""
        await self.ready.wait()
        with self.view(answer) as queue:
            # From here on the queue has all that comes after `told`; before that is read now.
            told = self.last
            missed: list[Deployment] = []
            complete = False
            if since is not None:
                try:
                    async with self.pool.connection() as connection:
                        if since <= told:
                            missed = await deployments.changed(connection, since, RESUMED + 1, told)
                            complete = len(missed) <= RESUMED
                        else:
                            # Another worker was quicker than this one; or it is of another database,
                            # one that was restored, say.
                            complete = since <= await deployments.latest_revision(connection)
                except psycopg.Error as error:
                    # Sent away to come again, and not left waiting without a word.
                    log.warning("a viewer can't be told what it missed: %s", error)
                    return
            known = since if complete and since is not None else told
            yield self.greeting(known, complete)
            if complete:
                for deployment in missed:
                    yield Message.about(deployment)
            while (message := await queue.get()) is not None:
                if message.last > known or not message.about_one:
                    known = min(known, message.last)
                    yield message


@contextmanager
def closing_on_sigterm(feed: Feed) -> Iterator[None]:
    """End answers when this process is told to end.

    A server waits for answers under way before it ends the lifespan, and server-sent events are
    an answer without end.
    """
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(feed.close)
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        # Unless somebody has taken it meanwhile.
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, before)


async def forward(messages: AsyncIterator[Message], socket: WebSocket) -> None:
    """Send messages to a viewer, and close when there are no more."""
    async for message in messages:
        await socket.send_text(message.text)
    await socket.close(TRY_AGAIN_LATER)


@router.websocket("/api/stream")
async def stream(socket: WebSocket, last: Last = None) -> None:
    feed: Feed = socket.state.feed
    if not await access.watches(socket):
        raise WebSocketException(POLICY_VIOLATION, "Needs a valid token.")
    await socket.accept()
    sender = asyncio.create_task(forward(feed.messages(last), socket))
    try:
        # Nothing is expected from a viewer; this waits for it, or the server, to go.
        async for _ in socket.iter_text():
            pass
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


@router.get(
    "/api/stream",
    tags=["deployments"],
    dependencies=Reader,
    response_class=EventSourceResponse,
    responses=responses(401, 422),
)
async def server_sent_events(
    request: Request, last: Last = None, last_event_id: Resume = None
) -> AsyncIterator[ServerSentEvent]:
    """Each deployment as it is written, from where the last stream broke off."""
    feed: Feed = request.state.feed
    since = last_event_id if last_event_id is not None else last
    retry: int | None = random.randint(*RETRY)
    async for message in feed.messages(since, answer=True):
        yield ServerSentEvent(raw_data=message.text, id=str(message.last), retry=retry)
        retry = None
