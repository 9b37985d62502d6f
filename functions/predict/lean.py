"""FastAPI, imported so that nothing is built that this process does not use.

FastAPI describes OpenAPI itself in some fifty pydantic models, and building their validators is a third of its import.
While it is imported, pydantic is told to defer that to their first use, which is when the document is asked for, and
the three rebuilds that FastAPI asks for at once, recognisable by their lack of arguments, wait as well. Nothing else
changes, and both switches are back before anything of ours is defined. See docs/decisions/0004-cold-start.md.
"""

from typing import Any

from pydantic import BaseModel

_rebuild = BaseModel.model_rebuild.__func__  # type: ignore[attr-defined]


def _rebuild_later(cls: type[BaseModel], /, **arguments: Any) -> bool | None:
    rebuilt: bool | None = _rebuild(cls, **arguments) if arguments else None
    return rebuilt


BaseModel.model_config["defer_build"] = True
BaseModel.model_rebuild = classmethod(_rebuild_later)  # type: ignore[assignment]
try:
    from fastapi import FastAPI, Request, Response
    from starlette.exceptions import HTTPException
    from starlette.routing import Match, Route
finally:
    del BaseModel.model_config["defer_build"]
    BaseModel.model_rebuild = classmethod(_rebuild)  # type: ignore[assignment]

__all__ = ["FastAPI", "HTTPException", "Match", "Request", "Response", "Route"]
