"""A help desk: tickets behind an API, for a front end that others build."""
