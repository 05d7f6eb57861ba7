"""How a release comes to serve, on the host: for the modules ``releases_info`` and ``release_*``."""
