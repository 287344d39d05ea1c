"""One HTTP connection to a server on a real port, kept open whatever the server answers."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.contracts.open_inference.echoes import Served

from headrace.adapters.http.serve import serve
from headrace.adapters.http.settings import ApiSettings

HEAD = "inference-header-content-length"


@dataclass(frozen=True)
class Line:
    """The connection."""

    connection: http.client.HTTPConnection

    async def post(self, path: str, body: bytes, head: str | None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one answer; the connection must be the one that was there before."""
        headers = {} if head is None else {HEAD: head}

        def exchange() -> tuple[int, bytes]:
            before = self.connection.sock
            self.connection.request("POST", path, body, {"content-type": "application/octet-stream", **headers})
            answer = self.connection.getresponse()
            told = answer.read()
            assert before is None or self.connection.sock is before, "the connection was closed"
            return answer.status, told

        status, told = await asyncio.to_thread(exchange)
        return status, json.loads(told)


@asynccontextmanager
async def opened(served: Served) -> AsyncIterator[Line]:
    """A line to *served*, which listens on a free port for as long."""
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    done = asyncio.create_task(serve(served.app, ApiSettings(port=0), stop, listening.set_result))
    url = await asyncio.wait_for(listening, 10)
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    yield Line(connection)
    connection.close()
    stop.set()
    await done
