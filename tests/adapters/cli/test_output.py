"""Do values become the JSON that the other doors would give, in a form that a person can read?"""

import json

import numpy as np

from headrace.adapters.cli.output import json_line, json_text, outcome_data
from headrace.domain.errors import InvalidInput


def test_arrays_and_bytes_become_json() -> None:
    row = {"x": np.array([0.1, 2], np.float32), "n": np.int64(7), "raw": b"ab", "s": np.array(["a"], object)}

    assert json_line(row) == '{"x":[0.1,2.0],"n":7,"raw":{"base64":"YWI="},"s":["a"]}'


def test_text_for_people_is_the_same_json() -> None:
    row = {"scores": np.arange(200) / 7, "names": ["a" * 60, "b" * 60], "small": {"k": [1, 2]}, "none": []}

    text = json_text(row)

    assert json.loads(text) == json.loads(json_line(row))
    assert max(map(len, text.splitlines())) <= 100
    assert '  "small": {"k": [1, 2]},' in text.splitlines()


def test_a_failed_row_is_an_error_in_its_place() -> None:
    failed = outcome_data(InvalidInput("no picture", details={"column": "image"}))

    assert failed == {
        "error": {"code": "invalid_input", "message": "no picture", "details": {"column": "image"}},
    }
    assert outcome_data({"x": 1}) == {"x": 1}
