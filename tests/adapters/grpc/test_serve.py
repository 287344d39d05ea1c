"""How does the door open and close: access, health, ports, and the end of the server?"""

import asyncio
import socket
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.adapters.grpc.calls import Failure, Running, request, running
from tests.adapters.http.conftest import DOUBLE, opened

from headrace.adapters.credentials import Credentials
from headrace.adapters.grpc import presence
from headrace.adapters.grpc.door import Door
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.health import Health
from headrace.adapters.grpc.presence import serve_if_present
from headrace.adapters.grpc.serve import serve
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.errors import InvalidConfig
from headrace.services.access import Access
from headrace.services.context import RequestContext

STATES = health_pb2.HealthCheckResponse


def health(server: Running, method: str = "Check") -> Any:
    kind = {"Check": server.client.channel.unary_unary, "Watch": server.client.channel.unary_stream}[method]
    return kind(
        f"/grpc.health.v1.Health/{method}",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=STATES.FromString,
    )


async def test_a_token_is_demanded_of_every_call_but_the_probe() -> None:
    async with running(token="s3cret") as server:
        none = await server.client.infer(request())
        wrong = await server.client.infer(request(), metadata=[("authorization", "Bearer wrong")])
        metadata = await server.client.call("ServerReady", messages.ServerReadyRequest())
        stream = server.client.stream()
        bearer = await server.client.infer(request(), metadata=[("authorization", "Bearer s3cret")])
        key = await server.client.infer(request(), metadata=[("x-api-key", "s3cret")])
        probe = await health(server)(health_pb2.HealthCheckRequest())

        assert [one.status for one in (none, wrong, metadata)] == [grpc.StatusCode.UNAUTHENTICATED] * 3
        assert none.code == "unauthenticated"
        assert await stream.code() == grpc.StatusCode.UNAUTHENTICATED
        assert bearer.model_name == key.model_name == "double"
        assert probe.status == STATES.SERVING


async def test_a_key_is_taken_for_the_token_and_its_caller_is_known(access: Access) -> None:
    key = (await access.create("shop")).shown.reveal()
    await access.refresh()
    shown = [("x-api-key", key)]
    async with running(token=Credentials("s3cret", access)) as server:
        callers = callers_of(server)
        first = await server.client.infer(request(), metadata=shown)
        ready = await server.client.call("ServerReady", messages.ServerReadyRequest(), metadata=shown)
        stream = server.client.stream(metadata=shown)
        await stream.write(request())
        streamed = await stream.read()
        await server.client.infer(request(), metadata=[("authorization", "Bearer s3cret")])
        await access.revoke("shop")
        await access.refresh()
        refused = await server.client.infer(request(), metadata=shown)
        await stream.write(request())
        refused_in_stream = await stream.read()

    assert first.model_name == streamed.infer_response.model_name == "double"
    assert ready.ready
    assert callers == ["shop", "shop", "token"]
    assert (refused.status, refused.code) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    assert "the key 'shop' was revoked" in refused.told
    assert "the key 'shop' was revoked" in refused_in_stream.error_message


def callers_of(server: Running) -> list[str]:
    """Who asked, in the order of the requests that follow."""
    found: list[str] = []
    inference = server.house.inference
    infer = inference.infer

    async def listening(asked: Any, inputs: Any, about: RequestContext) -> Any:
        found.append(about.caller.name)
        return await infer(asked, inputs, about)

    inference.infer = listening  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
async def test_the_health_service_follows_readiness(service: str) -> None:
    async with running([DOUBLE], start=False) as server:
        asked = health_pb2.HealthCheckRequest(service=service)
        before = await health(server)(asked)
        await server.house.deployments.start()
        after = await health(server)(asked)

    assert (before.status, after.status) == (STATES.NOT_SERVING, STATES.SERVING)


async def test_an_unknown_service_is_not_found(server: Running) -> None:
    asked = health_pb2.HealthCheckRequest(service="other")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(server)(asked)

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert (await health(server, "Watch")(asked).read()).status == STATES.SERVICE_UNKNOWN


async def test_a_watcher_learns_of_the_end() -> None:
    async with running([DOUBLE]) as server:
        watch = health(server, "Watch")(health_pb2.HealthCheckRequest())
        first = await watch.read()

        server.stop.set()
        last = await watch.read()
        end = await watch.read()

    assert (first.status, last.status, end) == (STATES.SERVING, STATES.NOT_SERVING, grpc.aio.EOF)


async def test_a_watcher_learns_of_an_end_that_comes_while_it_is_told_something_else() -> None:
    door, stopping = Door(None, lambda *_: None, lambda: True), asyncio.Event()
    watch = Health(door, stopping).Watch(health_pb2.HealthCheckRequest(), None)
    first = await anext(watch)

    door.draining = True
    stopping.set()  # before the watch goes on after its first status
    rest = [told.status async for told in watch]

    assert (first.status, rest) == (STATES.SERVING, [STATES.NOT_SERVING])


