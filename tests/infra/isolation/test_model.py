"""Does a model in a process of its own answer as one in the server would, and live through the end of its process?"""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.infra.isolation.models import CODE, SPECS, eventually, isolated, state

from headrace.core.telemetry import TraceContext, current
from headrace.domain.batch import Batch
from headrace.domain.errors import (
    EngineError,
    InvalidConfig,
    InvalidInput,
    ModelFailure,
    NotReady,
    Overloaded,
    ProcessDied,
    QuotaExceeded,
)
from headrace.domain.isolation import isolate
from headrace.domain.model import GenerativeModel, ModelAdapter
from headrace.domain.model_call import model_step
from headrace.domain.step import Context
from headrace.infra.isolation import keeper
from headrace.infra.isolation.model import load_isolated


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array([[value] for value in values], dtype="float32")}


def test_it_answers_from_a_process_of_its_own(tmp_path: Path) -> None:
    with isolated(tmp_path, "double") as model:
        answer = model.predict(rows(1, 2))

        assert np.asarray(answer["y"]).tolist() == [[2.0], [4.0]]
        assert state(model)["pid"] not in (None, os.getpid())


def test_columns_of_numbers_are_not_copied_in_the_process_nor_out_of_it(tmp_path: Path) -> None:
    with isolated(tmp_path, "seen") as model:
        answer = np.asarray(model.predict(rows(1))["y"])

        assert answer[0].tolist() == [0.0, float(np.float32(state(model)["pid"]))]
        assert not answer.flags.owndata


def test_answers_that_are_kept_stay_as_they_are(tmp_path: Path) -> None:
    with isolated(tmp_path, "double") as model:
        kept = [model.predict(rows(*range(number, number + 5)))["y"] for number in range(40)]

    for number, answer in enumerate(kept):
        assert np.asarray(answer).ravel().tolist() == [2.0 * value for value in range(number, number + 5)]


def test_a_batch_larger_than_any_before_finds_room(tmp_path: Path) -> None:
    with isolated(tmp_path, "double") as model:
        for size in (1, 1_000, 3_000_000, 2, 4_000_000):
            column = np.arange(size, dtype="float32").reshape(-1, 1)

            assert np.array_equal(np.asarray(model.predict({"x": column})["y"]), column * 2)


def test_columns_of_any_layout_arrive_as_they_are(tmp_path: Path) -> None:
    whole = np.arange(24, dtype="float32").reshape(4, 6)
    with isolated(tmp_path, "double") as model:
        for column in (whole[:, ::2], whole.T, whole[:0], whole[1:2]):
            assert np.array_equal(np.asarray(model.predict({"x": column})["y"]), column * 2)


@pytest.mark.parametrize(
    ("how", "cause"), [("SIGKILL", "killed by SIGKILL"), ("SIGSEGV", "killed by SIGSEGV"), ("exit", "exit code 7")]
)
def test_a_batch_is_tried_again_when_its_process_dies(tmp_path: Path, how: str, cause: str) -> None:
    once = tmp_path / "died"
    with isolated(tmp_path, "ends", options={"how": how, "once": str(once)}) as model:
        answer = model.predict(rows(1, -1))

        assert np.asarray(answer["y"]).tolist() == [[1.0], [-1.0]]
        assert cause in state(model)["last_cause"]
        assert state(model)["restarts"] == 1


def test_a_batch_that_kills_two_processes_has_failed_and_is_not_taken_apart(tmp_path: Path) -> None:
    log = tmp_path / "deaths"
    with isolated(tmp_path, "deaths", options={"log": str(log)}) as model:
        step = model_step(model, batched=True)
        batch = Batch(rows(*range(8)), 8)

        answer = isolate(lambda part: step.run(part, Context()), batch, "the model", pure=True)  # type: ignore[arg-type,return-value]

        assert [line.split()[1] for line in log.read_text().splitlines()] == ["8", "8"]
        assert len(answer.failures) == 8
        assert isinstance(answer.failures[0], ProcessDied)
        assert "model 'net': its process died: killed by SIGSEGV" in answer.failures[0].message
        assert answer.failures[0].code == "model_failure"


