"""The engine without HTTP: a verified artifact's model.py and ONNX session, and what to do when a batch fails.

A batch is collated, run once and split by rows. When anything about it fails, every request in it is run again
alone, so that only the request at fault gets an error.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from endpoints.serving.datatypes import ONNX_DATATYPES
from endpoints.serving.errors import BadInput, ModelFailed, ServingError
from endpoints.serving.sessions import open_session
from endpoints.serving.tensors import Signature, decode_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from endpoints.serving.artifact import Artifact

ONNX_FILE = "model.onnx"
CODE_FILE = "model.py"
EXAMPLE_FILE = "example.json"
_FREE_SIZE_EXAMPLE = 4  # for free axes other than the rows', in the synthetic warm-up request of a bare model
_MESSAGE_CHARS_MAX = 400

Outputs = dict[str, np.ndarray]


class LoadError(Exception):
    """The artifact is intact but cannot be served; the message says why."""


class Prepared:
    """One request, ready to be computed.

    Attributes:
        feeds: ONNX inputs, rows on axis 0.
        rows: How many rows.
        key: Requests with equal keys may share a batch; None never shares.
        state: What preprocess hands to postprocess.
        parameters: The request's parameters.
    """

    __slots__ = ("feeds", "key", "parameters", "rows", "state")

    def __init__(
        self, feeds: dict[str, np.ndarray], rows: int, key: object, state: object, parameters: dict[str, Any]
    ) -> None:
        self.feeds = feeds
        self.rows = rows
        self.key = key
        self.state = state
        self.parameters = parameters


class Runner:
    """A loaded model.

    Attributes:
        signature: Public inputs and outputs.
        metadata: What model.py tells about itself, e.g. its labels.
        batchable: Whether requests may share a run. False until proven (see `warmup.prove_batchable`).
        sessions: ONNX sessions; index 0 computes on the calling thread, index 1 (if any) on all cores.
        artifact: The artifact it came from.
    """

    def __init__(self, artifact: Artifact, *, sessions: list[Any], model: Any | None) -> None:
        self.artifact = artifact
        self.sessions = sessions
        self.batchable = False
        self._model = model
        self._collate = getattr(model, "collate", None)
        self._example: dict[str, np.ndarray] | None = None
        if model is None:
            self.signature = _onnx_signature(sessions[0])
            self._output_names = list(self.signature.outputs)
            self.metadata: dict[str, Any] = {}
            self._texts = [port.name for port in self.signature.inputs.values() if port.datatype.name == "BYTES"]
            self._example = _read_example(artifact, self.signature)
        else:
            self._texts = []
            self._output_names = [port.name for port in sessions[0].get_outputs()]
            self.signature = Signature.of(inputs=tuple(model.inputs), outputs=tuple(model.outputs))
            self.metadata = dict(model.metadata)

    @staticmethod
    def load(artifact: Artifact, *, threads: int = 1, tensorrt: bool = False) -> Runner:
        """Load a verified artifact.

        Args:
            artifact: From `open_artifact`, which has checked every file.
            threads: Threads of the first session.
            tensorrt: Whether TensorRT may be used, as `choose_providers` has it.

        Raises:
            LoadError: With the reason.
        """
        if ONNX_FILE not in artifact.files:
            raise LoadError(f"{artifact.directory} holds no {ONNX_FILE}")
        try:
            session = open_session(artifact.directory / ONNX_FILE, threads=threads, tensorrt=tensorrt)
        except Exception as error:
            raise LoadError(f"{ONNX_FILE} could not be loaded: {_one_line(error)}") from error
        model = None
        if CODE_FILE in artifact.files:
            try:
                model = _load_code(artifact)
            except Exception as error:
                raise LoadError(f"{CODE_FILE} could not be loaded: {_one_line(error)}") from error
        try:
            return Runner(artifact, sessions=[session], model=model)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LoadError(f"the model's signature cannot be served: {_one_line(error)}") from error

    @property
    def has_code(self) -> bool:
        """Whether a model.py does pre- and post-processing."""
        return self._model is not None

    def example(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Give a request for warm-up: model.py's own, or the example or a synthetic row of a bare ONNX model."""
        if self._model is not None:
            tensors, parameters = self._model.example()
            return tensors, parameters
        if self._example is not None:
            return self._example, {}
        return self.synthetic(rows=1, seed=0), {}

    def synthetic(self, *, rows: int, seed: int) -> dict[str, np.ndarray]:
        """Make input arrays for a bare model: small numbers, so that an index stays within any table."""
        random = np.random.default_rng(seed)
        tensors: dict[str, np.ndarray] = {}
        for port in self.signature.inputs.values():
            # Not every model takes every size that it leaves open: an example says which it takes.
            taken = self._example[port.name].shape if self._example is not None else None
            sizes = [
                size if size >= 0 else rows if axis == 0 else taken[axis] if taken else _FREE_SIZE_EXAMPLE
                for axis, size in enumerate(port.shape)
            ]
            kind = port.datatype.dtype
            if kind.kind == "O":
                array = random.integers(0, 10, sizes).astype(bytes).astype(object)
            elif kind.kind == "f":
                array = random.uniform(-1, 1, sizes).astype(kind)
            else:
                array = random.integers(0, 2, sizes).astype(kind)
            tensors[port.name] = array
        return tensors

    def prepare(self, tensors: dict[str, np.ndarray], parameters: dict[str, Any]) -> Prepared:
        """Turn one decoded request into ONNX feeds.

        Args:
            tensors: Public inputs, as `decode_request` checked them.
            parameters: The request's parameters.

        Raises:
            BadInput: model.py refused the input, or inputs disagree on the number of rows.
            ModelFailed: model.py broke.
        """
        state: object = None
        feeds = tensors
        if self._model is not None:
            try:
                feeds, state = self._model.preprocess(tensors, parameters)
            except ValueError as error:
                raise _refusal(error) from error
            except Exception as error:
                raise ModelFailed("The model's preprocessing broke; report this to its owner.") from error
        elif self._texts:
            feeds = tensors | {name: _as_text(tensors[name]) for name in self._texts}
        if not self.batchable:
            return Prepared(feeds, _rows(feeds), None, state, parameters)
        if len(feeds) == 1:
            ((_, array),) = feeds.items()
            key: object = None if self._collate else array.shape[1:]
            rows = array.shape[0]
        else:
            rows = _rows(feeds)
            if any(array.shape[0] != rows for array in feeds.values()):
                raise BadInput("inputs: all must have the same first size (the rows).", code="wrong_shape")
            key = None if self._collate else tuple(array.shape[1:] for array in feeds.values())
        # model.py's own collate pads: any of its requests may share a run.
        return Prepared(feeds, rows, "collate" if self._collate else key, state, parameters)

    def compute(self, batch: Sequence[Prepared], *, session: int = 0) -> list[Outputs | ServingError]:
        """Run a batch; an error belongs to one request and is returned in its place.

        Args:
            batch: Requests with equal keys.
            session: Which of `sessions` to run on.

        Returns:
            For each request its outputs, or the error that is its own.
        """
        if len(batch) == 1:
            return [self._alone(batch[0], session=session)]
        try:
            outputs = self.run_rows(batch, session=session)
            total = sum(one.rows for one in batch)
            if any(array.ndim == 0 or array.shape[0] != total for array in outputs.values()):
                return [self._alone(one, session=session) for one in batch]
        except Exception:  # noqa: BLE001 - whatever broke, one of them may be at fault: each is asked alone
            return [self._alone(one, session=session) for one in batch]
        results: list[Outputs | ServingError] = []
        start = 0
        for one in batch:
            end = start + one.rows
            results.append(self._finish(one, {name: array[start:end] for name, array in outputs.items()}))
            start = end
        return results

    def run_rows(self, batch: Sequence[Prepared], *, session: int = 0) -> Outputs:
        """Run a batch once and give the raw ONNX outputs of all its rows, letting any failure through."""
        feeds = batch[0].feeds if len(batch) == 1 else self._join([one.feeds for one in batch])
        return self._run(feeds, session=session)

    def piece(self, one: Prepared, *, start: int, end: int) -> Outputs | None:
        """Compute rows `start` to `end` of a request whose rows are independent of each other (`batchable`).

        Returns:
            What `joined` takes; None when the request must be computed whole.
        """
        try:
            outputs = self._run({name: array[start:end] for name, array in one.feeds.items()}, session=0)
        except Exception:  # noqa: BLE001 - as in `compute`: the whole tells whose fault it is
            return None
        return outputs if all(array.ndim and array.shape[0] == end - start for array in outputs.values()) else None

    def joined(self, one: Prepared, pieces: Sequence[Outputs]) -> Outputs | ServingError:
        """Answer a request whose pieces, in order, are these; without any it is computed whole."""
        try:
            whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in self._output_names}
        except ValueError:  # none, or of sizes that depend on values
            return self._alone(one, session=0)
        return self._finish(one, whole)

    def run(self, requests: Sequence[tuple[dict[str, np.ndarray], dict[str, Any]]]) -> list[Outputs | ServingError]:
        """Prepare, compute and finish requests in one call, for callers with no queue of their own.

        Args:
            requests: (tensors, parameters) of each request.

        Returns:
            For each request its outputs, or the error that is its own.
        """
        results: list[Outputs | ServingError] = []
        for tensors, parameters in requests:
            try:
                results.append(self._alone(self.prepare(tensors, parameters), session=0))
            except ServingError as error:
                results.append(error)
        return results

    def _join(self, feeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        if self._collate is not None:
            joined: dict[str, np.ndarray] = self._collate(feeds)
            return joined
        return {name: np.concatenate([one[name] for one in feeds]) for name in feeds[0]}

    def _run(self, feeds: dict[str, np.ndarray], *, session: int) -> Outputs:
        values = self.sessions[session].run(self._output_names, feeds)
        return dict(zip(self._output_names, values, strict=True))

    def _alone(self, one: Prepared, *, session: int) -> Outputs | ServingError:
        try:
            outputs = self._run(one.feeds, session=session)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own, outside any public tree
            return self._run_refusal(error)
        return self._finish(one, outputs)

    def _finish(self, one: Prepared, outputs: Outputs) -> Outputs | ServingError:
        if self._model is None:
            return outputs
        try:
            finished: Outputs = self._model.postprocess(outputs, one.state, one.parameters)
        except ValueError as error:
            return _refusal(error) if hasattr(error, "code") else _failed(_POSTPROCESS, error)
        except Exception as error:  # noqa: BLE001 - model.py is somebody's code: its failure is this request's answer
            return _failed(_POSTPROCESS, error)
        return finished

    def _run_refusal(self, error: Exception) -> ServingError:
        """Tell the caller's mistake from the model's: feeds that model.py made are never the caller's fault."""
        text = str(error).lower()
        # Nodes given values that they cannot take (an index, a shape) say so in words, not in a class of their own.
        refused = type(error).__name__ == "InvalidArgument" or any(word in text for word in _CALLERS_MISTAKES)
        if refused and not self.has_code and "alloc" not in text and "cuda" not in text:
            return BadInput(
                "The model cannot compute this input: compare its values and shapes with the model's metadata.",
                code="model_refused_input",
            )
        return _failed("The model could not be run; retry, and report this to its owner if it persists.", error)


_CALLERS_MISTAKES = ("out of bounds", "out of range", "indices", "shape", "dimension")
_POSTPROCESS = "The model's postprocessing broke; report this to its owner."


def _as_text(array: np.ndarray) -> np.ndarray:
    """Turn bytes into the str that ONNX Runtime wants of a string tensor."""
    try:
        items = [item.decode() for item in array.reshape(-1).tolist()]
    except UnicodeDecodeError:
        raise BadInput("BYTES inputs must be UTF-8 for this model.", code="invalid_utf8") from None
    return np.array(items, dtype=object).reshape(array.shape)


def _rows(feeds: dict[str, np.ndarray]) -> int:
    for array in feeds.values():
        return int(array.shape[0]) if array.ndim else 1
    return 1


def _refusal(error: ValueError) -> BadInput:
    """Hand on model.py's sentence, unless the exception's kind quotes its input (UnicodeDecodeError does)."""
    code = getattr(error, "code", None)
    if type(error) is not ValueError and code is None:
        return BadInput("The model cannot read this input.")
    return BadInput(str(error)[:_MESSAGE_CHARS_MAX], code=code if isinstance(code, str) else None)


def _failed(message: str, error: Exception) -> ModelFailed:
    """Keep the cause, whose type, and nothing else of it, goes to the log."""
    failed = ModelFailed(message)
    failed.__cause__ = error
    return failed


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MESSAGE_CHARS_MAX]


