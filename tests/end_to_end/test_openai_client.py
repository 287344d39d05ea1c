"""Does the official OpenAI client work unchanged with the workspace that the page shows, and the page's own code?"""

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import openai
import pytest
from openai.types import CompletionUsage
from openai.types import completion_create_params as text_params
from openai.types.chat import completion_create_params as chat_params

import headrace
from headrace.adapters.http.app import create_app
from headrace.adapters.http.openai_requests import IGNORED, NEUTRAL, ChatRequest, CompletionRequest
from headrace.adapters.http.serve import serve
from headrace.adapters.http.settings import ApiSettings

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "use-openai-clients.md").read_text()
FILES = re.compile(r"^```(?:python|yaml)\n(# (?P<file>[\w./-]+)\n.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"^```python\n(from openai .*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000/v1"
T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """A server on a free port, and clients of it."""

    url: str

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, **{"api_key": "none", **options})

    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url, api_key="none")

    async def ask(self, question: Callable[[openai.OpenAI], T], **options: Any) -> T:
        """What *question* makes of a synchronous client, in a thread of its own."""

        def work() -> T:
            with self.client(**options) as client:
                return question(client)

        return await asyncio.to_thread(work)


@asynccontextmanager
async def serving(folder: Path, token: str | None = None) -> AsyncIterator[Server]:
    for block in FILES.finditer(PAGE):
        file = folder / block["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block[1])
    (folder / "config" / "main.yaml").write_text("")
    settings = ApiSettings(port=0)
    async with headrace.load(folder) as workspace:
        app = create_app(workspace.inference, workspace.deployments, settings, token=token)
        stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
        done = asyncio.create_task(serve(app, settings, stop, listening.set_result))
        try:
            yield Server(await asyncio.wait_for(listening, 10) + "/v1")
        finally:
            stop.set()
            await done


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as found:
        yield found


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_the_code_of_the_page_prints_what_the_page_says(server: Server) -> None:
    [(script, expected)] = SCRIPT.findall(PAGE)
    printed = io.StringIO()

    def run() -> None:
        scope: dict[str, Any] = {}
        with contextlib.redirect_stdout(printed):
            exec(script.replace(ADDRESS, server.url), scope)
        scope["client"].close()

    assert ADDRESS in script
    await asyncio.to_thread(run)
    assert printed.getvalue() == expected


async def test_models_are_listed_and_found(server: Server) -> None:
    listed, one = await server.ask(
        lambda client: ([model.id for model in client.models.list()], client.models.retrieve("parrot@1"))
    )

    assert listed == [
        "parrot", "parrot@1", "polite-parrot", "polite-parrot@1", "sentences", "sentences@1", "speller", "speller@1",
    ]  # fmt: skip
    assert one.id == "parrot@1"


async def test_embeddings_are_equal_in_either_encoding(server: Server) -> None:
    texts = ["one", "two words", ""]

    def question(client: openai.OpenAI) -> Any:
        create = client.embeddings.create
        unsaid = create(model="sentences", input=texts)  # the client asks for base64 by itself, and unpacks it
        plain = create(model="sentences", input=texts, encoding_format="float")
        short = create(model="sentences", input=texts, dimensions=2)
        return unsaid, plain, short

    unsaid, plain, short = await server.ask(question)

    vectors = [one.embedding for one in unsaid.data]
    assert vectors == [pytest.approx(one.embedding) for one in plain.data]
    assert np.shape(vectors) == (3, 4)
    assert np.linalg.norm([one.embedding for one in short.data], axis=1) == pytest.approx(np.ones(3))
    assert (unsaid.model, unsaid.usage.prompt_tokens) == ("sentences@1", 3)


async def test_completions_come_whole_and_streamed(server: Server) -> None:
    def question(client: openai.OpenAI) -> Any:
        whole = client.completions.create(model="speller", prompt="abc", stop="c-")
        stream = client.completions.create(model="speller", prompt="abc", max_tokens=2, stream=True)
        return whole, list(stream)

    whole, chunks = await server.ask(question)

    assert (whole.choices[0].text, whole.choices[0].finish_reason) == ("a-b-", "stop")
    assert "".join(chunk.choices[0].text for chunk in chunks) == "a-b-"
    assert chunks[-1].choices[0].finish_reason == "length"


async def test_conversations_are_joined_or_handed_over(server: Server) -> None:
    messages = [{"role": "system", "content": "Be kind."}, *said("Hello!")]

    def question(client: openai.OpenAI) -> list[str | None]:
        names = ("parrot", "polite-parrot")
        answers = [client.chat.completions.create(model=name, messages=messages) for name in names]  # type: ignore
        return [answer.choices[0].message.content for answer in answers]

    assert await server.ask(question) == ["system: Be kind.\nuser: Hello!\nassistant:", "Hello!"]


async def test_the_asynchronous_client_streams_with_usage(server: Server) -> None:
    async with server.async_client() as client:
        stream = await client.chat.completions.create(
            model="parrot", messages=said("a b c"), stream=True, stream_options={"include_usage": True}, temperature=0.2
        )
        chunks = [chunk async for chunk in stream]
        vectors = await client.embeddings.create(model="sentences", input="one")

    *spoken, totals = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == "a b c"
    assert spoken[0].choices[0].delta.role == "assistant"
    assert totals.usage == CompletionUsage(prompt_tokens=3, completion_tokens=3, total_tokens=6)
    assert len(vectors.data[0].embedding) == 4


async def test_the_helper_that_gathers_a_stream_works(server: Server) -> None:
    async with (
        server.async_client() as client,
        client.chat.completions.stream(model="parrot", messages=said("a b c")) as stream,
    ):
        done = await stream.get_final_completion()

    assert done.choices[0].message.content == "a b c"
    assert done.choices[0].finish_reason == "stop"


async def test_a_client_that_stops_reading_midway_leaves_the_server_well(server: Server) -> None:
    async with server.async_client() as client:
        stream = await client.chat.completions.create(model="speller", messages=said("a" * 5000), stream=True)
        async for _ in stream:
            break
        await stream.close()
        after = await client.chat.completions.create(model="speller", messages=said("b"))

    assert after.choices[0].message.content == "b-"


@pytest.mark.parametrize(
    ("kind", "param", "question"),
    [
        (openai.NotFoundError, None, lambda client: client.models.retrieve("nope")),
        (openai.NotFoundError, None, lambda client: client.embeddings.create(model="parrot@9", input="a")),
        (openai.BadRequestError, "model", lambda client: client.embeddings.create(model="parrot", input="a")),
        (openai.BadRequestError, "input", lambda client: client.embeddings.create(model="sentences", input=[1])),
        (openai.BadRequestError, "n", lambda client: client.completions.create(model="parrot", prompt="a", n=2)),
        (
            openai.UnprocessableEntityError,
            None,
            lambda client: client.completions.create(model="parrot", prompt="a", max_tokens=2**70),
        ),
        (
            openai.UnprocessableEntityError,
            None,
            lambda client: client.completions.create(model="speller", prompt="1", stream=True),
        ),
    ],
)
async def test_failures_raise_what_the_client_raises_for_openai(
    server: Server, kind: type[openai.APIStatusError], param: str | None, question: Any
) -> None:
    with pytest.raises(kind) as caught:
        await server.ask(question)

    assert caught.value.param == param
    assert caught.value.request_id
    assert caught.value.code and caught.value.type == "invalid_request_error"


async def test_a_failure_in_the_middle_of_a_stream_is_raised_there(server: Server) -> None:
    seen: list[str] = []

    def question(client: openai.OpenAI) -> None:
        for chunk in client.completions.create(model="speller", prompt="ab1", stream=True):
            seen.append(chunk.choices[0].text)

    with pytest.raises(openai.APIError, match="1 is no letter") as caught:
        await server.ask(question)

    assert seen == ["a-", "b-"]
    assert caught.value.code == "invalid_input"


async def test_the_key_of_the_client_is_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path, token="secret") as server:
        with pytest.raises(openai.AuthenticationError):
            await server.ask(lambda client: client.models.list())
        listed = await server.ask(lambda client: client.models.list(), api_key="secret")

    assert len(listed.data) == 8


@pytest.mark.parametrize(("params", "kind"), [(chat_params, ChatRequest), (text_params, CompletionRequest)])
def test_every_parameter_of_the_client_is_known(params: Any, kind: Any) -> None:
    offered = set(params.CompletionCreateParamsBase.__annotations__)

    assert offered - {*kind.__struct_fields__, *IGNORED, *NEUTRAL} == set()