async def test_readiness_goes_before_the_server_does() -> None:
    async with running([DOUBLE], ApiSettings(drain_delay_s=0.5)) as server:
        server.stop.set()
        await asyncio.sleep(0.05)

        ready = await server.client.call("ServerReady", messages.ServerReadyRequest())
        answer = await server.client.infer(request())

    assert not ready.ready
    assert answer.model_name == "double"


async def test_calls_under_way_are_answered_when_the_server_stops(blocker: Any, eventually: Any) -> None:
    async with running([blocker.recipe]) as server:
        under_way = asyncio.create_task(server.client.infer(request("slow")))
        await asyncio.to_thread(blocker.entered.wait, 10)

        server.stop.set()
        await asyncio.sleep(0.05)
        assert not server.done.done()
        blocker.let_go.set()

        assert (await under_way).model_name == "slow"
        assert await server.done == 0


async def test_whoever_waits_too_long_is_cut_off_and_counted(blocker: Any) -> None:
    async with running([blocker.recipe], ApiSettings(drain_s=0.1)) as server:
        under_way = asyncio.create_task(server.client.infer(request("slow"), timeout=30))
        await asyncio.to_thread(blocker.entered.wait, 10)

        server.stop.set()
        cut = await server.done
        answer = await under_way
        blocker.let_go.set()

    assert cut == 1
    assert isinstance(answer, Failure)
    assert answer.status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_stream_that_waits_for_its_client_does_not_hold_up_the_end() -> None:
    async with running([DOUBLE], ApiSettings(drain_s=20)) as server:
        stream = server.client.stream()
        await stream.write(request())
        await stream.read()

        server.stop.set()
        async with asyncio.timeout(5):
            assert await server.done == 0

        assert await stream.code() == grpc.StatusCode.UNAVAILABLE


async def test_calls_that_come_too_late_are_told_to_ask_elsewhere(blocker: Any) -> None:
    async with running([DOUBLE, blocker.recipe]) as server:
        under_way = asyncio.create_task(server.client.infer(request("slow")))
        await asyncio.to_thread(blocker.entered.wait, 10)

        server.stop.set()
        while not isinstance(late := await server.client.infer(request()), Failure):
            pass
        blocker.let_go.set()

        assert (late.status, late.code) == (grpc.StatusCode.UNAVAILABLE, "not_ready")
        assert (await under_way).model_name == "slow"
        assert await server.done == 0


async def test_a_stopped_server_refuses() -> None:
    async with running([DOUBLE]) as server:
        server.stop.set()
        await server.done

        assert (await server.client.infer(request(), timeout=1)).status == grpc.StatusCode.UNAVAILABLE


def taken() -> socket.socket:
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen()
    return holder


async def test_a_port_that_is_taken_is_named() -> None:
    async with opened([DOUBLE]) as house:
        with taken() as holder:
            port = holder.getsockname()[1]
            with pytest.raises(InvalidConfig, match=rf"port {port}: .*set another api.grpc_port"):
                await serve(house.inference, house.deployments, ApiSettings(), asyncio.Event(), port=port)


async def test_two_servers_do_not_share_a_port(server: Running) -> None:
    port = int(server.address.rpartition(":")[2])

    with pytest.raises(InvalidConfig):
        await serve(server.house.inference, server.house.deployments, ApiSettings(), asyncio.Event(), port=port)


async def test_a_host_that_is_none_is_named() -> None:
    async with opened([DOUBLE]) as house:
        with pytest.raises(InvalidConfig, match=r"api.host 'no\.such\.host\.invalid'"):
            settings = ApiSettings(host="no.such.host.invalid")
            await serve(house.inference, house.deployments, settings, asyncio.Event(), port=0)


async def present(settings: ApiSettings) -> int:
    async with opened([DOUBLE]) as house:
        stop = asyncio.Event()
        stop.set()
        return await serve_if_present(house.inference, house.deployments, settings, stop)


async def test_port_0_means_no_such_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "PACKAGES", ("no_such_package",))

    assert await present(ApiSettings(grpc_port=0)) == 0


async def test_without_its_packages_the_door_is_missing_unless_somebody_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "PACKAGES", ("no_such_package.part",))

    assert await present(ApiSettings()) == 0
    with pytest.raises(InvalidConfig, match=r"pip install headrace\[grpc\]"):
        await present(ApiSettings(grpc_port=9001))


async def test_a_port_that_nobody_asked_for_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with taken() as holder:
        port = holder.getsockname()[1]
        monkeypatch.setattr(presence, "PORT", port)

        assert await present(ApiSettings()) == 0
        with pytest.raises(InvalidConfig, match="cannot listen"):
            await present(ApiSettings(grpc_port=port))
