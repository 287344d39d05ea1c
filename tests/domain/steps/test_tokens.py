"""Are token ids the tokenizer's own, bytes where there is none, and is the file read once, at the right time?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers.decoders import ByteLevel

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput, ModelFailure
from headrace.domain.fit import StepUse, compose
from headrace.domain.step import Context, Place, step_type
from headrace.domain.steps import STEPS
from headrace.domain.steps.tokens import decode_tokens, tokenize
from headrace.domain.tensors import TensorSpec

Apply = Callable[..., Batch]
TEXTS = ["the river turns the mill", "a mill", "the head race carries the water of the river to the mill"]
LOGITS = {"logits": TensorSpec("float32", (-1, 4, 256))}
PAIRS = ["water", "the river runs", "a race"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level BPE tokenizer that puts [CLS] and [SEP] around a text."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def own(folder: Path) -> Tokenizer:
    """The library's own tokenizer, for comparison."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_ids_are_the_tokenizers_own_padded_to_the_longest(folder: Path, own: Tokenizer, apply: Apply) -> None:
    own.enable_padding(pad_id=3, pad_token="[PAD]")
    wanted = own.encode_batch(TEXTS)

    after = apply("tokenize", {"text": TEXTS}, {"tokenizer": "tokenizer.json"}, place=Place(folder)).columns

    np.testing.assert_array_equal(after["input_ids"], [row.ids for row in wanted])
    np.testing.assert_array_equal(after["attention_mask"], [row.attention_mask for row in wanted])
    np.testing.assert_array_equal(after["token_type_ids"], [row.type_ids for row in wanted])
    assert after["input_ids"].dtype == np.int64


@pytest.mark.parametrize("max_length", [4, 9, 40])
def test_pairs_are_cut_and_filled_to_the_length_asked_for(
    folder: Path, own: Tokenizer, max_length: int, apply: Apply
) -> None:
    own.enable_padding(pad_id=3, pad_token="[PAD]", length=max_length)
    own.enable_truncation(max_length)
    wanted = own.encode_batch(list(zip(TEXTS, PAIRS, strict=True)))
    params = {"tokenizer": ".", "max_length": max_length, "pair": "text_pair"}

    after = apply("tokenize", {"text": TEXTS, "text_pair": PAIRS}, params, place=Place(folder)).columns

    np.testing.assert_array_equal(after["input_ids"], [row.ids for row in wanted])
    np.testing.assert_array_equal(after["token_type_ids"], [row.type_ids for row in wanted])
    assert after["input_ids"].shape == (3, max_length)


def test_without_padding_rows_keep_their_own_length(folder: Path, own: Tokenizer, apply: Apply) -> None:
    params = {"tokenizer": ".", "padding": "none", "special_tokens": False, "outputs": ["input_ids"]}

    after = apply("tokenize", {"review": TEXTS}, params, place=Place(folder)).columns

    rows = [row.tolist() for row in after["input_ids"]]
    assert rows == [row.ids for row in own.encode_batch(TEXTS, add_special_tokens=False)]
    assert set(after) == {"review", "input_ids"}


def test_tokens_become_text_again(folder: Path, apply: Apply) -> None:
    place = Place(folder)
    ids = apply("tokenize", {"text": TEXTS}, {"tokenizer": "."}, place=place).columns["input_ids"]
    logits = np.eye(300, dtype=np.float32)[ids]

    for column in (ids, logits, [row[row != 3] for row in ids]):
        assert apply("decode_tokens", {"logits": column}, {"tokenizer": "."}, place=place).columns["text"] == TEXTS
    whole = decode_tokens(ids[:1], tokenizer=".", skip_special_tokens=False, place=place)
    assert whole[0].startswith("[CLS]") and whole[0].endswith("[PAD]")


def test_the_file_beside_the_model_is_found_by_itself(folder: Path, own: Tokenizer) -> None:
    beside = tokenize(["the mill"], place=Place(Path("/nowhere"), folder))["input_ids"]
    nothing_there = tokenize(["the mill"], place=Place(folder, folder / "other"))["input_ids"]

    assert list(beside[0]) == own.encode("the mill").ids
    assert list(nothing_there[0]) == list(b"the mill")


def test_the_file_is_read_when_the_step_is_bound_and_not_again(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tokenizer.json"
    copy.write_bytes((folder / "tokenizer.json").read_bytes())
    use = StepUse("tokenize", step_type(STEPS["tokenize"]), {"tokenizer": "tokenizer.json"})

    plan = compose([use], None, None, [], place=Place(tmp_path))
    copy.unlink()
    after = plan.before[0].run(Batch({"text": ["the mill"]}), Context())

    assert isinstance(after, Batch)
    assert len(after.columns["input_ids"]) == 1
    assert compose([use], None, None, [], place=Place(tmp_path)).problems


def test_what_the_file_says_about_length_is_put_aside(folder: Path, own: Tokenizer, tmp_path: Path) -> None:
    own.enable_truncation(3)
    own.enable_padding(length=50, pad_id=3, pad_token="[PAD]", direction="left")
    own.save(str(tmp_path / "tokenizer.json"))

    rows = tokenize(["the river turns", "a"], place=Place(tmp_path, tmp_path))["attention_mask"]

    assert 3 < rows.shape[1] < 50  # type: ignore[union-attr]
    assert list(rows[1][-3:]) == [1, 1, 1], "filling stays on the side that the file names"


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.integers(1, 30))
def test_without_a_tokenizer_every_byte_is_a_token(texts: list[str], length: int) -> None:
    after = tokenize(texts, max_length=length)

    for text, ids, mask in zip(texts, after["input_ids"], after["attention_mask"], strict=True):
        data = text.encode()[:length]
        assert list(ids) == list(data) + [0] * (length - len(data))
        assert mask.sum() == len(data)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), min_size=1))
