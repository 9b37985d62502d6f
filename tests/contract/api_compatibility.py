"""What of an OpenAPI document a caller depends on, and how a new document can break it.

Callers depend on: paths and methods; statuses of success and their media types; every property that an answer always
had; that what they send today is still taken. A new required property or parameter, a lost property or media type, a
changed type and a narrower bound are breaking; anything added is not.
"""

from collections.abc import Iterator
from typing import Any

NARROWING = {"minimum": 1, "minLength": 1, "minItems": 1, "maximum": -1, "maxLength": -1, "maxItems": -1}
"""Bounds, and the direction in which moving one refuses what was taken."""


def breaking_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Every way in which `new` breaks a caller of `old`, as a line each."""
    return list(_document(old, new))


def _document(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for path, methods in old["paths"].items():
        for method, operation in methods.items():
            where = f"{method.upper()} {path}"
            current = new["paths"].get(path, {}).get(method)
            if current is None:
                yield f"{where}: removed"
                continue
            yield from _operation(operation, current, old, new, where)


def _operation(
    before: dict[str, Any], after: dict[str, Any], old: dict[str, Any], new: dict[str, Any], where: str
) -> Iterator[str]:
    known = {(p["in"], p["name"]): p for p in before.get("parameters", [])}
    current = {(p["in"], p["name"]): p for p in after.get("parameters", [])}
    for key, parameter in current.items():
        if parameter.get("required") and not known.get(key, {}).get("required"):
            yield f"{where}: parameter {key[1]} became required"
        if key in known:
            yield from _request(known[key]["schema"], parameter["schema"], old, new, f"{where} {key[1]}")
    for key in known.keys() - current.keys():
        yield f"{where}: parameter {key[1]} removed"
    for media, body in before.get("requestBody", {}).get("content", {}).items():
        taken = after.get("requestBody", {}).get("content", {}).get(media)
        if taken is None:
            yield f"{where}: {media} is no longer taken"
        else:
            yield from _request(body["schema"], taken["schema"], old, new, f"{where} request")
    for status, response in before["responses"].items():
        if status not in after["responses"]:
            yield f"{where}: status {status} removed"
            continue
        for media, body in response.get("content", {}).items():
            given = after["responses"][status].get("content", {}).get(media)
            if given is None:
                yield f"{where}: {status} no longer answers {media}"
            else:
                yield from _response(body["schema"], given["schema"], old, new, f"{where} {status}")


def _resolve(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _request(
    before: dict[str, Any], after: dict[str, Any], old: dict[str, Any], new: dict[str, Any], where: str
) -> Iterator[str]:
    before, after = _resolve(before, old), _resolve(after, new)
    if "type" in after and not _types(before) <= _types(after):
        yield f"{where}: type narrowed"
    for name in set(after.get("required", [])) - set(before.get("required", [])):
        yield f"{where}.{name}: became required"
    for bound, direction in NARROWING.items():
        if bound in after and (bound not in before or (after[bound] - before[bound]) * direction > 0):
            yield f"{where}: {bound} narrowed"
    if "enum" in after and not set(before.get("enum", [])) <= set(after["enum"]):
        yield f"{where}: enum narrowed"
    for name, schema in before.get("properties", {}).items():
        if name not in after.get("properties", {}):
            yield f"{where}.{name}: no longer taken"
        else:
            yield from _request(schema, after["properties"][name], old, new, f"{where}.{name}")
    if len(before.get("anyOf", [])) > len(after.get("anyOf", before.get("anyOf", []))):
        yield f"{where}: an alternative is no longer taken"


def _response(
    before: dict[str, Any], after: dict[str, Any], old: dict[str, Any], new: dict[str, Any], where: str
) -> Iterator[str]:
    before, after = _resolve(before, old), _resolve(after, new)
    if "type" in before and not _types(after) <= _types(before):
        yield f"{where}: type changed"
    for name in set(before.get("required", [])) - set(after.get("required", [])):
        yield f"{where}.{name}: no longer always there"
    for name, schema in before.get("properties", {}).items():
        if name not in after.get("properties", {}):
            yield f"{where}.{name}: removed"
        else:
            yield from _response(schema, after["properties"][name], old, new, f"{where}.{name}")
    if isinstance(before.get("items"), dict) and isinstance(after.get("items"), dict):
        yield from _response(before["items"], after["items"], old, new, f"{where}[]")


def _types(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)
