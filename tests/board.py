"""What the tests of the board's scenario share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from playwright.sync_api import BrowserContext
from tests.stack import ROOT

SCRATCH = ROOT / ".slipway/board"
NAME = "board.test"
TOKEN = {"Authorization": "Bearer only-for-this-test-0123456789"}

# Opens a browser for which NAME leads to the host; what it takes is what Playwright's contexts take.
Open = Callable[..., AbstractContextManager[BrowserContext]]