def test_the_next_batch_is_answered_after_one_that_kills(tmp_path: Path) -> None:
    with isolated(tmp_path, "ends", options={"how": "SIGABRT"}) as model:
        with pytest.raises(ProcessDied, match="SIGABRT"):
            model.predict(rows(-1))

        assert np.asarray(model.predict(rows(3))["y"]).tolist() == [[3.0]]


def test_a_process_that_dies_while_nobody_asks_is_replaced(tmp_path: Path) -> None:
    with isolated(tmp_path, "double") as model:
        first = state(model)["pid"]

        os.kill(first, signal.SIGKILL)

        eventually(lambda: state(model)["pid"] not in (None, first))
        assert np.asarray(model.predict(rows(1))["y"]).tolist() == [[2.0]]
        assert model.restarts() == {"signal": 1}  # type: ignore[attr-defined]


def test_a_batch_that_hangs_ends_its_process_after_the_stated_time(tmp_path: Path) -> None:
    options, limits = {"how": "hang"}, {"predict_timeout_s": 0.4}
    with isolated(tmp_path, "ends", options=options, process=limits) as model:
        with pytest.raises(ProcessDied, match=r"no answer within 0\.4 s \(process\.predict_timeout_s\)"):
            model.predict(rows(-1))

        assert np.asarray(model.predict(rows(3))["y"]).tolist() == [[3.0]]
        assert model.restarts() == {"timeout": 1}  # type: ignore[attr-defined]


def test_a_process_that_is_stopped_is_ended_like_one_that_hangs(tmp_path: Path) -> None:
    with isolated(tmp_path, "double", process={"predict_timeout_s": 0.4}) as model:
        os.kill(state(model)["pid"], signal.SIGSTOP)

        with pytest.raises(ProcessDied, match="no answer"):
            model.predict(rows(1))


def test_what_it_writes_disturbs_nothing_and_is_kept_within_bounds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with isolated(tmp_path, "talks") as model:
        for _ in range(3):
            assert np.asarray(model.predict(rows(1))["y"]).tolist() == [[1.0]]
        eventually(lambda: "a line" in caplog.text)

    assert max(len(record.getMessage()) for record in caplog.records) <= 500


def test_a_process_that_eats_memory_is_ended(tmp_path: Path) -> None:
    with isolated(tmp_path, "eats", process={"memory_limit_mb": 250}) as model:
        assert np.asarray(model.predict(rows(0))["y"]).tolist() == [[0.0]]

        with pytest.raises(ProcessDied, match=r"MB of memory, more than 250 \(process\.memory_limit_mb\)"):
            model.predict(rows(6))
        assert set(model.restarts()) == {"out_of_memory"}  # type: ignore[attr-defined]


def test_errors_of_the_model_are_what_they_would_be_in_the_server(tmp_path: Path) -> None:
    with isolated(tmp_path, "raises") as model:
        with pytest.raises(ModelFailure) as failure:
            model.predict(rows(1))
        with pytest.raises(InvalidInput) as refused:
            model.predict(rows(2))
        with pytest.raises(QuotaExceeded) as quota:
            model.predict(rows(3))
        with pytest.raises(MemoryError, match="too many rows"):
            model.predict(rows(4))
        with pytest.raises(ModelFailure, match="a mapping of columns"):
            model.predict(rows(5))
        with pytest.raises(ModelFailure, match="object cannot travel"):
            model.predict(rows(6))

        assert failure.value.message == "the model raised ValueError: no such row"
        assert (refused.value.message, refused.value.details) == ("column 'x' is odd", {"row": 1})
        assert quota.value.retry_after_s == 7.5
        assert np.asarray(model.predict(rows(0))["y"]).tolist() == [[0.0]]
        assert state(model)["restarts"] == 0


