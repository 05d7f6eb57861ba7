"""An application whose requirements have versions but no hashes."""

from fastapi import FastAPI

app = FastAPI()
