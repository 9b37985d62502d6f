"""What a version promises: its endpoint's declaration, held against what its model is really served with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.declaration.schema import EndpointDeclaration
from headrace.registry.contract import Contract, Port
from headrace.registry.versions import RegistryRefusal
from headrace.tasks.contracts import TASKS

_SHOWN_LABELS_MAX = 10


def contract_of(declaration: EndpointDeclaration, metadata: Mapping[str, Any]) -> Contract:
    """What a version promises: what is declared, held against what the serving program says that it serves.

    A task that fixes its tensors leaves some sizes open; the served ones, which say more, are then the promise.

    Raises:
        RegistryRefusal: the model does not serve what is declared.
    """
    task = TASKS[declaration.task]
    labels = tuple(declaration.labels or ())
    served_labels = tuple(map(str, metadata.get("parameters", {}).get("labels") or ()))
    if labels and served_labels and labels != served_labels:
        served_few, few = (", ".join(names[:_SHOWN_LABELS_MAX]) for names in (served_labels, labels))
        raise RegistryRefusal(f"The model's labels are {served_few}; declared are {few}.")
    sides: dict[str, tuple[Port, ...]] = {}
    for side in ("inputs", "outputs"):
        served = {
            tensor["name"]: Port(tensor["name"], tensor["datatype"], tuple(tensor["shape"]))
            for tensor in metadata[side]
        }
        if task.declares_tensors:
            promised = [
                Port(each.name, each.datatype, tuple(each.shape), each.meaning)
                for each in getattr(declaration, side) or ()
            ]
        else:
            promised = [Port(each.name, each.datatype, each.shape) for each in getattr(task, side)]
        problems = _unserved(side, promised, served)
        if problems:
            raise RegistryRefusal(f"The model does not serve what is declared: {'; '.join(problems)}.")
        sides[side] = tuple(promised if task.declares_tensors else [served[port.name] for port in promised])
    return Contract(task=declaration.task, api_version=declaration.api_version, labels=labels or served_labels, **sides)


def _unserved(side: str, promised: list[Port], served: Mapping[str, Port]) -> list[str]:
    problems = []
    for port in promised:
        real = served.get(port.name)
        if real is None or real.datatype != port.datatype or len(real.shape) != len(port.shape):
            has = "nothing" if real is None else f"{real.datatype} {list(real.shape)}"
            problems.append(f"{side}.{port.name} is declared {port.datatype} {list(port.shape)} and served {has}")
        # What a file says of its outputs' sizes is often wrong, so golden requests judge these and not the file.
        elif side == "inputs" and any(
            size not in (-1, want) for size, want in zip(real.shape, port.shape, strict=True)
        ):
            problems.append(f"inputs.{port.name} is declared {list(port.shape)} and takes {list(real.shape)}")
    if side == "inputs":
        names = {port.name for port in promised}
        problems += [f"inputs.{name} is needed and not declared" for name in served if name not in names]
    return problems
