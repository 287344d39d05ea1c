"""Do files reach the pipeline that is meant, and do bad ones get clear answers?"""

from typing import Any

import pytest

PNG = ("three.png", b"\x89PNG", "image/png")


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_file_is_the_only_bytes_column(client: Any, prefix: str) -> None:
    answer = await client.post(f"{prefix}/predict/image", files={"file": PNG}, data={"pipeline": "measure"})

    assert answer.status_code == 200
    data = answer.json()["data"]
    assert data["outputs"]["size"] == 4
    assert data["outputs"]["copy"] == {"base64": "iVBORw=="}
    assert data["metadata"] == {"filename": "three.png", "content_type": "image/png"}


async def test_the_default_pipeline_takes_a_file(open_house: Any, connect: Any) -> None:
    async with open_house(default="measure") as house, connect(house.app) as client:
        plain = await client.post("/predict/image", files={"file": PNG})
        versioned = await client.post("/predict/image/1", files={"file": PNG})
        unknown = await client.post("/predict/image/9", files={"file": PNG})

    assert (plain.status_code, versioned.status_code, unknown.status_code) == (200, 200, 404)


async def test_a_file_of_another_kind_is_refused(client: Any) -> None:
    file = ("a.txt", b"hello", "text/plain")

    answer = await client.post("/predict/image", files={"file": file}, data={"pipeline": "measure"})

    assert answer.status_code == 415
    assert "predict/image takes image/*" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "media"),
    [("audio", "audio/wav"), ("video", "video/mp4"), ("image", "application/octet-stream"), ("audio", "video/webm")],
)
async def test_each_kind_takes_its_media(client: Any, kind: str, media: str) -> None:
    file = ("a", b"1234", media)

    answer = await client.post(f"/predict/{kind}", files={"file": file}, data={"pipeline": "measure"})

    assert answer.status_code == 200


async def test_a_text_file_is_read_as_utf8(client: Any) -> None:
    good = await client.post("/predict/text", files={"file": ("a.txt", "ö".encode())}, data={"pipeline": "shout"})
    bad = await client.post("/predict/text", files={"file": ("a.txt", b"\xff")}, data={"pipeline": "shout"})

    assert good.json()["data"]["outputs"] == {"loud": "Ö"}
    assert (bad.status_code, bad.json()["error"]["code"]) == (422, "invalid_input")


async def test_text_may_come_as_json(client: Any) -> None:
    answer = await client.post("/predict/text", json={"text": "hi", "pipeline": "shout"})
    wrong = await client.post("/predict/text", json={"txt": "hi"})

    assert answer.json()["data"]["outputs"] == {"loud": "HI"}
    assert wrong.status_code == 400
    assert "did you mean 'text'?" in wrong.json()["error"]["message"]


async def test_a_pipeline_that_takes_no_file_says_what_it_takes(client: Any) -> None:
    answer = await client.post("/predict/image", files={"file": PNG}, data={"pipeline": "double"})

    assert answer.status_code == 422
    assert "x (float32)" in answer.json()["error"]["message"]


async def test_several_files_get_a_list_with_failures_in_their_place(client: Any) -> None:
    files = [("files[]", PNG), ("files[]", ("b.png", b"broken", "image/png")), ("files[]", ("c.png", b"123456"))]

    answer = await client.post("/predict/batch", files=files, data={"pipeline": "measure"})

    assert answer.status_code == 200
    first, second, third = answer.json()["data"]
    assert (first["outputs"]["size"], third["outputs"]["size"]) == (4, 6)
    assert second["error"]["code"] == "model_failure"
    assert second["metadata"]["filename"] == "b.png"


async def test_several_files_that_all_fail_fail_the_call(client: Any) -> None:
    files = [("files", ("b.png", b"broken"))] * 2

    answer = await client.post("/predict/batch", files=files, data={"pipeline": "measure"})

    assert answer.status_code == 500
    assert len(answer.json()["error"]["details"]["rows"]) == 2


@pytest.mark.parametrize(
    ("path", "sent", "status", "told"),
    [
        ("/predict/image", {"files": {"other": PNG}}, 400, "'file'; it brought: other"),
        ("/predict/image", {"data": {"pipeline": "measure"}}, 415, "multipart/form-data"),
        ("/predict/image", {"files": [("file", PNG), ("file", PNG)]}, 400, "one file"),
        ("/predict/image", {"files": {"file": PNG}, "data": {"pipline": "x"}}, 400, "did you mean 'pipeline'?"),
        ("/predict/image", {"files": {"file": PNG}, "data": {"pipeline": "nope"}}, 404, "nope"),
        ("/predict/image", {"json": {}}, 415, "multipart/form-data"),
        ("/predict/batch", {"files": {"other": PNG}}, 400, "'files'"),
        ("/predict/batch", {"files": [("files", PNG)] * 257}, 413, "256 files"),
    ],
)
async def test_a_form_that_does_not_hold(client: Any, path: str, sent: Any, status: int, told: str) -> None:
    answer = await client.post(path, **sent)

    assert answer.status_code == status
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n",
        b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nabc",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--c--\r\n',
        b"nonsense",
        b"--b\r\n" + b"X: y\r\n" * 1000 + b"\r\n\r\n--b--\r\n",
        b"--b\r\n" + b"X" * 100_000 + b"\r\n\r\n\r\n--b--\r\n",
        b"--b--\r\n",
    ],
)
async def test_a_form_that_is_none(client: Any, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}

    answer = await client.post("/predict/image", content=body, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


async def test_a_form_without_a_boundary(client: Any) -> None:
    answer = await client.post("/predict/image", content=b"x", headers={"content-type": "multipart/form-data"})

    assert answer.status_code == 400


async def test_a_large_file_is_refused(client: Any) -> None:
    file = ("a.png", bytes(11_000_000), "image/png")

    answer = await client.post("/predict/image", files={"file": file}, data={"pipeline": "measure"})

    assert answer.status_code == 413
