"""How a release is built on the control node, for the modules ``release_build`` and ``release_lock``.

``release`` reads as the whole of it; the others are its parts, named after what they know.
"""
