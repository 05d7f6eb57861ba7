"""A third application, which comes as a wheel."""

from fastapi import FastAPI

app = FastAPI(title="Ping")


@app.get("/")
async def ping() -> str:
    """Answer."""
    return "pong"