def test_bytes_come_back_as_the_text_they_were(texts: list[str]) -> None:
    ids = tokenize(texts)["input_ids"]

    assert decode_tokens(ids) == texts


def test_a_cut_character_and_tokens_beyond_the_bytes_do_no_harm() -> None:
    assert decode_tokens(np.array([[0xE6, 0x97, 300, 0]])) == ["\ufffd"]


def test_too_long_a_text_is_refused_when_cutting_is_off(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="11 tokens long; at most 8"):
        tokenize(["hello world"], max_length=8, truncation=False)
    with pytest.raises(InvalidInput, match="at most 3"):
        tokenize(TEXTS, tokenizer=".", max_length=3, truncation=False, place=Place(folder))


@pytest.mark.parametrize(("text", "told"), [(None, "not null"), (7, "not int"), ("\ud800", "surrogate")])
def test_what_is_no_text_is_refused(text: Any, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        tokenize(["fine", text])


def test_a_token_below_zero_is_the_models_failure() -> None:
    with pytest.raises(ModelFailure, match="below zero"):
        decode_tokens(np.array([[1, -1]]))


def test_a_tokenizer_that_cannot_be_used_is_found_before_anything_is_loaded(
    folder: Path, tmp_path: Path, problems: Callable[..., list[str]]
) -> None:
    (tmp_path / "broken.json").write_text("{}")
    bare = json.loads((folder / "tokenizer.json").read_text().replace("[PAD]", "[GAP]"))
    (tmp_path / "bare.json").write_text(json.dumps(bare))

    def told(name: str = "tokenize", **params: Any) -> str:
        return " ".join(problems(name, params, None if name == "tokenize" else LOGITS, root=tmp_path))

    assert "no tokenizer at 'nothing.json': no such file" in told(tokenizer="nothing.json")
    assert "no tokenizer at 'nothing.json'" in told("decode_tokens", tokenizer="nothing.json")
    assert "cannot read 'broken.json'" in told(tokenizer="broken.json")
    assert "name one of its tokens in pad_token" in told(tokenizer="bare.json")
    assert "has no token '[X]'" in told(tokenizer="bare.json", pad_token="[X]")
    assert told(tokenizer="bare.json", pad_token="[GAP]") == ""
    assert "max_length above 2" in told(tokenizer="bare.json", padding="none", max_length=2)
    assert "wants a max_length" in told(padding="max_length")
    assert "wants input_ids" in told(outputs=["attention_mask"])
    assert str(tmp_path) not in told(tokenizer="nothing.json")
    assert "no parameter 'place'" in told(place="here")


def test_the_seeds_pipeline_fits_as_it_is_written() -> None:
    before = StepUse("tokenize", step_type(STEPS["tokenize"]), {"max_length": 64})
    after = StepUse("decode_tokens", step_type(STEPS["decode_tokens"]))
    inputs = {"input_ids": TensorSpec("int64", (-1, 64), "input_ids")}
    outputs = {"logits": TensorSpec("float32", (-1, 64, 256), "logits")}

    plan = compose([before], inputs, outputs, [after])

    assert plan.problems == []
    assert list(plan.inputs) == ["text"]
    assert list(plan.outputs) == ["logits", "text"]
    batch = plan.before[0].run(Batch({"text": ["Hello world"]}), Context())
    assert isinstance(batch, Batch)
    echoed = batch.with_columns(logits=np.eye(256, dtype=np.float32)[batch.columns["input_ids"]])
    answer = plan.after[0].run(echoed, Context())
    assert isinstance(answer, Batch)
    assert answer.columns["text"] == ["Hello world"]


def test_a_model_gets_the_mask_without_being_asked_to() -> None:
    inputs = {name: TensorSpec("int64", (-1, -1), name) for name in ("input_ids", "attention_mask")}

    plan = compose([StepUse("tokenize", step_type(STEPS["tokenize"]))], inputs, {}, [])

    assert plan.problems == []
    assert list(plan.inputs) == ["text"]


def test_an_input_beside_the_tokens_is_asked_of_the_caller() -> None:
    inputs = {"input_ids": TensorSpec("int64", (-1, -1)), "top_k": TensorSpec("int64", (-1, -1))}
    use = StepUse("tokenize", step_type(STEPS["tokenize"]), {"outputs": ["input_ids"]})

    plan = compose([use], inputs, {}, [])

    assert plan.problems == []
    assert list(plan.inputs) == ["text", "top_k"]