@pytest.mark.parametrize(
    ("broken", "limits", "kind", "message"),
    [
        ("import os; os._exit(3)", {}, ModelFailure, "did not load: it ended by itself with exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", {}, ModelFailure, "did not load: killed by SIGSEGV"),
        ("import time; time.sleep(600)", {"load_timeout_s": 0.5}, ModelFailure,
         r"did not load within 0\.5 s \(process\.load_timeout_s\)"),
        ("held = bytearray(400_000_000)\nimport time; time.sleep(600)", {"memory_limit_mb": 200}, ModelFailure,
         "more than 200"),
        ("import no_such_module", {}, InvalidConfig, "no_such_module"),
        ("raise SystemExit(4)", {}, InvalidConfig, "SystemExit: 4"),
        ("import os; os.closerange(3, 100)\nimport time; time.sleep(600)", {"load_timeout_s": 0.5}, ModelFailure,
         "did not load within"),
    ],
)  # fmt: skip
def test_a_process_that_does_not_load_says_why(
    tmp_path: Path, broken: str, limits: dict[str, float], kind: type[EngineError], message: str
) -> None:
    before = psutil.Process().children()

    with pytest.raises(kind, match=message) as caught, isolated(tmp_path, "double", broken, process=limits):
        pass

    assert "model 'net'" in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert psutil.Process().children() == before


def test_a_coroutine_is_refused(tmp_path: Path) -> None:
    code = "async def predict(x): return {'y': x}"

    refused = pytest.raises(InvalidConfig, match="isolation: found 'process' for a model that is awaited")
    with refused, isolated(tmp_path, "predict", code):
        pass


def test_a_model_that_cannot_start_again_is_not_ready_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE_S", 0.1)
    with isolated(tmp_path, "double") as model:
        (tmp_path / "net.py").write_text("import no_such_module")
        os.kill(state(model)["pid"], signal.SIGKILL)

        with pytest.raises(NotReady, match=r"cannot be started again: .*no_such_module") as refused:
            while True:
                model.predict(rows(1))
        (tmp_path / "net.py").write_text(CODE)
        eventually(lambda: state(model)["pid"] is not None and _answers(model))

        assert refused.value.retry_after_s >= 1.0
        assert model.restarts()["refused"] >= 1  # type: ignore[attr-defined]


def _answers(model: ModelAdapter) -> bool:
    try:
        return np.asarray(model.predict(rows(1))["y"]).tolist() == [[2.0]]
    except NotReady:
        return False


def test_an_artefact_with_other_columns_does_not_take_the_place_of_the_one_that_was_loaded(tmp_path: Path) -> None:
    code = "def double(x): return {'y': x}\ndef get(): pass\n"
    with isolated(tmp_path, "double", code, input_spec=None) as model:
        (tmp_path / "net.py").write_text("def double(z): return {'y': z}")
        os.kill(state(model)["pid"], signal.SIGKILL)

        with pytest.raises(NotReady, match="other columns than before"):
            while True:
                model.predict({"x": [1.0]})


def test_other_code_does_not_take_the_place_of_the_one_that_was_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE_S", 0.1)
    (tmp_path / "factor.py").write_text("FACTOR = 2\n")
    code = "import numpy as np\nfrom .factor import FACTOR\ndef f(x): return {'y': np.asarray(x) * FACTOR}\n"
    with isolated(tmp_path, "f", code) as model:
        (tmp_path / "factor.py").write_text("FACTOR = 3\n")
        os.kill(state(model)["pid"], signal.SIGKILL)

        with pytest.raises(NotReady, match="its code is not the one that was loaded any more; reload the model"):
            while True:
                model.predict(rows(1))
        (tmp_path / "factor.py").write_text("FACTOR = 2\n")
        eventually(lambda: _answers(model))


def test_an_artefact_that_changes_while_it_is_loaded_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    config = {"name": "net", "root": str(tmp_path), "path": "net.py:double", **SPECS}

    with pytest.raises(ModelFailure, match="did not load: its artefact is not the one that was loaded any more"):
        load_isolated("python", "net.py:double", config, unchanged=lambda: False)


def test_each_instance_is_a_process_and_all_work_at_the_same_time(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    with isolated(tmp_path, "together", instances=2, options={"folder": str(here)}) as model:
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(model.predict, [rows(1), rows(2)]))

        assert [np.asarray(answer["y"]).tolist() for answer in answers] == [[[2.0]], [[2.0]]]
        assert model.own_processes == 2
        assert {state(model, number)["pid"] for number in (0, 1)} == {int(file.name) for file in here.iterdir()}


