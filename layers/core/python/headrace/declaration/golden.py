"""The shape of `golden` in `endpoint.yaml`: requests whose answers are known, and what is known of them.

A version is registered only when it answers all of them so. They belong to the endpoint and not to a version: what one
version happens to answer is no contract, so an expectation says as much as every good version must keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.declaration.shape import VERSION_PATTERN, Declared, Problem
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION
from headrace.tensors import DATATYPES

GOLDEN_MAX = 32
EXPECTATIONS_MAX = 32
ELEMENTS_MAX = 10_000
"""Of a tensor written inline; a larger one belongs into a file."""
FILE_MAX_BYTES = 6_291_456
"""What an endpoint takes in one request."""
TOLERANCE_DEFAULT = 0.01

Element = str | int | float | bool
Path = Annotated[str, Field(min_length=1, max_length=200)]


class GoldenFile(Declared):
    """A file that is sent: beside `endpoint.yaml`, or, with `package`, inside an installed Python package.

    So a picture need not be committed; `sha256` says which one is meant.
    """

    path: Path
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def inside(self) -> Self:
        """Refuse a path that leads out of its folder."""
        _inside(self.path)
        return self


class GoldenTensor(Declared):
    """An input, written out, its elements in row-major order."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    datatype: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=8)]
    data: Annotated[list[Element], Field(min_length=1, max_length=ELEMENTS_MAX)]

    @model_validator(mode="after")
    def known_datatype(self) -> Self:
        """Refuse a datatype that the Open Inference Protocol does not have."""
        if self.datatype not in DATATYPES:
            raise ValueError(f"datatype must be one of {', '.join(sorted(DATATYPES))}")
        return self


class Expectation(Declared):
    """What is known of one output; everything said must hold.

    `equals` is the whole output, `near` the same within `tolerance` (absolute), `includes` elements that are somewhere
    in it, `between` bounds of every element, `shape` its shape with -1 for any size. Numbers must always be finite.
    """

    output: Annotated[str, Field(min_length=1, max_length=128)]
    equals: Annotated[list[Element], Field(max_length=ELEMENTS_MAX)] | None = None
    near: Annotated[list[float], Field(min_length=1, max_length=ELEMENTS_MAX)] | None = None
    tolerance: Annotated[float, Field(ge=0)] = TOLERANCE_DEFAULT
    includes: Annotated[list[Element], Field(min_length=1, max_length=1000)] | None = None
    between: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    shape: Annotated[list[Annotated[int, Field(ge=-1)]], Field(max_length=8)] | None = None

    @model_validator(mode="after")
    def says_something(self) -> Self:
        """Refuse an expectation that nothing can fail."""
        if all(said is None for said in (self.equals, self.near, self.includes, self.between, self.shape)):
            raise ValueError("say what is known of the output: equals, near, includes, between or shape")
        return self


class GoldenDeclaration(Declared):
    """One request and what is known of its answer. `versions` restricts it to these; without, it holds for all.

    `drawn` names a function of `golden.py` beside `endpoint.yaml` that gives the bytes of a picture.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    texts: Annotated[list[Annotated[str, Field(min_length=1, max_length=100_000)]], Field(min_length=1)] | None = None
    image: GoldenFile | None = None
    drawn: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")] | None = None
    inputs: Annotated[list[GoldenTensor], Field(min_length=1, max_length=64)] | None = None
    request: Path | None = None
    parameters: dict[str, Element] = Field(default_factory=dict)
    versions: list[Annotated[str, Field(pattern=VERSION_PATTERN)]] = Field(default_factory=list)
    expect: Annotated[list[Expectation], Field(min_length=1, max_length=EXPECTATIONS_MAX)]

    @property
    def kind(self) -> Literal["texts", "image", "drawn", "inputs", "request"]:
        """Which of the five says what is sent."""
        said: dict[Literal["texts", "image", "drawn", "inputs"], object] = {
            "texts": self.texts,
            "image": self.image,
            "drawn": self.drawn,
            "inputs": self.inputs,
        }
        return next((name for name, value in said.items() if value is not None), "request")

    @model_validator(mode="after")
    def one_source(self) -> Self:
        """Exactly one of the five says what is sent, and a file lies below the declaration's folder."""
        given = [said for said in (self.texts, self.image, self.drawn, self.inputs, self.request) if said is not None]
        if len(given) != 1:
            raise ValueError("say what is sent by exactly one of texts, image, drawn, inputs, request")
        if self.request is not None:
            _inside(self.request)
        return self


Golden = Annotated[list[GoldenDeclaration], Field(max_length=GOLDEN_MAX)]


def golden_problems(golden: Golden, *, task: str, versions: Mapping[str, object]) -> list[Problem]:
    """What is wrong with the golden requests, given the endpoint's task and versions."""
    problems: list[Problem] = []
    taken = {"texts": TEXT_CLASSIFICATION, "image": OBJECT_DETECTION, "drawn": OBJECT_DETECTION}
    names: set[str] = set()
    for index, each in enumerate(golden):
        path = ("golden", index)
        if each.name in names:
            problems.append(((*path, "name"), "each golden request needs a name of its own"))
        names.add(each.name)
        if each.kind in taken and task != taken[each.kind]:
            problems.append(((*path, each.kind), f"is for {taken[each.kind]}: write inputs, or a request in a file"))
        for at, version in enumerate(each.versions):
            if version not in versions:
                problems.append(((*path, "versions", at), "must be one of versions"))
    return problems


def _inside(path: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise ValueError("the path must stay below its folder: relative, with /, and without ..")
