"""A shop: an API, a worker that confirms what was ordered, and a report by a timer."""

import os

RELEASE = os.environ.get("SLIPWAY_RELEASE", "")
