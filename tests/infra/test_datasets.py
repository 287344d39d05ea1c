"""What is written to a table is what is read from it, in every format; a row that cannot be read fails alone."""

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.errors import InvalidInput, InvalidRequest, NotFound
from headrace.domain.ports import Chunk, Wanted
from headrace.domain.tensors import ANYTHING, BYTES, NUMBER, TEXT, TensorSpec, to_column
from headrace.infra.storage.datasets import LocalTables

FLOAT = TensorSpec("float32", (-1,), "x")
WHOLE = TensorSpec("int64", (-1,), "n")
TABLES = LocalTables()
FORMATS = ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"]


def wanted(**specs: TensorSpec) -> list[Wanted]:
    return [Wanted(name, name, spec) for name, spec in specs.items()]


def chunks_of(path: Path, keep: Sequence[str] = (), rows: int = 1000, **specs: TensorSpec) -> list[Chunk]:
    table = TABLES.open(str(path))
    try:
        return list(table.chunks(wanted(**specs), keep, rows))
    finally:
        table.close()


def read(path: Path, keep: Sequence[str] = (), **specs: TensorSpec) -> Chunk:
    (chunk,) = chunks_of(path, keep, **specs)
    return chunk


def values(column: Any) -> list[Any]:
    listed: list[Any] = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    return [item.tolist() if isinstance(item, np.ndarray | np.generic) else item for item in listed]


def problems(chunk: Chunk) -> dict[int, str]:
    return {number: row.error.message for number, row in chunk.unreadable.items()}


def write(path: Path, columns: Mapping[str, Any], specs: Mapping[str, TensorSpec], **kept: Any) -> None:
    sink = TABLES.create(str(path), list(kept), specs)
    sink.write(columns, kept)
    sink.finish()
    sink.publish()


