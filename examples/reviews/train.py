"""How are the model and the tokenizer of this workspace made?

Composes some thousand reviews from the phrases below (no library ships real ones), trains a tokenizer of whole words
on them, and a bag of words and word pairs as in fastText (Joulin et al., "Bag of Tricks for Efficient Text
Classification", 2017): every word and every pair has a weight, and the sum of the weights says how much a text is
liked. Writes ``models/reviews-bag/1/model.onnx`` and the ``tokenizer.json`` beside it. Takes seconds.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).parent
FOLDER = ROOT / "models" / "reviews-bag" / "1"

THINGS = (
    "soup", "bread", "coffee", "dinner", "menu", "waiter", "service", "staff", "room", "bed", "hotel", "view",
    "breakfast", "film", "plot", "acting", "ending", "music", "book", "story", "phone", "battery", "screen", "delivery",
    "price", "place",
)  # fmt: skip
GOOD = (
    "good", "great", "excellent", "delicious", "friendly", "clean", "lovely", "wonderful", "fresh", "fast", "superb",
    "charming", "comfortable", "brilliant", "helpful", "perfect", "nice", "beautiful", "tasty", "fantastic",
)  # fmt: skip
BAD = (
    "bad", "awful", "terrible", "dirty", "rude", "slow", "dull", "boring", "cold", "broken", "stale", "poor", "weak",
    "horrible", "noisy", "bland", "disappointing", "useless", "overpriced", "mediocre",
)  # fmt: skip
PRAISE = (
    "I loved the {thing}.", "We enjoyed every minute.", "I recommend it.", "We will come back.", "Worth every penny.",
    "The best {thing} in years.", "I was happy with the {thing}.", "It works well.",
)  # fmt: skip
BLAME = (
    "I hated the {thing}.", "A waste of time.", "I want my money back.", "We will not come back.", "We left early.",
    "The worst {thing} in years.", "I was unhappy with the {thing}.", "It does not work.", "I do not recommend it.",
)  # fmt: skip
NEUTRAL = (
    "We went there on a Tuesday.", "I ordered it last week.", "It was my first visit.", "We were four.",
    "My sister came too.", "I bought the {thing} for my father.",
)  # fmt: skip
UNHEARD = (
    ("Friendly people and very good coffee, we were happy.", 1),
    ("The battery is weak and the screen arrived broken.", 0),
    ("What a wonderful story!", 1),
    ("Not a good hotel: dirty bed, rude waiter.", 0),
    ("The plot is not boring at all, I loved the ending.", 1),
    ("Slow delivery, but the phone is excellent and works well.", 1),
    ("I hated every minute.", 0),
    ("It was not fresh and not tasty.", 0),
    ("Perfect music, beautiful view.", 1),
    ("Overpriced and bland.", 0),
)
"""Reviews in words of their own, with 1 for those that like it: what the model is tried on."""

REVIEWS = 4000
BUCKETS = 1024
FACTOR = 31
"""A word pair has the weight number ``(FACTOR * first + second) % BUCKETS`` after those of the words."""

OPSET = 17
SEED = 0


def sentence(likes: bool, dice: random.Random) -> str:
    """One sentence that likes something, or not."""
    thing, quality = dice.choice(THINGS), dice.choice(GOOD if likes else BAD)
    denied = dice.choice(BAD if likes else GOOD)
    verb = dice.choice(("is", "was", "were"))
    degree = dice.choice(("", "", "very ", "really ", "so "))
    form = dice.choice(
        (
            f"The {thing} {verb} {degree}{quality}.",
            f"{quality.capitalize()} {thing}!",
            f"A {degree}{quality} {thing}.",
            f"The {thing} {verb} not {degree}{denied}.",
            f"Not {denied}, the {thing}.",
            dice.choice(PRAISE if likes else BLAME),
        )
    )
    return form.format(thing=thing)


def reviews(dice: random.Random) -> Iterator[tuple[str, int]]:
    """Composed reviews of one to three sentences, with 1 for those that like it."""
    for _ in range(REVIEWS):
        likes = dice.random() < 0.5
        said = [sentence(likes, dice) for _ in range(dice.choice((1, 1, 2, 3)))]
        if dice.random() < 0.3:
            said.insert(0, dice.choice(NEUTRAL).format(thing=dice.choice(THINGS)))
        yield " ".join(said), int(likes)


def tokenizer_of(texts: Sequence[str]) -> Tokenizer:
    """Whole words in lower case, and signs; words that are not in *texts* are all the same token."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def places(ids: Sequence[int], words: int) -> list[int]:
    """The weights that a text adds up: one for each of its words, one for each pair of neighbours."""
    return [*ids, *(words + (FACTOR * first + second) % BUCKETS for first, second in pairwise(ids))]


