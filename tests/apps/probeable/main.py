"""An application that somebody has taken over: it runs whatever it is asked to, as itself, where it is."""

import os
import subprocess
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request

app = FastAPI(title="Probeable")


@app.get("/up")
async def up() -> dict[str, str]:
    """Say which release this is."""
    return {"release": os.environ["SLIPWAY_RELEASE"]}


@app.get("/seen")
async def seen(request: Request) -> dict[str, str | None]:
    """Return what it sees of the client."""
    client = request.client.host if request.client else None
    return {"client": client, "scheme": request.url.scheme}


@app.post("/run")
def run(command: Annotated[list[str], Body()], seconds: float = 15) -> dict[str, Any]:
    """Run a command; return its exit code, or minus the signal that has ended it, and all that it said."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"code": 127, "said": str(error)}
    return {"code": done.returncode, "said": done.stdout.decode(errors="replace")}