def test_closing_ends_the_processes_and_leaves_nothing(tmp_path: Path) -> None:
    before, shared, open_files = psutil.Process().children(), set(Path("/dev/shm").iterdir()), _open_files()

    with isolated(tmp_path, "double", instances=2) as model:
        pids = [state(model, number)["pid"] for number in (0, 1)]
        model.predict(rows(1))

    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert psutil.Process().children() == before
    assert set(Path("/dev/shm").iterdir()) <= shared
    assert _open_files() <= open_files
    with pytest.raises(NotReady):
        model.predict(rows(1))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_process_that_hangs_does_not_hold_up_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "END_S", 0.2)
    with isolated(tmp_path, "ends", options={"how": "hang"}) as model, ThreadPoolExecutor(1) as threads:
        pid = state(model)["pid"]
        asked = threads.submit(model.predict, rows(-1))
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING)
        began = time.monotonic()

        model.close()

        assert time.monotonic() - began < 5.0
        with pytest.raises(NotReady):
            asked.result()


def test_signals_that_stop_a_server_leave_its_models_to_it(tmp_path: Path) -> None:
    with isolated(tmp_path, "double") as model:
        pid = state(model)["pid"]

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)

        assert np.asarray(model.predict(rows(1))["y"]).tolist() == [[2.0]]
        assert state(model)["pid"] == pid


TEXTS = {"text": ["one two three"]}


def echo(**config: object) -> ModelAdapter:
    return load_isolated("echo", "", {"name": "echo", **config})


def words(model: ModelAdapter) -> list[str]:
    assert isinstance(model, GenerativeModel)
    return [chunk["text"][0] for chunk in model.generate(TEXTS, None)]  # type: ignore[union-attr]


def test_chunks_are_those_that_the_model_generates() -> None:
    model = echo()
    try:
        assert words(model) == ["one", " two", " three"]
        assert words(model) == ["one", " two", " three"]
    finally:
        model.close()


def test_who_leaves_before_the_last_chunk_leaves_the_process_to_others() -> None:
    model = echo()
    try:
        assert isinstance(model, GenerativeModel)
        chunks = model.generate(TEXTS, None)
        next(chunks)  # type: ignore[arg-type]
        with pytest.raises(Overloaded, match="one in each process"):
            words(model)
        chunks.close()  # type: ignore[union-attr]

        assert words(model) == ["one", " two", " three"]
        assert model.predict(TEXTS) == TEXTS
        assert state(model)["restarts"] == 0
    finally:
        model.close()


def test_a_process_that_dies_while_it_generates_fails_that_answer_alone() -> None:
    model = echo()
    try:
        assert isinstance(model, GenerativeModel)
        chunks = model.generate(TEXTS, None)
        next(chunks)  # type: ignore[arg-type]
        os.kill(state(model)["pid"], signal.SIGKILL)

        with pytest.raises(ProcessDied, match="SIGKILL"):
            list(chunks)  # type: ignore[arg-type]
        assert words(model) == ["one", " two", " three"]
    finally:
        model.close()


def test_an_error_amid_chunks_is_the_models_own() -> None:
    model = echo(options={"fail_on": "two"})
    try:
        with pytest.raises(ModelFailure, match="asked to fail on 'two'"):
            words(model)
        assert state(model)["restarts"] == 0
    finally:
        model.close()


def test_calls_of_a_model_to_others_carry_the_trace_of_its_batch(tmp_path: Path) -> None:
    code = (
        "from headrace.core.telemetry import outgoing\n\n\n"
        "def whose(x):\n"
        "    trace = outgoing().get('traceparent', '00-0-0-00').split('-')[1]\n"
        "    return {'y': x * 0 + int(trace, 16) % 1000}\n"
    )
    with isolated(tmp_path, "whose", code) as model:
        token = current.set(TraceContext(7000 + 123, 5, ""))
        traced = model.predict(rows(1))["y"]
        current.reset(token)
        other = model.predict(rows(1))["y"]

    assert [float(np.asarray(y).ravel()[0]) for y in (traced, other)] == [123.0, 0.0]