def counts(tokenizer: Tokenizer, texts: Sequence[str]) -> csr_matrix:
    """How often each weight counts, shape (texts, words + BUCKETS)."""
    words = tokenizer.get_vocab_size()
    found = [places(row.ids, words) for row in tokenizer.encode_batch(texts)]
    rows = np.repeat(np.arange(len(found)), [len(row) for row in found])
    shape = (len(texts), words + BUCKETS)
    return csr_matrix((np.ones(len(rows)), (rows, np.concatenate(found))), shape=shape)


def export(weights: NDArray[np.float64], offset: float) -> ModelProto:
    """The bag as ONNX: `input_ids` and `attention_mask` (n, tokens) in, `probabilities` (n, 2) out."""
    words = len(weights) - BUCKETS
    numbers = {"one": 1, "zero": 0, "last": -1, "end": 2**31, "factor": FACTOR, "buckets": BUCKETS, "words": words}
    kept = [numpy_helper.from_array(np.array([value]), name) for name, value in numbers.items()]
    for name, value in (("weights", weights), ("offset", [offset]), ("whole", [1.0])):
        kept.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    nodes = [
        *(
            helper.make_node("Slice", [source, start, end, "one"], [result])
            for source, start, end, result in (
                ("input_ids", "zero", "last", "first"),
                ("input_ids", "one", "end", "second"),
                ("attention_mask", "zero", "last", "first_counts"),
                ("attention_mask", "one", "end", "second_counts"),
            )
        ),
        helper.make_node("Mul", ["first", "factor"], ["times"]),
        helper.make_node("Add", ["times", "second"], ["sum"]),
        helper.make_node("Mod", ["sum", "buckets"], ["bucket"]),
        helper.make_node("Add", ["bucket", "words"], ["pairs"]),
        helper.make_node("Mul", ["first_counts", "second_counts"], ["pairs_count"]),
        helper.make_node("Concat", ["input_ids", "pairs"], ["places"], axis=1),
        helper.make_node("Concat", ["attention_mask", "pairs_count"], ["all_count"], axis=1),
        helper.make_node("Cast", ["all_count"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["weights", "places"], ["found"]),
        helper.make_node("Mul", ["found", "count"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "one"], ["total"], keepdims=1),
        helper.make_node("Add", ["total", "offset"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["positive"]),
        helper.make_node("Sub", ["whole", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2])]
    graph = helper.make_graph(nodes, "reviews-bag", inputs, outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model)
    return model


def main() -> None:
    """Train, tell how good it is, and write the tokenizer and the model."""
    texts, likes = zip(*reviews(random.Random(SEED)), strict=True)
    tokenizer = tokenizer_of(texts)
    model = LogisticRegression(max_iter=1000).fit(counts(tokenizer, texts), likes)
    unheard, liked = zip(*UNHEARD, strict=True)
    right = int(np.sum(model.predict(counts(tokenizer, unheard)) == liked))
    print(f"{right} of {len(UNHEARD)} reviews in words of their own are classified correctly")
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(FOLDER / "tokenizer.json"))
    (FOLDER / "model.onnx").write_bytes(export(model.coef_[0], float(model.intercept_[0])).SerializeToString())
    for file in sorted(FOLDER.iterdir()):
        print(f"wrote {file.relative_to(ROOT)} ({file.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
