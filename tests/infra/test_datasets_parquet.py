"""Parquet: numbers without copies, every type that is kept comes through untouched, and one type for each column."""

import datetime
import decimal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.errors import InvalidInput
from headrace.domain.ports import Chunk, TableSink, Wanted
from headrace.domain.tensors import ANYTHING, BYTES, NUMBER, TEXT, TensorSpec, to_column
from headrace.infra.storage import arrow_columns
from headrace.infra.storage.datasets import LocalTables

FLOAT = TensorSpec("float32", (-1,), "x")
VECTOR = TensorSpec("float32", (-1, -1), "x")
TABLES = LocalTables()


def saved(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def chunks_of(path: Path, keep: Sequence[str] = (), rows: int = 1000, **specs: TensorSpec) -> list[Chunk]:
    table = TABLES.open(str(path))
    try:
        return list(table.chunks([Wanted(name, name, spec) for name, spec in specs.items()], keep, rows))
    finally:
        table.close()


def read(path: Path, keep: Sequence[str] = (), **specs: TensorSpec) -> Chunk:
    (chunk,) = chunks_of(path, keep, **specs)
    return chunk


def sink(path: Path, kept: Sequence[str] = (), **specs: TensorSpec) -> TableSink:
    return TABLES.create(str(path), kept, specs)


def published(made: TableSink, path: Path) -> pa.Table:
    made.finish()
    made.publish()
    return pq.read_table(path)


# Reading.


def test_numbers_are_views_of_the_memory_that_was_read() -> None:
    values = pa.array(np.arange(10, dtype=np.float32))[2:7]

    column, problems = arrow_columns.to_column(values, FLOAT, pa)

    assert isinstance(column, np.ndarray) and not column.flags.owndata
    assert column.tolist() == [2, 3, 4, 5, 6]
    assert problems == {}


numeric = st.sampled_from(["bool", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64"])


@settings(max_examples=80, deadline=None)
@given(dtype=numeric, rows=st.integers(0, 6), shape=st.lists(st.integers(1, 3), max_size=2), start=st.integers(0, 6))
def test_arrays_come_back_as_they_went(dtype: str, rows: int, shape: list[int], start: int) -> None:
    array = (np.arange(rows * int(np.prod(shape))) % 2).astype(dtype).reshape(rows, *shape)
    spec = TensorSpec(dtype, (-1, *shape))

    values = arrow_columns.to_arrow("x", array, arrow_columns.type_of(array, spec, pa), pa)
    column, problems = arrow_columns.to_column(values[start:], spec, pa)

    assert isinstance(column, np.ndarray)
    assert column.dtype == array.dtype and problems == {}
    assert np.array_equal(column, array[start:])


def test_lists_are_a_matrix_where_they_are_of_one_length_else_arrays(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.parquet", x=pa.array([[1, 2], [3, 4]], pa.list_(pa.float32())))
    uneven = saved(tmp_path / "u.parquet", x=pa.array([[1], [], [2, 3]], pa.list_(pa.float32())))

    assert np.array_equal(read(path, x=VECTOR).columns["x"], [[1, 2], [3, 4]])
    assert [row.tolist() for row in read(uneven, x=VECTOR).columns["x"]] == [[1], [], [2, 3]]


def test_text_bytes_categories_and_decimals_are_read(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "t.parquet",
        text=pa.array(["a", "b"], pa.large_string()),
        category=pa.array(["u", "v"]).dictionary_encode(),
        raw=pa.array([b"1", b"2"]),
        price=pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.25")]),
        thing=pa.array([{"a": 1}, {"a": None}]),
    )

    chunk = read(path, text=TEXT, category=TEXT, raw=BYTES, price=FLOAT, thing=ANYTHING)

    assert chunk.columns["text"] == ["a", "b"]
    assert chunk.columns["category"] == ["u", "v"]
    assert chunk.columns["raw"] == [b"1", b"2"]
    assert to_column(chunk.columns["price"], FLOAT).tolist() == [1.5, 2.25]  # type: ignore[union-attr]
    assert chunk.columns["thing"] == [{"a": 1}, {"a": None}]


def test_a_null_fails_its_row_alone_and_is_the_default_of_an_optional_column(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "t.parquet",
        x=pa.array([1, None, 3], pa.float32()),
        text=["a", "b", "c"],
        n=pa.array([7, 8, None], pa.int64()),
    )
    optional = TensorSpec("int64", (-1,), "n", 5, True)

    chunk = read(path, ["text"], x=FLOAT, n=optional)

    assert chunk.columns["x"].tolist() == [1, 3]  # type: ignore[union-attr]
    assert chunk.columns["n"] == [7, 5]
    assert chunk.kept["text"].to_pylist() == ["a", "c"]  # type: ignore[union-attr]
    assert list(chunk.numbers) == [1, 3]
    assert chunk.unreadable[2].error.message == "column 'x' is null, and float32 is wanted"
    assert chunk.unreadable[2].original == {"x": None, "n": 8, "text": "b"}


def test_gaps_in_an_optional_column_of_floats_are_nan(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.parquet", x=pa.array([1, None, 3], pa.float64()))

    column = read(path, x=TensorSpec("number", (-1,), "x", None, True)).columns["x"]

    assert np.array_equal(column, [1, np.nan, 3], equal_nan=True)


@pytest.mark.parametrize(
    ("values", "spec", "told"),
    [(["a"], FLOAT, "holds string where float32"), ([1.0], TEXT, "holds double where string"),
     (["a"], BYTES, "holds string where bytes"), ([[datetime.date.today()]], NUMBER, "where number is wanted")],
)  # fmt: skip
def test_a_column_of_the_wrong_type_is_told_before_any_row_is_read(
    tmp_path: Path, values: list[Any], spec: TensorSpec, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        read(saved(tmp_path / "t.parquet", x=values), x=spec)


def test_what_is_no_parquet_or_has_two_columns_of_one_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("x,y\n1,2\n")
    pq.write_table(pa.table([[1], [2]], names=["x", "x"]), tmp_path / "twice.parquet")

    with pytest.raises(InvalidInput, match="is no Parquet file"):
        TABLES.open(str(tmp_path / "text.parquet"))
    with pytest.raises(InvalidInput, match="several columns named 'x'"):
        TABLES.open(str(tmp_path / "twice.parquet"))


def test_large_rows_make_small_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.infra.storage.parquet_files.LARGEST_CHUNK", 100_000)
    random = np.random.default_rng(1)
    path = saved(tmp_path / "t.parquet", raw=[random.bytes(1000) for _ in range(1024)], x=range(1024))

    assert max(len(chunk.numbers) for chunk in chunks_of(path, rows=1024, raw=BYTES)) <= 100
    assert len(chunks_of(path, rows=1024, x=FLOAT)) == 1


# Writing.


def test_types_are_those_of_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    made = sink(path, y=TensorSpec("float32", (-1, 3)), label=TEXT, top=ANYTHING, boxes=VECTOR, count=ANYTHING)

    made.write(
        {
            "y": np.zeros((2, 3), np.float32),
            "label": ["a", "b"],
            "top": [{"name": "a"}, {"name": "b", "p": 1.5}],
            "boxes": [np.zeros(1, np.float32), np.zeros(4, np.float32)],
            "count": [1, None],
        },
        {},
    )

    schema = {field.name: str(field.type) for field in published(made, path).schema}
    assert schema == {
        "y": "fixed_size_list<element: float>[3]",
        "label": "string",
        "top": "string",
        "boxes": "list<element: float>",
        "count": "int64",
    }
    assert pq.read_table(path)["top"].to_pylist() == ['{"name":"a"}', '{"name":"b","p":1.5}']


def test_kept_columns_of_any_type_pass_untouched(tmp_path: Path) -> None:
    columns = {
        "when": pa.array([datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * 3, pa.timestamp("us", "UTC")),
        "price": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("3.25")], pa.decimal128(9, 2)),
        "tags": pa.array([["a"], [], None]),
        "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
    }
    source, path = saved(tmp_path / "in.parquet", x=[1.0, 2.0, 3.0], **columns), tmp_path / "out.parquet"
    chunk = read(source, list(columns), x=FLOAT)
    made = sink(path, list(columns), y=FLOAT)

    made.write({"y": np.array([1, 3], np.float32)}, chunk.kept, [0, 2])

    written = published(made, path).select(list(columns))
    assert written.to_pylist() == pa.table(columns).take([0, 2]).to_pylist()
    assert written.schema.equals(pq.read_table(source, columns=list(columns)).schema)


def test_a_later_row_of_another_type_is_told(tmp_path: Path) -> None:
    made = sink(tmp_path / "out.parquet", y=ANYTHING)
    made.write({"y": [1, 2]}, {})

    with pytest.raises(InvalidInput, match=r"column 'y' began as int64.*JSON lines"):
        made.write({"y": ["three"]}, {})
    made.abandon()


def test_small_writes_become_large_row_groups(tmp_path: Path) -> None:
    made = sink(tmp_path / "out.parquet", y=FLOAT)
    for _ in range(100):
        made.write({"y": np.zeros(1000, np.float32)}, {})

    published(made, tmp_path / "out.parquet")

    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 2


def test_without_pyarrow_the_answer_names_what_to_install(tmp_path: Path) -> None:
    probe = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from headrace.infra.storage.datasets import LocalTables\n"
        "LocalTables().create(sys.argv[1] + '/t.csv', (), {}).abandon()\n"
        "try: LocalTables().open(sys.argv[1] + '/t.parquet')\n"
        "except Exception as error: print(error.code, error.message)\n"
    )

    told = subprocess.run([sys.executable, "-c", probe, str(tmp_path)], capture_output=True, text=True, check=True)

    assert told.stdout.startswith("invalid_config")
    assert "pip install 'headrace[parquet]'" in told.stdout
