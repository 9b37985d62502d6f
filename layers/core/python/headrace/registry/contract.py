"""What an endpoint promises its callers, and which changes of it would break them.

A caller who was right yesterday must be right tomorrow. So an input may not be added, dropped, retyped or narrowed; an
output may not be dropped, retyped or widened; an output may be added, for who does not read it is not hurt. Labels and
meanings are compared letter by letter: nobody can tell by machine that a change of words changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.tensors import FREE

_SHOWN_LABELS_MAX = 8


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor as promised. `shape` has -1 where any size goes; `meaning` is prose, empty where the task says it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    meaning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What goes in, what comes out, what it means, and the number under which this was promised."""

    task: str
    api_version: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hexadecimal digits over the canonical document."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def document(self) -> dict[str, Any]:
        """As JSON; `read_contract` reads it."""
        return {
            "task": self.task,
            "api_version": self.api_version,
            "inputs": [_document(port) for port in self.inputs],
            "outputs": [_document(port) for port in self.outputs],
            "labels": list(self.labels),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One change. `path` is where, `before` and `after` what is there, in words; `breaking`: callers would notice."""

    path: str
    before: str
    after: str
    breaking: bool

    def __str__(self) -> str:
        """One line."""
        return f"{self.path}: {self.before} -> {self.after}{' (breaks callers)' if self.breaking else ''}"


def read_contract(document: Any) -> Contract:
    """A contract out of its document.

    Raises:
        ValueError: it is not one.
    """
    try:
        ports = {
            side: tuple(
                Port(str(port["name"]), str(port["datatype"]), tuple(map(int, port["shape"])), str(port["meaning"]))
                for port in document[side]
            )
            for side in ("inputs", "outputs")
        }
        return Contract(
            task=str(document["task"]),
            api_version=int(document["api_version"]),
            labels=tuple(map(str, document["labels"])),
            **ports,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("not the document of a contract") from error


def differences(before: Contract, after: Contract) -> tuple[Difference, ...]:
    """Every change from one contract to another, in the order of its parts."""
    found: list[Difference] = []
    if before.api_version != after.api_version:
        found.append(Difference("api_version", str(before.api_version), str(after.api_version), breaking=False))
    if before.task != after.task:
        found.append(Difference("task", before.task, after.task, breaking=True))
    found.extend(_changed_ports("inputs", before.inputs, after.inputs))
    found.extend(_changed_ports("outputs", before.outputs, after.outputs))
    if before.labels != after.labels:
        found.append(Difference("labels", *_labels(before.labels, after.labels), breaking=True))
    return tuple(found)


def broken(before: Contract, after: Contract) -> tuple[Difference, ...]:
    """The changes that callers of `before` would notice."""
    return tuple(difference for difference in differences(before, after) if difference.breaking)


def _changed_ports(side: str, before: tuple[Port, ...], after: tuple[Port, ...]) -> Iterator[Difference]:
    taken = side == "inputs"
    was, now = ({port.name: port for port in ports} for ports in (before, after))
    for name in [*was, *(name for name in now if name not in was)]:
        path = f"{side}.{name}"
        old, new = was.get(name), now.get(name)
        if old is None or new is None:
            # An input more is one that callers do not send; an output more is one that they do not read.
            breaking = taken or new is None
            yield Difference(path, _port(old), _port(new), breaking=breaking)
            continue
        if old.datatype != new.datatype:
            yield Difference(f"{path}.datatype", old.datatype, new.datatype, breaking=True)
        if old.shape != new.shape:
            wider, narrower = (new.shape, old.shape) if taken else (old.shape, new.shape)
            breaking = not _holds(wider, narrower)
            yield Difference(f"{path}.shape", _shape(old.shape), _shape(new.shape), breaking=breaking)
        if old.meaning != new.meaning:
            yield Difference(f"{path}.meaning", repr(old.meaning), repr(new.meaning), breaking=True)


def _holds(wider: tuple[int, ...], narrower: tuple[int, ...]) -> bool:
    """Whether every tensor of the one shape is one of the other."""
    return len(wider) == len(narrower) and all(
        size in (FREE, other) for size, other in zip(wider, narrower, strict=True)
    )


def _labels(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str, str]:
    if set(before) == set(after):
        at = next((index for index, label in enumerate(before) if after[index : index + 1] != (label,)), 0)
        return f"[{at}] {before[at]}", f"[{at}] {after[at] if at < len(after) else 'nothing'} (another order)"
    lost, new = ([label for label in one if label not in other] for one, other in ((before, after), (after, before)))
    return f"{len(before)} labels", f"{len(after)} labels, without {_few(lost)}, with {_few(new)} added"


def _few(labels: list[str]) -> str:
    more = len(labels) - _SHOWN_LABELS_MAX
    return (", ".join(labels[:_SHOWN_LABELS_MAX]) or "none") + (f" and {more} more" if more > 0 else "")


def _document(port: Port) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": list(port.shape), "meaning": port.meaning}


def _port(port: Port | None) -> str:
    return "nothing" if port is None else f"{port.datatype} {_shape(port.shape)}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join('any' if size == FREE else str(size) for size in shape)}]"
