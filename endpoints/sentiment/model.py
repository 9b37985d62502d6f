"""Sentiment: from texts to word pieces and from probabilities to labels. Ships inside the artifact."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

TOKENS_MAX = 256  # what the encoder was trained to read; longer texts are judged by their beginning
LABELS = ("negative", "neutral", "positive")


class InvalidInputError(ValueError):
    """Input that the caller must change; ``code`` is stable and the message holds nothing of the input."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Model:
    """The text-facing side of the classifier; ``load`` makes one."""

    inputs = (("text", "BYTES", (-1,)),)
    outputs = (("label", "BYTES", (-1,)), ("probabilities", "FP32", (-1, len(LABELS))))

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.metadata: dict[str, object] = {"labels": list(LABELS), "tokens_max": TOKENS_MAX}
        self._tokenizer = tokenizer
        self._labels = np.array([label.encode() for label in LABELS], object)

    def example(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """A real request: two sentences of unlike length."""
        texts = ["I love this airline, the crew was fantastic!", "Three hours late."]
        return {"text": np.array([text.encode() for text in texts], object)}, {}

    def preprocess(
        self, tensors: dict[str, np.ndarray], parameters: dict[str, object]
    ) -> tuple[dict[str, np.ndarray], object]:
        """Turns texts into ``input_ids`` and ``attention_mask``, int64 [rows, tokens], padded with zeros.

        Raises:
            InvalidInputError: Codes empty_text, invalid_utf8.
        """
        del parameters  # this task has none
        texts = [_text(item) for item in tensors["text"].ravel()]
        if not texts:
            raise InvalidInputError("empty_text", "send at least one text")
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        return pad(encoded), None

    def collate(self, feeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Joins the feeds of several requests, padded to the longest row among them."""
        width = max(feed["input_ids"].shape[1] for feed in feeds)
        return {
            name: np.concatenate(
                [np.pad(feed[name], ((0, 0), (0, width - feed[name].shape[1]))) for feed in feeds], axis=0
            )
            for name in ("input_ids", "attention_mask")
        }

    def postprocess(
        self, outputs: dict[str, np.ndarray], state: object, parameters: dict[str, object]
    ) -> dict[str, np.ndarray]:
        """The likeliest label of each row, and all probabilities in the order of ``LABELS``."""
        del state, parameters
        probabilities = outputs["probabilities"].astype(np.float32)
        return {"label": self._labels[probabilities.argmax(axis=1)], "probabilities": probabilities}


def load(directory: Path) -> Model:
    """Loads the artifact's tokenizer."""
    return Model(open_tokenizer((directory / "tokenizer.json").read_bytes()))


def open_tokenizer(content: bytes) -> Tokenizer:
    """Reads a tokenizer.json and sets this model's truncation; padding is ours, because requests are joined later."""
    settings = json.loads(content)
    settings["truncation"] = settings["padding"] = None
    tokenizer = Tokenizer.from_str(json.dumps(settings))
    tokenizer.enable_truncation(TOKENS_MAX)
    return tokenizer


def pad(rows: list[list[int]]) -> dict[str, np.ndarray]:
    """Stacks token ids of unlike length into ``input_ids`` and ``attention_mask``, int64 [rows, longest]."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}


def _text(item: object) -> str:
    if not isinstance(item, bytes):
        raise InvalidInputError("invalid_utf8", "send text as UTF-8 bytes")
    try:
        text = item.decode("utf-8")
    except UnicodeDecodeError:
        # "from None": the error's own words quote the bytes.
        raise InvalidInputError("invalid_utf8", "send text as valid UTF-8") from None
    if not text.strip():
        raise InvalidInputError("empty_text", "send text that is not empty")
    return text