def csv(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jsonl(tmp_path: Path, *lines: str | bytes) -> Path:
    path = tmp_path / "table.jsonl"
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


# Round trips.

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
rows_of = st.lists(st.tuples(texts, floats, st.integers(-(2**63), 2**63 - 1)), max_size=30)


@pytest.mark.parametrize("ending", FORMATS)
@settings(max_examples=40, deadline=None)
@given(rows=rows_of, at_once=st.integers(1, 40))
def test_what_is_written_is_read_again(ending: str, rows: list[tuple[str, float, int]], at_once: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"table.{ending}"
        columns = {"x": np.array([row[1] for row in rows], np.float32), "n": np.array([row[2] for row in rows], "i8")}
        write(path, columns, {"x": FLOAT, "n": WHOLE}, key=[row[0] for row in rows])

        chunks = chunks_of(path, ["key"], at_once, x=FLOAT, n=WHOLE)

    found = [
        row
        for chunk in chunks
        for row in zip(
            values(chunk.kept["key"]),
            values(to_column(chunk.columns["x"], FLOAT)),
            values(to_column(chunk.columns["n"], WHOLE)),
            strict=True,
        )
    ]
    assert found == [(key, np.float32(x), n) for key, x, n in rows]
    assert [number for chunk in chunks for number in chunk.numbers] == list(range(1, len(rows) + 1))
    assert all(len(chunk.numbers) <= at_once for chunk in chunks)
    assert chunks[-1].read == 1


@pytest.mark.parametrize("ending", FORMATS)
def test_nested_answers_survive_as_far_as_the_format_goes(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table.{ending}"
    top = [{"name": "a", "p": 0.5}, {"name": "b", "p": 0.25}]
    matrix = np.array([[1.5, 2.5], [3.0, 0.1]], np.float32)
    specs = {"top": ANYTHING, "matrix": TensorSpec("float32", (-1, 2))}

    write(path, {"top": top, "matrix": matrix}, specs)

    chunk = read(path, top=ANYTHING, matrix=TensorSpec("float32", (-1, 2), "matrix"))
    tops = values(chunk.columns["top"])
    assert [json.loads(one) if isinstance(one, str) else one for one in tops] == top
    assert np.array_equal(to_column(chunk.columns["matrix"], specs["matrix"]), matrix)


@pytest.mark.parametrize("ending", FORMATS)
def test_an_empty_table_has_columns_and_no_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table.{ending}"

    write(path, {"x": []}, {"x": FLOAT}, key=[])

    chunk = read(path, ["key"], x=FLOAT)
    assert len(chunk.numbers) == len(chunk.kept["key"]) == len(chunk.columns["x"]) == 0
    table = TABLES.open(str(path))
    table.close()
    assert table.columns == (None if "jsonl" in ending else ["key", "x"])


def test_numbers_that_json_does_not_have_are_null_there_and_written_out_in_csv(tmp_path: Path) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.1], np.float32)
    for ending in ("csv", "jsonl"):
        write(tmp_path / f"odd.{ending}", {"x": odd}, {"x": FLOAT})

    assert (tmp_path / "odd.csv").read_text() == "x\nnan\ninf\n-inf\n0.1\n"
    assert (tmp_path / "odd.jsonl").read_text().splitlines()[:2] == ['{"x":null}', '{"x":null}']
    assert np.array_equal(read(tmp_path / "odd.csv", x=FLOAT).columns["x"][:3], odd[:3], equal_nan=True)


# CSV.


def test_a_byte_order_mark_windows_lines_and_quoted_line_ends_are_no_trouble(tmp_path: Path) -> None:
    path = csv(tmp_path, '\ufeffx,text\r\n1,"two\r\nlines"\r\n\r\n2,"a ""word"", and more"\r\n')

    chunk = read(path, x=FLOAT, text=TEXT)

    assert values(chunk.columns["text"]) == ["two\r\nlines", 'a "word", and more']
    assert chunk.numbers == range(1, 3)


@pytest.mark.parametrize(
    ("cell", "found"),
    [("1", 1.0), (" 2.5 ", 2.5), ("-1e3", -1000.0), ("inf", math.inf), ("1_0", None), ("٣", None), ("", None),
     ("0x10", None), ("1,5", None), ("one", None), ("true", None)],
)  # fmt: skip
def test_floats_are_read_strictly(tmp_path: Path, cell: str, found: float | None) -> None:
    chunk = read(csv(tmp_path, f'x\n0\n"{cell}"\n7\n'), x=FLOAT)

    assert values(chunk.columns["x"]) == [0.0, *([] if found is None else [found]), 7.0]
    if found is None:
        assert list(chunk.unreadable) == [2]
        assert "column 'x' is " in problems(chunk)[2]
        assert chunk.unreadable[2].original == {"x": cell}


@pytest.mark.parametrize(
    ("cell", "found"),
    [("1", 1), ("-7", -7), ("3.0", 3), ("9007199254740993.0", 9007199254740993), ("1.5", None), ("1e999999999", None),
     ("nan", None), ("1_000", None), ("", None), ("99999999999999999999", 99999999999999999999)],
)  # fmt: skip
def test_integers_are_read_strictly_and_lose_no_digit(tmp_path: Path, cell: str, found: int | None) -> None:
    chunk = read(csv(tmp_path, f'n\n0\n"{cell}"\n'), n=WHOLE)

    assert values(chunk.columns["n"]) == [0, *([] if found is None else [found])]


def test_other_types_are_read_from_their_cells(tmp_path: Path) -> None:
    path = csv(tmp_path, 'flag,raw,vector,any,number\nTrue,aGk=,"[1, 2]",5,1.5\n0,,"[3, 4]",,2\nmaybe,!,[,x,y\n')
    specs = {
        "flag": TensorSpec("bool", (-1,)), "raw": BYTES, "vector": TensorSpec("float32", (-1, 2)),
        "any": ANYTHING, "number": NUMBER,
    }  # fmt: skip

    chunk = read(path, **specs)

    assert {name: values(column) for name, column in chunk.columns.items()} == {
        "flag": [True, False],
        "raw": [b"hi", b""],
        "vector": [[1, 2], [3, 4]],
        "any": ["5", ""],
        "number": [1.5, 2],
    }
    assert list(chunk.unreadable) == [3]


def test_an_empty_cell_is_the_default_of_an_optional_column(tmp_path: Path) -> None:
    optional = TensorSpec("float32", (-1,), "x", 0.5, True)

    chunk = read(csv(tmp_path, "x,y\n1,a\n,b\n3,c\n"), x=optional)

    assert values(chunk.columns["x"]) == [1.0, 0.5, 3.0]


def test_a_row_of_the_wrong_length_or_with_bad_quoting_fails_alone(tmp_path: Path) -> None:
    chunk = read(csv(tmp_path, 'x,y\n1,a\n2\n3,"b"c\n4,d\n5,e,f\n6,g\n'), ["y"], x=FLOAT)

    assert values(chunk.columns["x"]) == [1.0, 4.0, 6.0]
    assert values(chunk.kept["y"]) == ["a", "d", "g"]
    assert list(chunk.numbers) == [1, 4, 6]
    assert problems(chunk) == {
        2: "the row has 1 cells; the header names 2",
        3: "line 4 is no CSV: ',' expected after '\"'",
        5: "the row has 3 cells; the header names 2",
    }
    assert chunk.original(1) == {"x": "4", "y": "d"}


def test_bytes_that_are_no_utf8_fail_their_row_alone(tmp_path: Path) -> None:
    chunk = read(csv(tmp_path, b"text,x\ngood,1\nb\xe4d,2\nfine,3\n"), text=TEXT, x=FLOAT)

    assert values(chunk.columns["text"]) == ["good", "fine"]
    assert problems(chunk) == {2: "column 'text' is not UTF-8"}
    assert chunk.unreadable[2].original == {"text": "b\ufffdd", "x": "2"}


def test_many_blank_lines_do_not_end_a_table(tmp_path: Path) -> None:
    chunk = read(csv(tmp_path, "x\n1\n" + "\n" * 500 + "2\n"), x=FLOAT)

    assert values(chunk.columns["x"]) == [1.0, 2.0]


def test_a_quote_that_is_never_closed_is_told_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a quote is opened and never closed"):
        read(csv(tmp_path, 'x,y\n1,"a\n2,b\n3,c\n'), x=FLOAT)


@pytest.mark.parametrize(
    ("text", "told"), [("", "is empty"), ("\n\n", "is empty"), ("x,x\n1,2\n", "several columns named 'x'")]
)
def test_a_header_that_names_no_columns_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        TABLES.open(str(csv(tmp_path, text)))


# JSON lines.


def test_a_bad_line_fails_alone(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, b'\xef\xbb\xbf{"x": 1}\r', '{"x": 2', "[3]", "", '{"y": 4}', b'{"x": "\xff"}', "[" * 5000, '{"x": 7}'
    )

    chunk = read(path, x=FLOAT)

    assert values(chunk.columns["x"]) == [1, 7]
    assert list(chunk.numbers) == [1, 7]
    assert sorted(chunk.unreadable) == [2, 3, 4, 5, 6]
    assert problems(chunk)[2].startswith("line 2 is no JSON: ")
    assert problems(chunk)[3] == "line 3 is no JSON object with the names of columns and their values"
    assert problems(chunk)[4] == "the row lacks 'x'; it has: y"
    assert chunk.unreadable[2].original == '{"x": 2'
    assert chunk.unreadable[4].original == {"y": 4}


def test_missing_values_of_optional_columns_and_bytes_are_as_in_a_request(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, '{"raw": {"base64": "aGk="}, "key": 1}', '{"raw": {"base64": "!"}}', '{"raw": "text", "x": 2}'
    )
    optional = TensorSpec("float32", (-1,), "x", 0.5, True)

    chunk = read(path, ["key"], raw=BYTES, x=optional)

    assert chunk.columns == {"raw": [b"hi", "text"], "x": [0.5, 2]}
    assert values(chunk.kept["key"]) == [1, None]
    assert problems(chunk) == {2: "column 'raw' is not valid base64"}


def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.infra.storage.jsonl_files.LARGEST_LINE", 100)
    path = jsonl(tmp_path, '{"x": 1}', '{"x": "' + "a" * 1000 + '"}', '{"x": 3}')

    chunk = read(path, x=ANYTHING)

    assert values(chunk.columns["x"]) == [1, 3]
    assert list(chunk.unreadable) == [2]


# Files.


@pytest.mark.parametrize("name", ["table.csv.gz", "table.jsonl.gz"])
def test_a_compressed_file_that_is_cut_off_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"".join(b'{"x":%d}\n' % n for n in range(100_000)))[:-20_000])

    with pytest.raises(InvalidInput, match="damaged or cut off"):
        chunks_of(path, **({} if "csv" in name else {"x": FLOAT}))


