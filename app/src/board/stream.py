"""/api/stream: deployments as they are written, over a WebSocket.

Messages are `{"type": "hello", "release": …}`, on connection and whenever something may have
been missed (read the list then), and `{"type": "deployment", "deployment": {…}}`.
"""

import asyncio
import json
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from fastapi import APIRouter, WebSocket

from board import deployments
from board.database import Pool, connection_arguments
from board.settings import Settings

log = logging.getLogger(__name__)
router = APIRouter()

BACKLOG = 100  # messages that a viewer may be behind before it is sent away
TRY_AGAIN_LATER = 1013  # WebSocket close code

Queue = asyncio.Queue[str | None]


class Feed:
    """Hands what PostgreSQL notifies to the viewers connected to this worker.

    One connection a worker, beside the pool, listens: an event written through any worker on
    any host reaches every viewer.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.viewers: set[Queue] = set()
        self.hello = json.dumps({"type": "hello", "release": settings.slipway_release})

    async def run(self) -> None:
        """Listen until cancelled, and connect again when the database was away."""
        while True:
            try:
                await self.listen()
            except psycopg.Error as error:
                log.warning("stream interrupted: %s", error)
            await asyncio.sleep(random.uniform(0.5, 1.5))

    async def listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            self.settings.database_url,
            **connection_arguments(self.settings),  # type: ignore[arg-type]
        ) as connection:
            await connection.execute(f"LISTEN {deployments.CHANNEL}")
            self.publish(self.hello)
            async for notification in connection.notifies():
                if self.viewers:
                    await self.tell(int(notification.payload))

    async def tell(self, id: int) -> None:
        async with self.pool.connection() as connection:
            deployment = await deployments.get(connection, id)
        if deployment:
            document = {"type": "deployment", "deployment": deployment.model_dump(mode="json")}
            self.publish(json.dumps(document))

    def publish(self, message: str) -> None:
        for queue in tuple(self.viewers):
            if queue.qsize() < BACKLOG:
                queue.put_nowait(message)
            else:
                self.viewers.discard(queue)
                queue.put_nowait(None)

    @contextmanager
    def view(self) -> Iterator[Queue]:
        """A queue of messages; None in it means that the viewer was too slow."""
        queue: Queue = asyncio.Queue()
        queue.put_nowait(self.hello)
        self.viewers.add(queue)
        try:
            yield queue
        finally:
            self.viewers.discard(queue)


async def forward(queue: Queue, socket: WebSocket) -> None:
    while (message := await queue.get()) is not None:
        await socket.send_text(message)
    await socket.close(TRY_AGAIN_LATER)


@router.websocket("/api/stream")
async def stream(socket: WebSocket) -> None:
    feed: Feed = socket.state.feed
    await socket.accept()
    with feed.view() as queue:
        sender = asyncio.create_task(forward(queue, socket))
        try:
            # Nothing is expected from a viewer; this waits for it, or the server, to go.
            async for _ in socket.iter_text():
                pass
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
