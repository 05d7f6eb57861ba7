"""An application that wants a setting as soon as it is imported."""

import os

from fastapi import FastAPI

app = FastAPI(title=os.environ["SESSION_KEY"])
