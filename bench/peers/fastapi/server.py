"""The application that people write by hand: FastAPI, pydantic in and out, one inference for each request.

`BENCH_FLAVOUR=def` makes a plain function of the endpoint (FastAPI runs it in a thread), `async` a coroutine.
"""

from typing import Any

import uvicorn
from fastapi import FastAPI
from onnx_rows import Settings, open_rows
from pydantic import BaseModel

settings = Settings.read()
infer = open_rows(settings)
app = FastAPI()


class Numbers(BaseModel):
    x: list[float]


class Text(BaseModel):
    text: str


class Answer(BaseModel):
    y: list[float]


def _answer(row: Any) -> Answer:
    return Answer(y=infer([row])[0].tolist())


if settings.column == "text" and settings.flavour == "async":

    @app.post("/predict")
    async def predict_text(body: Text) -> Answer:
        return _answer(body.text)

elif settings.column == "text":

    @app.post("/predict")
    def predict_text_in_thread(body: Text) -> Answer:
        return _answer(body.text)

elif settings.flavour == "async":

    @app.post("/predict")
    async def predict(body: Numbers) -> Answer:
        return _answer(body.x)

else:

    @app.post("/predict")
    def predict_in_thread(body: Numbers) -> Answer:
        return _answer(body.x)


if __name__ == "__main__":
    uvicorn.run(
        "server:app",
        host="127.0.0.1",
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
