"""What the strict reader accepts, and what it says about the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import pytest

from headrace.core.config import (
    Between,
    ConfigMistakes,
    MapNode,
    Matches,
    OneOf,
    Place,
    Reader,
    Secret,
    describe,
    did_you_mean,
    nearest,
)

Auto = Literal["auto"]
Port = NewType("Port", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Even:
    def accepts(self, value: Any) -> bool:
        return bool(value % 2 == 0)

    def __str__(self) -> str:
        return "that is even"


@dataclass(frozen=True)
class Key:
    text: str

    def reveal(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Pair:
    count: Annotated[int, Even()]
    key: Key


@dataclass(frozen=True, slots=True)
class Batching:
    max_size: int | Auto = field(default="auto", metadata={"doc": "rows in a batch"})
    max_wait_ms: Annotated[float, Between(0)] = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    as_: str = field(default="stats", metadata={"key": "as"})


@dataclass(frozen=True, slots=True)
class Use:
    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Inline:
    type: str
    path: Path
    name: str = "inline"


@dataclass(frozen=True, slots=True)
class Pipeline:
    name: str
    model: str | Use | Inline = "none"
    version: str = "1"
    steps: tuple[Step, ...] = ()
    batching: Batching | Literal[False] = field(default=Batching(), metadata={"doc": "false: no batch axis"})
    size: tuple[int, int] = (8, 8)
    labels: list[str] = field(default_factory=list)
    weights: Mapping[str, float] = field(default_factory=dict)
    port: Annotated[Port, Between(1, 65535)] = Port(8000)
    colour: Colour = Colour.RED
    debug: bool = False
    folder: Path = Path("models")
    token: Secret | None = None
    url: Annotated[str, Matches(r"\w+://.*", "such as scheme://host")] = "a://b"
    extra: Any = None


def reader(root: Path, text: str | bytes, **environment: str) -> Reader:
    content = text if isinstance(text, bytes) else text.encode()
    (root / "p.yaml").write_bytes(content)
    return Reader(root, environment)


def read(root: Path, text: str, **environment: str) -> Pipeline:
    reading = reader(root, text, **environment)
    pipeline = reading.read(Path("p.yaml"), Pipeline, {"name": "p"})
    reading.raise_if_any()
    assert pipeline is not None
    return pipeline


def complaints(root: Path, text: str | bytes, **environment: str) -> list[str]:
    reading = reader(root, text, **environment)
    assert reading.read(Path("p.yaml"), Pipeline, {"name": "p"}) is None or reading.mistakes
    with pytest.raises(ConfigMistakes) as caught:
        reading.raise_if_any()
    return [str(mistake) for mistake in caught.value.mistakes]


def complaint(root: Path, text: str | bytes, **environment: str) -> str:
    (only,) = complaints(root, text, **environment)
    return only


# What is accepted


def test_a_whole_file_becomes_its_dataclass(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
        name: digits
        model: {name: digits-mlp, version: 2}
        steps:
          - {name: image.resize, params: {size: [8, 8], scale: 0.5, mode: L, crop: null}}
          - {name: stats, as: mean}
        batching: {max_size: 64, max_wait_ms: 1}
        size: [4, 6]
        labels: ["0", one]
        weights: {"1": 90, 2: 10}
        port: 9000
        colour: blue
        debug: true
        folder: ./models
        token: hush
        extra: [1, {a: yes}]
        """,
    )

    assert pipeline == Pipeline(
        name="digits",
        model=Use("digits-mlp", "2"),
        steps=(
            Step("image.resize", {"size": [8, 8], "scale": 0.5, "mode": "L", "crop": None}),
            Step("stats", as_="mean"),
        ),
        batching=Batching(64, 1.0),
        size=(4, 6),
        labels=["0", "one"],
        weights={"1": 90.0, "2": 10.0},
        port=Port(9000),
        colour=Colour.BLUE,
        debug=True,
        folder=Path("models"),
        token=Secret("hush"),
        extra=[1, {"a": "yes"}],
    )
    assert type(pipeline.batching.max_wait_ms if pipeline.batching else None) is float


