"""FastAPI, imported so that nothing is built that this process does not use.

FastAPI describes OpenAPI itself in some fifty pydantic models, and building their validators is a fifth of its import.
Deferring that to their first use, which is when the document is asked for, changes nothing else.
See docs/decisions/0004-cold-start.md.
"""

from pydantic import BaseModel

BaseModel.model_config["defer_build"] = True
try:
    from fastapi import FastAPI, Request, Response
    from starlette.exceptions import HTTPException
finally:
    del BaseModel.model_config["defer_build"]

__all__ = ["FastAPI", "HTTPException", "Request", "Response"]
