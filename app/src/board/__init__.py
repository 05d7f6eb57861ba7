"""The board: the log of a fleet's deployments."""
