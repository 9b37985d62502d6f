"""Routing documents as they are kept: strict JSON, in which every field is known and of its type.

What is written here is read by running functions. A field that they do not know is refused, so that a document which
means more than they understand leaves the last one in force; functions are deployed before the tools that change them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar

from headrace.errors import InvalidRequest
from headrace.routing.checks import CODE, problems
from headrace.routing.document import API, Canary, Experiment, Group, Routing, Shadow, Slots, Sticky
from headrace.strict_json import parse as parse_json

T = TypeVar("T")

BYTES_MAX = 350_000
"""DynamoDB takes 400 KB per item."""
TEXT_MAX_CHARS = 1_000
COUNT_MAX = 10_000
"""Entries of any list or mapping."""
INTEGER_MAX = 10**12


def dump(routing: Routing) -> str:
    """The document as canonical JSON.

    What is as by default is left out: a field that a later release adds makes documents unreadable to functions of the
    release before only where it is used.
    """
    return json.dumps({"api": API, **_said(routing)}, sort_keys=True, separators=(",", ":"))


def _said(value: Any) -> Any:
    if is_dataclass(value):
        each = [(field, getattr(value, field.name)) for field in fields(value)]
        return {field.name: _said(given) for field, given in each if given != _default(field)}
    if isinstance(value, Mapping):
        return {name: _said(given) for name, given in value.items()}
    return [_said(given) for given in value] if isinstance(value, tuple) else value


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def parse(text: str) -> Routing:
    """The document that `dump` wrote.

    Raises:
        InvalidRequest: it is none, or contradicts itself; `field` says where.
    """
    value = parse_json(text.encode("utf-8", "surrogatepass"), bytes_max=BYTES_MAX)
    if not isinstance(value, dict):
        raise _invalid("", "must be an object")
    api = value.pop("api", None)
    if api != API:
        raise _invalid("api", f"must be {API}")
    routing = _value(Routing, value, "")
    found = problems(routing)
    if found:
        raise InvalidRequest(found[0], code=CODE, field=found[0].partition(":")[0])
    return routing


def _value(shape: Callable[..., T], value: Any, where: str) -> T:
    """A dataclass from an object, by its fields' annotations: fields that others add are read without a word here."""
    if not isinstance(value, dict):
        raise _invalid(where, "must be an object")
    known = {each.name: str(each.type) for each in fields(shape)}  # type: ignore[arg-type]
    for name in value:
        if name not in known:
            raise _invalid(_path(where, name), "is not known")
    try:
        return shape(**{name: _read(known[name], given, _path(where, name)) for name, given in value.items()})
    except TypeError:
        missing = sorted(set(known) - set(value))
        raise _invalid(where, f"lacks one of {', '.join(missing)}") from None


def _read(kind: str, value: Any, where: str) -> Any:
    if kind.endswith(" | None") and value is None:
        return None
    kind = kind.removesuffix(" | None")
    if kind in _READERS:
        return _READERS[kind](value, where)
    raise _invalid(where, "is not known")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX_CHARS:
        raise _invalid(where, f"must be a text of at most {TEXT_MAX_CHARS} characters")
    return value


def _integer(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= INTEGER_MAX:
        raise _invalid(where, "must be a whole number that is not negative")
    return value


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _invalid(where, "must be a finite number")
    return float(value)


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _invalid(where, "must be true or false")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > COUNT_MAX:
        raise _invalid(where, f"must be a list of at most {COUNT_MAX} entries")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_text(each, f"{where}[{at}]") for at, each in enumerate(_list(value, where)))


def _slots(value: Any, where: str) -> Slots:
    runs = []
    for at, run in enumerate(_list(value, where)):
        if not isinstance(run, list) or len(run) != 2:  # noqa: PLR2004 - a version and a count
            raise _invalid(f"{where}[{at}]", "must be a version and a count")
        runs.append((_text(run[0], f"{where}[{at}]"), _integer(run[1], f"{where}[{at}]")))
    return tuple(runs)


def _mapping(of: Callable[[Any, str], T]) -> Callable[[Any, str], Mapping[str, T]]:
    def read(value: Any, where: str) -> Mapping[str, T]:
        if not isinstance(value, dict) or len(value) > COUNT_MAX:
            raise _invalid(where, f"must be an object of at most {COUNT_MAX} fields")
        return {_text(name, where): of(each, _path(where, name)) for name, each in value.items()}

    return read


def _shaped(shape: Callable[..., T]) -> Callable[[Any, str], T]:
    return lambda value, where: _value(shape, value, where)


def _many(shape: Callable[..., T]) -> Callable[[Any, str], tuple[T, ...]]:
    return lambda value, where: tuple(
        _value(shape, each, f"{where}[{at}]") for at, each in enumerate(_list(value, where))
    )


def _way(value: Any, where: str) -> str:
    if value not in {"caller", "request"}:
        raise _invalid(where, "must be caller or request")
    return str(value)


_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "str": _text,
    "int": _integer,
    "float": _number,
    "bool": _boolean,
    "tuple[str, ...]": _texts,
    "Slots": _slots,
    "Mapping[str, int]": _mapping(_integer),
    "Mapping[str, str]": _mapping(_text),
    "Mapping[str, Slots]": _mapping(_slots),
    "Literal['caller', 'request']": _way,
    'Literal["caller", "request"]': _way,
    "Sticky": _shaped(Sticky),
    "Shadow": _shaped(Shadow),
    "Canary": _shaped(Canary),
    "tuple[Group, ...]": _many(Group),
    "tuple[Experiment, ...]": _many(Experiment),
}


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _invalid(where: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{where or 'the document'} {what}.", code=CODE, field=where or None)
