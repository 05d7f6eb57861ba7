"""An application without a lock, for a Python that no Debian has yet."""

from fastapi import FastAPI

app = FastAPI()