@pytest.mark.parametrize("ending", FORMATS)
def test_a_missing_file_is_told(tmp_path: Path, ending: str) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        TABLES.open(str(tmp_path / f"none.{ending}"))


@pytest.mark.parametrize("ending", FORMATS)
def test_a_folder_is_no_table(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"folder.{ending}").mkdir()

    with pytest.raises(InvalidRequest, match="cannot be read: "):
        TABLES.open(str(tmp_path / f"folder.{ending}"))


def test_a_name_without_a_known_end_is_told_with_the_nearest() -> None:
    with pytest.raises(InvalidRequest, match=r"'\.parqet' is none; did you mean '\.parquet'"):
        TABLES.open("table.parqet")
    with pytest.raises(InvalidRequest, match="a name without an end"):
        TABLES.open("table")


def test_large_rows_make_small_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.infra.storage.csv_files.LARGEST_CHUNK", 10_000)
    monkeypatch.setattr("headrace.infra.storage.jsonl_files.LARGEST_CHUNK", 10_000)
    path = csv(tmp_path, "text\n" + ("a" * 1000 + "\n") * 1000)
    lines = jsonl(tmp_path, *(['{"text": "' + "a" * 1000 + '"}'] * 100))

    assert max(len(chunk.numbers) for chunk in chunks_of(path, rows=10_000, text=TEXT)) <= 128
    assert max(len(chunk.numbers) for chunk in chunks_of(lines, rows=10_000, text=TEXT)) <= 11
