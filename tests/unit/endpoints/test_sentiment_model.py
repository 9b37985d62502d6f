"""Sentiment's text side: tokens in, labels out, and what is refused."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from endpoints.sentiment.model import LABELS, TOKENS_MAX, InvalidInputError, Model, open_tokenizer, pad

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "good": 4, "bad": 5}


def small_tokenizer() -> Tokenizer:
    """A tokenizer of two words, with the fixed padding and short truncation that published files carry."""
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(8)
    return tokenizer


def small_model() -> Model:
    """A model on that tokenizer."""
    return Model(open_tokenizer(small_tokenizer().to_str().encode()))


def texts(*items: bytes) -> dict[str, np.ndarray]:
    """A request of these texts."""
    return {"text": np.array(items, object)}


def test_texts_become_padded_ids() -> None:
    """Rows are as long as the longest text, not as the file's padding says, and the mask marks real tokens."""
    feeds, _ = small_model().preprocess(texts(b"good", b"bad good bad"), {})
    assert feeds["input_ids"].tolist() == [[2, 4, 3, 0, 0], [2, 5, 4, 5, 3]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert feeds["input_ids"].dtype == feeds["attention_mask"].dtype == np.int64


def test_long_texts_are_cut() -> None:
    """A text of 5,000 words is judged by its first 256 tokens."""
    feeds, _ = small_model().preprocess(texts(b"good " * 5000), {})
    assert feeds["input_ids"].shape == (1, TOKENS_MAX)


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ((b"",), "empty_text"),
        ((b"good", b" \t\n"), "empty_text"),
        ((), "empty_text"),
        (("\u2003".encode(),), "empty_text"),
        ((b"\xff\xfesecret",), "invalid_utf8"),
        ((b"\xed\xa0\x80",), "invalid_utf8"),
    ],
)
def test_bad_texts_are_refused(items: tuple[bytes, ...], code: str) -> None:
    """Empty texts and bytes that are not UTF-8, lone surrogates included, get a stable code and no echo."""
    with pytest.raises(InvalidInputError) as caught:
        small_model().preprocess(texts(*items), {})
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


def test_requests_are_joined_row_by_row() -> None:
    """Requests of unlike width are padded to one and keep their order."""
    model = small_model()
    feeds = [model.preprocess(texts(item), {})[0] for item in (b"good", b"bad bad bad")]
    joined = model.collate(feeds)
    assert joined["input_ids"].tolist() == [[2, 4, 3, 0, 0], [2, 5, 5, 5, 3]]
    assert joined["attention_mask"].sum(axis=1).tolist() == [3, 5]


def test_labels_follow_the_probabilities() -> None:
    """The label is that of the largest probability, in the order negative, neutral, positive."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2]], np.float32)
    answer = small_model().postprocess({"probabilities": probabilities}, None, {})
    assert answer["label"].tolist() == [b"negative", b"positive", b"neutral"]
    np.testing.assert_array_equal(answer["probabilities"], probabilities)


def test_the_example_is_a_valid_request() -> None:
    """The warm-up request passes the model's own checks."""
    model = small_model()
    feeds, _ = model.preprocess(*model.example())
    assert len(feeds["input_ids"]) == 2
    assert model.metadata["labels"] == list(LABELS)


def test_padding_of_one_row() -> None:
    """A single row is not padded."""
    assert pad([[2, 4, 3]])["attention_mask"].tolist() == [[1, 1, 1]]
