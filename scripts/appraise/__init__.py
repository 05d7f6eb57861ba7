"""What `make new` finds out of an application's source, none of which is run, and how it says so in an inventory."""


class Refusal(Exception):
    """What stands in the way; the message says the fix."""
