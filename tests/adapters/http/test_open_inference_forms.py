"""A request of a known form is read as it would be read as a whole, or not at all."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.http.test_swift import answer_of, request
from tests.services.pipelines import pipeline as made

from headrace.adapters.http.open_inference_forms import LONGEST, MOST, Forms
from headrace.adapters.http.open_inference_requests import LONG, read_json, wanted_outputs
from headrace.adapters.http.open_inference_tensors import to_inputs
from headrace.domain.errors import EngineError
from headrace.domain.pipeline import Pipeline
from headrace.infra.runtimes.echo import EchoModel

PATH = b"/v2/models/double/infer"
ROW = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":%b}]}'


def pipeline(dtype: str = "float32", **spec: Any) -> Pipeline:
    model = EchoModel()
    specs = [{"name": "x", "dtype": dtype, "shape": [-1, -1]}]
    model.load("", {"input_spec": specs, "output_spec": specs})
    return made(model, **spec)


def as_a_whole(body: bytes, asked: Pipeline) -> Any:
    question = read_json(body)
    return question.request, to_inputs(question, asked), wanted_outputs(question, asked)


def knowing(asked: Pipeline, *bodies: bytes) -> Forms:
    forms = Forms()
    for body in bodies:
        said, _, wanted = as_a_whole(body, asked)
        forms.remember(body, said, asked, wanted)
    return forms


def plain(columns: Any) -> Any:
    return {name: (type(column), np.asarray(column).tolist()) for name, column in columns.items()}


NUMBERS = st.lists(st.sampled_from(["0", "1.5", "-2e3", "1e999", "9007199254740993", '"1"', "null", "[1]", "01", ""]))
DATA = st.one_of(
    st.sampled_from(
        ['["a"]b"]', "[1,2]", "[3, 4]", "[[1,2]]", "[[5,6],[7,8]]", "[1]", "[]", "[[]]", "null", "{}", "[1,2", "[1]]"]
    ),
    NUMBERS.map(lambda values: f"[{','.join(values)}]"),
    st.lists(st.text('a"]\\[,', max_size=4), max_size=3).map(json.dumps),
    st.lists(st.floats(-9, 9), min_size=LONG // 4, max_size=LONG // 4).map(json.dumps),
)
KEYS = st.sampled_from(['"data":', '"data": ', '"data" :', '"d\\u0061ta":', '"x\\"data":', '"parameters":'])
SHAPES = st.sampled_from(["[1,2]", "[2,1]", "[2,2]", "[2]", "[1,256]", "[0,2]"])
DATATYPES = st.sampled_from(["FP32", "FP16", "INT64", "BYTES"])
AFTER = st.sampled_from(["", ',"outputs":[{"name":"x"}]', ',"id":"7"', ',"parameters":{}', ',"model_name":"p"'])
FORMS = st.tuples(SHAPES, DATATYPES, KEYS, st.one_of(st.none(), KEYS), AFTER, st.booleans())


def written(form: Any, first: str, second: str) -> bytes:
    shape, datatype, key, again, after, early = form
    values = f"{key}{first}" + (f",{again}{second}" if again is not None else "")
    rest = f'"name":"x","shape":{shape},"datatype":"{datatype}"'
    return ('{"inputs":[{' + (f"{values},{rest}" if early else f"{rest},{values}") + "}]" + after + "}").encode()


@settings(max_examples=400)
@given(
    forms=st.lists(FORMS, min_size=1, max_size=3), data=st.data(), dtype=st.sampled_from(["float32", "int64", "string"])
)
def test_whatever_is_read_is_what_the_whole_says(forms: list[Any], data: st.DataObject, dtype: str) -> None:
    asked, known = pipeline(dtype), Forms()
    for _ in range(8):
        body = written(data.draw(st.sampled_from(forms)), data.draw(DATA), data.draw(DATA))
        quick = known.read(body, asked)
        try:
            said, inputs, wanted = as_a_whole(body, asked)
        except EngineError:
            assert quick is None
            continue
        if quick is not None:
            assert plain(quick[0].columns) == plain(inputs.columns)
            assert (quick[0].rows, list(quick[1])) == (inputs.rows, list(wanted))
        known.remember(body, said, asked, wanted)


@pytest.mark.parametrize(
    "data", [b"[3,4]", b"[[3,4]]", b" [3, 4]", json.dumps([0.25] * 2).encode(), b"[3," + b" " * LONG + b"4]"]
)
def test_other_numbers_in_a_known_form_are_read(data: bytes) -> None:
    asked = pipeline()
    body = ROW % data

    read = knowing(asked, ROW % (b" [1,2]" if data[:1] == b" " else b"[1,2]")).read(body, asked)

    assert read is not None
    assert plain(read[0].columns) == plain(as_a_whole(body, asked)[1].columns)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"7",' + (ROW % b"[1,2]")[1:],
        b'{"parameters":{"priority":1},' + (ROW % b"[1,2]")[1:],
        b'{"model_name":"p",' + (ROW % b"[1,2]")[1:],
        ROW % b'[1,2],"d\\u0061ta":[3,4]',
        ROW % b'[1,2],"data":[1,2]',
        (ROW % b"[1,2]").replace(b'"data"', b'"parameters":{},"data"'),
        b'{"outputs":[{"name":"x","parameters":{"binary_data":true}}],' + b" " * LONGEST + (ROW % b"[1,2]")[1:],
    ],
)
def test_a_form_that_says_more_or_says_it_twice_is_not_remembered(body: bytes) -> None:
    assert len(knowing(pipeline(), body)) == 0


def test_a_bracket_in_a_text_does_not_end_the_data() -> None:
    asked = pipeline("string")
    words = ROW.replace(b"FP32", b"BYTES")

    assert knowing(asked, words % b'["a]b","c"]').read(words % b'["d","e"]b","c"]', asked) is None


def test_pipelines_without_a_batch_axis_have_no_forms() -> None:
    assert len(knowing(pipeline(batching=False), ROW % b"[1,2]")) == 0


def test_a_form_read_for_one_pipeline_is_not_used_for_another() -> None:
    one, other = pipeline(), pipeline()

    assert knowing(one, ROW % b"[1,2]").read(ROW % b"[1,2]", other) is None


def test_clients_cannot_fill_the_memory_with_forms() -> None:
    asked = pipeline()
    forms = knowing(asked, *(b" " * number + ROW % b"[1,2]" for number in range(LONGEST)))

    assert 0 < len(forms) <= MOST


async def test_a_known_form_changes_no_answer(run_server: Any) -> None:
    bodies = [
        ROW % data for data in (b"[1,2]", b"[3,4]", b"[1,null]", b"[1]", b"[5,6", b"[[7,8]]", b"[13,0]", b"[9,9]")
    ]
    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        told = []
        for body in [*bodies, *bodies]:
            writer.write(request(body, path=PATH))
            _, answer = await answer_of(reader)
            told.append(answer["outputs"][0]["data"] if "outputs" in answer else answer["error"])
        writer.close()

    assert told[: len(bodies)] == told[len(bodies) :]
    assert [one for one in told[: len(bodies)] if isinstance(one, list)] == [[2, 4], [6, 8], [14, 16], [18, 18]]