def test_defaults_supply_what_the_file_lacks_and_nothing_else(tmp_path: Path) -> None:
    reading = reader(tmp_path, "model: {type: onnx, path: m.onnx}\nversion: '7'")

    pipeline = reading.read(Path("p.yaml"), Pipeline, {"name": "stem", "version": "0", "model.name": "stem-model"})

    assert pipeline == Pipeline("stem", Inline("onnx", Path("m.onnx"), "stem-model"), "7")


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert read(tmp_path, "# only a comment\n") == Pipeline("p")


@pytest.mark.parametrize("written", ["1", "1.10", "1_000", "0x1F", "007", "1e3", "2024-01-01", "yes", "off", "1:30"])
def test_unquoted_text_keeps_its_letters(tmp_path: Path, written: str) -> None:
    assert read(tmp_path, f"version: {written}").version == written


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("true", True),
        ("1e3", 1000.0),
        ("1_000", 1000),
        ("0x10", 16),
        ("007", "007"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("-.inf", float("-inf")),
        ("~", None),
        ('"5"', "5"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_data_follows_yaml_1_2(tmp_path: Path, written: str, value: Any) -> None:
    extra = read(tmp_path, f"extra: {written}").extra

    assert (extra, type(extra)) == (value, type(value))


@pytest.mark.parametrize("written", ["on", "yes", "True", "true"])
def test_every_yes_is_true_where_a_boolean_is_wanted(tmp_path: Path, written: str) -> None:
    assert read(tmp_path, f"debug: {written}").debug is True


@pytest.mark.parametrize("written", ["false", "no", "off"])
def test_a_section_can_be_switched_off(tmp_path: Path, written: str) -> None:
    assert read(tmp_path, f"batching: {written}").batching is False


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    assert read(tmp_path, "batching: {max_wait_ms: 1e3}").batching == Batching(max_wait_ms=1000.0)


def test_a_union_takes_the_type_that_was_written(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Either:
        a: str | int
        b: str | float
        c: float | int
        d: str | None

    reading = reader(tmp_path, "{a: 1, b: 2, c: 3, d: null}")

    either = reading.read(Path("p.yaml"), Either)

    assert repr(either).endswith("Either(a=1, b=2.0, c=3, d=None)")


def test_anchors_and_merge_keys_are_followed(tmp_path: Path) -> None:
    text = """
    extra: &defaults {max_size: 4, max_wait_ms: 2}
    batching: {<<: *defaults, max_size: 8}
    """

    assert read(tmp_path, text).batching == Batching(8, 2.0)


def test_the_first_of_several_merged_mappings_wins(tmp_path: Path) -> None:
    extra = read(tmp_path, "extra: {a: &a {x: 1}, b: &b {x: 2, y: 2}, c: {<<: [*a, *b]}}").extra

    assert extra["c"] == {"x": 1, "y": 2}


# What is not


def test_all_mistakes_are_reported_at_once_in_order(tmp_path: Path) -> None:
    text = "prot: 80\nport: high\nbatching:\n  max_sizes: 4\nsteps:\n  - params: {}\n"

    found = complaints(tmp_path, text)

    assert [message.split(": ")[:2] for message in found] == [
        ["p.yaml:1", "prot"],
        ["p.yaml:2", "port"],
        ["p.yaml:4", "batching.max_sizes"],
        ["p.yaml:6", "steps[0].name"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "batching: {max_sizes: 4}",
            "p.yaml:1: batching.max_sizes: found an unknown key (did you mean 'max_size'?), "
            "wanted one of: max_size, max_wait_ms",
        ),
        ("\nport: high", "p.yaml:2: port: found 'high', wanted an integer from 1 to 65535"),
        ("port: 0", "p.yaml:1: port: found 0, wanted an integer from 1 to 65535"),
        ("port: 1.5", "p.yaml:1: port: found 1.5, wanted an integer from 1 to 65535"),
        ("port: true", "p.yaml:1: port: found true, wanted an integer from 1 to 65535"),
        ("port: '80'", "p.yaml:1: port: found '80', wanted an integer from 1 to 65535: leave the quotes away"),
        ("port: 080", "p.yaml:1: port: found '080', wanted an integer from 1 to 65535: leave the leading zero away"),
        ("port:", "p.yaml:1: port: found nothing, wanted an integer from 1 to 65535"),
        ("port: [1]", "p.yaml:1: port: found a list of 1, wanted an integer from 1 to 65535"),
        ("batching: {max_wait_ms: .nan}", "p.yaml:1: batching.max_wait_ms: found .nan, wanted a number of at least 0"),
        ("version: true", "p.yaml:1: version: found true, wanted text: put it in quotes"),
        ("version: null", "p.yaml:1: version: found null, wanted text"),
        ("debug: ture", "p.yaml:1: debug: found 'ture', wanted true or false (did you mean 'true'?)"),
        ("debug: 1", "p.yaml:1: debug: found 1, wanted true or false"),
        ("colour: Bleu", "p.yaml:1: colour: found 'Bleu', wanted 'red' or 'blue' (did you mean 'blue'?)"),
        ("labels: one", "p.yaml:1: labels: found 'one', wanted a list (each: text): put it in [ ]"),
        ("labels: [one, [two]]", "p.yaml:1: labels[1]: found a list of 1, wanted text"),
        ("size: [1]", "p.yaml:1: size: found a list of 1, wanted a list of 2 (an integer, an integer)"),
        ("size: [1, b]", "p.yaml:1: size[1]: found 'b', wanted an integer"),
        (
            "steps: [{name: 'a', params: 3}]",
            "p.yaml:1: steps[0].params: found 3, wanted a mapping (each value: anything)",
        ),
        ("weights: {a: b}", "p.yaml:1: weights.a: found 'b', wanted a number"),
        ("folder: ''", "p.yaml:1: folder: found '', wanted a path"),
        ("url: nowhere", "p.yaml:1: url: found 'nowhere', wanted text such as scheme://host"),
        (
            "batching: {max_size: aut}",
            "p.yaml:1: batching.max_size: found 'aut', wanted an integer or 'auto' (did you mean 'auto'?)",
        ),
        (
            "batching: true",
            "p.yaml:1: batching: found true, wanted a mapping (max_size, max_wait_ms) or false",
        ),
        ("model: {type: onnx, pth: x}", None),
        (f"version: [{'x' * 100}]", "p.yaml:1: version: found a list of 1, wanted text"),
        (f"port: {'x' * 100}", f"p.yaml:1: port: found '{'x' * 57}...', wanted an integer from 1 to 65535"),
        ("- a", None),
    ],
)
def test_a_mistake_says_what_was_found_and_what_is_allowed(tmp_path: Path, text: str, message: str | None) -> None:
    found = complaint(tmp_path, text)

    assert message is None or found == message


def test_a_mapping_that_fits_no_type_is_judged_by_the_nearest(tmp_path: Path) -> None:
    found = complaint(tmp_path, "model: {type: onnx, pth: x}")

    assert found == (
        "p.yaml:1: model.pth: found an unknown key (did you mean 'path'?), wanted one of: type, path, name"
    )


def test_a_required_key_that_is_missing_is_named(tmp_path: Path) -> None:
    reading = reader(tmp_path, "# first\ntype: onnx\n")

    assert reading.read(Path("p.yaml"), Inline) is None

    (mistake,) = reading.mistakes
    assert str(mistake) == "p.yaml:2: path: found nothing, wanted a path: the key is required"


def test_what_a_dataclass_refuses_is_a_mistake_at_its_place(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Range:
        low: int
        high: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError(f"found low {self.low} above high {self.high}, wanted them in order")

    reading = reader(tmp_path, "\nlow: ${LOW}\nhigh: 2", LOW="12345")

    assert reading.read(Path("p.yaml"), Range) is None

    (mistake,) = reading.mistakes
    assert str(mistake) == "p.yaml:2: found low ${LOW} above high 2, wanted them in order"


def test_one_of_suggests_a_value(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Choice:
        runtime: Annotated[str, OneOf("onnx", "echo")] = "onnx"

    reading = reader(tmp_path, "runtime: onx")

    assert reading.read(Path("p.yaml"), Choice) is None

    assert str(reading.mistakes[0]).endswith("found 'onx', wanted text ('onnx' or 'echo') (did you mean 'onnx'?)")


def test_a_constraint_on_a_union_holds_for_its_types(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Sized:
        size: Annotated[int | None, Between(1, 4)] | Auto = None

    good, bad = reader(tmp_path, "size: 3"), Reader(tmp_path, {})

    assert good.read(Path("p.yaml"), Sized) == Sized(3)
    (tmp_path / "p.yaml").write_text("size: 5")
    assert bad.read(Path("p.yaml"), Sized) is None


def test_constraints_and_secrets_of_other_owners_need_no_import_of_ours(tmp_path: Path) -> None:
    reading = reader(tmp_path, "count: 3\nkey: [1]")

    assert reading.read(Path("p.yaml"), Pair) is None
    assert [str(mistake) for mistake in reading.mistakes] == [
        "p.yaml:1: count: found 3, wanted an integer that is even",
        "p.yaml:2: key: found a list of 1, wanted text (secret)",
    ]


def test_an_unknown_type_is_our_own_mistake(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Odd:
        x: complex

    with pytest.raises(TypeError, match="complex"):
        reader(tmp_path, "x: 1").read(Path("p.yaml"), Odd)


# YAML that cannot be read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1,\n", "p.yaml:3: found no valid YAML"),
        ("steps:\n\t- a", "p.yaml:2: found no valid YAML"),
        ("name: a: b", "p.yaml:1: found no valid YAML"),
        ("labels: [${X}]", "p.yaml:1: found no valid YAML"),
        ("name: a\n---\nname: b", "p.yaml:2: found a second document"),
        ("name: a\nport: 1\nname: b", "p.yaml:3: found the key 'name' again (first on line 1)"),
        ("extra: *base", "p.yaml:1: found *base, but nothing above is marked &base"),
        ("extra: &a [*a]", "p.yaml:1: found *a inside &a"),
        ("extra: !!python/object:os.system x", "p.yaml:1: found the tag"),
        ("extra: {[1]: 2}", "p.yaml:1: found a list as a key"),
        ("extra: {<<: 3}", "p.yaml:1: found no mapping after '<<'"),
        ("extra: \x07", "p.yaml:1: found the control character"),
        ("extra: \ufffe", "p.yaml:1: found a character that YAML does not allow"),
        (b"a: 1\nb: \xff\n", "p.yaml:2: found the byte 0xff, wanted UTF-8 text"),
        ("extra: " + "[" * 5000, "p.yaml:1: nested deeper than 64 levels"),
        (b" " * 1024 * 1024 + b"a: 1", "p.yaml:1: found more than 1024 KiB"),
    ],
)
def test_unreadable_yaml_is_a_mistake_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert complaint(tmp_path, text).startswith(message)


def test_tabs_and_unquoted_references_get_advice(tmp_path: Path) -> None:
    assert complaint(tmp_path, "steps:\n\t- a").endswith("indent with spaces, not with tabs")
    assert complaint(tmp_path, "labels: [${X}]").endswith('put references in quotes, as in "${NAME}"')
    assert complaint(tmp_path, "name: a: b").endswith("put a value that contains ': ' in quotes")
    assert complaint(tmp_path, "name: @a").endswith("put a value that starts with a sign in quotes")


def test_aliases_cannot_multiply_without_bound(tmp_path: Path) -> None:
    levels = [f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert "more than 100000 values" in complaint(tmp_path, "\n".join(["extra:", "  l0: &l0 [x]", *levels]))


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    reading = reader(tmp_path, "")

    assert reading.document(Path("q.yaml")) is None
    assert reading.document(tmp_path) is None
    assert reading.document(Path("no/such.yaml")) is None

    assert [str(mistake) for mistake in reading.mistakes] == [
        "q.yaml:1: found no such file (did you mean 'p.yaml'?)",
        ".:1: found a folder, wanted a YAML file",
        "no/such.yaml:1: found no such file",
    ]


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert reader(tmp_path, b"\xef\xbb\xbfname: x").read(Path("p.yaml"), Pipeline) == Pipeline("x")


# The environment


def test_references_expand_whole_and_in_part(tmp_path: Path) -> None:
    text = """
    name: postgres://${USER}@${HOST:-localhost}/x
    port: "${PORT}"
    debug: ${DEBUG}
    labels: ["${USER}", "$${USER}", "${EMPTY:-none}", "$5"]
    token: ${TOKEN:-}
    """

    pipeline = read(tmp_path, text, USER="ann", PORT="9000", DEBUG="1", EMPTY="")

    assert pipeline.name == "postgres://ann@localhost/x"
    assert (pipeline.port, pipeline.debug, pipeline.token) == (9000, True, None)
    assert pipeline.labels == ["ann", "${USER}", "none", "$5"]


def test_an_unset_variable_is_a_mistake_wherever_it_stands(tmp_path: Path) -> None:
    found = complaints(tmp_path, "name: ${DB_USR}\nmodel: {name: '${NOPE}'}\n", DB_USER="ann")

    assert found == [
        "p.yaml:1: DB_USR is not set (did you mean 'DB_USER'?): set it in the environment or .env, "
        "or write ${DB_USR:-default}",
        "p.yaml:2: NOPE is not set: set it in the environment or .env, or write ${NOPE:-default}",
    ]


@pytest.mark.parametrize("written", ["${", "${}", "${A B}", "${A-b}", "x${A"])
def test_a_broken_reference_is_a_mistake(tmp_path: Path, written: str) -> None:
    assert "found a broken reference" in complaint(tmp_path, f"name: '{written}'")


def test_the_process_wins_over_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export A=file\nB='f${A}le' # why\n\n")

    assert read(tmp_path, "labels: ['${A}', '${B}']", A="process").labels == ["process", "f${A}le"]


def test_a_bad_line_in_dotenv_is_a_mistake_that_does_not_show_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nhunter2 x\n")

    found = complaint(tmp_path, "")

    assert found == ".env:2: found a line that is no assignment, wanted NAME=value"


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TEST_NAME", "ann")
    (tmp_path / "p.yaml").write_text("name: ${HEADRACE_TEST_NAME}")

    assert Reader(tmp_path).read(Path("p.yaml"), Pipeline) == Pipeline("ann")


@pytest.mark.parametrize(
    "text",
    [
        "port: ${X}",
        "port: pre-${X}",
        "colour: ${X}",
        "labels: ${X}",
        "batching: {max_size: '${X}'}",
        "url: ${X}",
        "size: ['${X}']",
        "token: ['${X}']",
        "model: {name: '${X}', versoin: '${X}'}",
        "extra: {? &a '${X}' : 1, *a : 2}",
        "extra: {a: &a '${X}', *a : 2}",
    ],
)
def test_values_from_the_environment_are_never_shown(tmp_path: Path, text: str) -> None:
    found = complaints(tmp_path, text, X="hunter2")

    assert "hunter2" not in "\n".join(found)


def test_a_mistake_shows_the_reference_instead_of_the_value(tmp_path: Path) -> None:
    assert complaint(tmp_path, "port: ${X}", X="hunter2") == (
        "p.yaml:1: port: found the value of ${X}, wanted an integer from 1 to 65535"
    )


def test_owners_messages_lose_what_came_from_the_environment(tmp_path: Path) -> None:
    reading = reader(tmp_path, "name: ${X}\nversion: ${Y}\ndebug: ${Z}", X="hunter2", Y="ab", Z="true")
    pipeline = reading.read(Path("p.yaml"), Pipeline)

    reading.mistake(reading.place(pipeline, "name"), "no model 'hunter2' or 'ab', true; about", key="name")

    assert [str(m) for m in reading.mistakes] == ["p.yaml:1: name: no model '${X}' or '${Y}', true; about"]


def test_secrets_show_nothing_of_themselves(tmp_path: Path) -> None:
    token = read(tmp_path, "token: hunter2").token

    assert token is not None
    assert token.reveal() == "hunter2"
    assert (str(token), repr(token), f"{token}") == ("***", "***", "***")
    assert token == Secret("hunter2") and hash(token) == hash(Secret("hunter2"))
    assert token != "hunter2" and not Secret("")
    assert complaint(tmp_path, "token: true").endswith("found a value that is no text, wanted text (secret) or null")


# Places


def test_later_checks_can_point_at_the_line(tmp_path: Path) -> None:
    reading = reader(tmp_path, "steps:\n  - name: a\n    params:\n      size: 3\n    as: b\nlabels: [x]\n")
    pipeline = reading.read(Path("p.yaml"), Pipeline, {"name": "p"})
    assert pipeline is not None
    step = pipeline.steps[0]

    lines = {
        "steps": reading.place(pipeline, "steps"),
        "first step": reading.place(pipeline.steps, 0),
        "the step": reading.place(step),
        "as": reading.place(step, "as"),
        "as_": reading.place(step, "as_"),
        "size": reading.place(step.params, "size"),
        "absent": reading.place(step, "absent"),
        "replaced": reading.place(reading.adopt(replace(step, name="z"), step), "params"),
    }

    assert {name: place.line for name, place in lines.items()} == {
        "steps": 1,
        "first step": 2,
        "the step": 2,
        "as": 5,
        "as_": 5,
        "size": 4,
        "absent": 2,
        "replaced": 3,
    }
    assert all(place.file == Path("p.yaml") for place in lines.values())


def test_unknown_objects_have_the_place_of_all_files(tmp_path: Path) -> None:
    reading = Reader(tmp_path, {})

    reading.mistake(reading.place(object()), "nothing to serve")

    assert str(reading.mistakes[0]) == "config: nothing to serve"
    assert str(Place(Path("a"), 3)) == "a:3"


def test_a_part_of_a_document_can_be_read_by_itself(tmp_path: Path) -> None:
    reading = reader(tmp_path, "pipeline:\n  port: x\n")
    node = reading.document(Path("p.yaml"))
    assert isinstance(node, MapNode)
    inner = node.get("pipeline")
    assert inner is not None and "pipeline" in node and node.get("other") is None

    assert reading.decode(inner, Pipeline, where="pipeline", defaults={"name": "p"}) is None

    assert [mistake.key for mistake in reading.mistakes] == ["pipeline.port"]
    reading.mistake(inner, "is not wanted here")
    assert reading.mistakes[-1].line == 2


def test_a_mistake_that_is_found_twice_is_raised_once(tmp_path: Path) -> None:
    reading = reader(tmp_path, "port: x")
    for _ in range(2):
        reading.read(Path("p.yaml"), Pipeline, {"name": "p"})

    with pytest.raises(ConfigMistakes) as caught:
        reading.raise_if_any()

    assert len(caught.value.mistakes) == 1


# Spelling and the reference


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("max-sizes", "max_size"),
        ("MAX_SIZE", "max_size"),
        ("nmae", "name"),
        ("zzz", None),
        ("ttl", "ttl_s"),
        ("", None),
    ],
)
def test_the_nearest_word_is_found(word: str, meant: str | None) -> None:
    words = ["max_size", "name", "ttl_s", "version"]

    assert nearest(word, words) == meant
    assert did_you_mean(word, words) == (f" (did you mean {meant!r}?)" if meant else "")


def test_settings_are_described_with_type_default_and_doc() -> None:
    rows = {row.key: row[1:] for row in describe(Pipeline)}

    assert rows["name"] == ("text", "required", "")
    assert rows["version"] == ("text", '"1"', "")
    assert rows["batching"] == ("a mapping (max_size, max_wait_ms) or false", "", "false: no batch axis")
    assert rows["batching.max_size"] == ("an integer or 'auto'", "auto", "rows in a batch")
    assert rows["port"] == ("an integer from 1 to 65535", "8000", "")
    assert rows["steps[].as"] == ("text", "stats", "")
    assert rows["model.path"] == ("a path", "required", "")
    assert rows["size"] == ("a list of 2 (an integer, an integer)", "[8, 8]", "")
    assert rows["colour"] == ("'red' or 'blue'", "red", "")
    assert rows["token"] == ("text (secret) or null", "null", "")
    assert rows["debug"][1] == "false" and rows["weights"][1] == "{}"


@dataclass(frozen=True)
class Tree:
    name: str = ""
    children: Mapping[str, Tree] = field(default_factory=dict)
    first: dict[str, Batching] = field(default_factory=dict)


def test_a_type_that_contains_itself_is_described_once() -> None:
    assert [row.key for row in describe(Tree)] == [
        "name",
        "children",
        "first",
        "first.<name>.max_size",
        "first.<name>.max_wait_ms",
    ]


def test_a_type_that_contains_itself_can_be_read(tmp_path: Path) -> None:
    tree = reader(tmp_path, "{name: a, children: {b: {name: b}}}").read(Path("p.yaml"), Tree)

    assert tree == Tree("a", {"b": Tree("b")})
