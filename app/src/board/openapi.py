"""The API's description, as the API is: errors are problems, and a body that is no JSON is one."""

from typing import Any

from fastapi import FastAPI

from board.problems import Problem

# What FastAPI puts there for errors of its own kind, which nobody gets from here.
UNUSED = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> None:
    """Have `app` be described with problems in place of FastAPI's own errors."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            schemas = made()["components"]["schemas"]
            for name in UNUSED:
                schemas.pop(name, None)
            described = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= described.pop("$defs") | {"Problem": described}
        assert app.openapi_schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