def _load_code(artifact: Artifact) -> Any:
    """Execute model.py from its source: never from bytecode lying beside it, which no manifest covers."""
    path = artifact.directory / CODE_FILE
    name = f"headrace_model_{artifact.files[CODE_FILE][:16]}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    module = types.ModuleType(name)
    module.__file__ = str(path)
    module.__spec__ = spec
    sys.modules[name] = module  # dataclasses look their module up by name
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - verified a moment ago
    return module.load(artifact.directory)


def _read_example(artifact: Artifact, signature: Signature) -> dict[str, np.ndarray] | None:
    """Read the request that an artifact without model.py may bring along."""
    if EXAMPLE_FILE not in artifact.files:
        return None
    try:
        return decode_request((artifact.directory / EXAMPLE_FILE).read_bytes(), signature=signature).tensors
    except BadInput as error:
        raise ValueError(f"{EXAMPLE_FILE}: {error.message}") from error


def _onnx_signature(session: Any) -> Signature:
    """Read the public signature from the ONNX file: inputs without initialisers, symbolic sizes as -1."""

    def triple(port: Any) -> tuple[str, str, tuple[int, ...]]:
        sizes = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in port.shape)
        return port.name, ONNX_DATATYPES[port.type], sizes

    inputs = session.get_inputs()
    for port in inputs:
        if port.type not in ONNX_DATATYPES:
            raise ValueError(f"input {port.name} has type {port.type}, which the protocol cannot carry; add a model.py")
    if inputs and not any(port.shape for port in inputs):
        # ONNX Runtime reports an undeclared rank and a scalar alike; a model of scalars alone is the rarer by far.
        raise ValueError("no input declares its rank: export the model with its shapes, or add a model.py")
    # A classifier's sequence of maps (scikit-learn's ZipMap) repeats what its tensors already say: those are served.
    outputs = [port for port in session.get_outputs() if port.type in ONNX_DATATYPES]
    if not outputs:
        raise ValueError("no output is a tensor, which is all that the protocol carries; add a model.py")
    return Signature.of(inputs=tuple(map(triple, inputs)), outputs=tuple(map(triple, outputs)))
