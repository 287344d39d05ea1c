"""The shortest way, for inference without waiting: no coroutine, no task and no future, from the head to the answer.

A request whose body is there is read, queued and, when its batch is done, answered from where the batch handed out
its rows. What takes any waiting, and whatever is unusual, takes the way of `Swift` or uvicorn's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from headrace.adapters.http.call import Answered, Call
from headrace.adapters.http.cycle import Cycle, HeaderPairs
from headrace.adapters.http.heads import Head
from headrace.domain.errors import NotReady
from headrace.services.choice import Choice
from headrace.services.context import Result
from headrace.services.course import Tell, ToldCourse

Answer = Callable[[Result], Answered]
"""Writes the answer to one request. May raise EngineError."""
Starting = ToldCourse | None
"""A request that has begun; None if it takes another way, and nothing was done for it but to choose its pipeline."""
Finish = Callable[[Answer], Tell]
"""Makes what is told how a request ended, from how its answer is written."""


class Entrance(Protocol):
    """The door, as seen from a request on the shortest way."""

    def begin(self, quick: Quick) -> bool:
        """Take a request in; False if it must take another way."""

    def refuse(self, quick: Quick, error: BaseException) -> None:
        """Answer a request that failed."""

    def answer_later(self, quick: Quick, answer: Answered) -> None:
        """Answer when what that takes has been waited for."""

    def ended(self) -> None:
        """A request that was taken in is over."""


class Quick(Cycle):
    """One inference on the shortest way."""

    __slots__ = ("_course", "_door", "call", "choice", "head")

    def __init__(
        self,
        head: Head,
        door: Entrance,
        transport: Any,
        default_headers: HeaderPairs,
        on_response: Callable[[], None],
    ) -> None:
        super().__init__(transport, default_headers, on_response, keep_alive=head.keep_alive)
        self.head = head
        self.call: Call | None = None
        self.choice: Choice | None = None
        self._door = door
        self._course: Starting = None

    def start(self) -> bool:
        """The body is here: begin. False if the request must take another way."""
        self.more_body = False
        return self._door.begin(self)

    def begun(self, course: ToldCourse) -> None:
        """The request is on its *course*; it may have ended already."""
        if not self.response_complete:
            self._course = course

    def finish(self, answer: Answer) -> Tell:
        """What is told how the request ended, and answers it as *answer* writes it."""

        def told(outcome: Result | BaseException) -> None:
            try:
                if isinstance(outcome, BaseException):
                    self._door.refuse(self, outcome)
                    return
                content = answer(outcome)
            except Exception as error:
                self._door.refuse(self, error)
                return
            call = self.call
            if call is not None and not call.answer_at_once(*content):
                self._door.answer_later(self, content)

        return told

    def complete(self) -> None:
        """The answer has been sent."""
        self.response_complete = True
        self._over()
        self.ended()

    def set(self) -> None:
        """The connection may have ended: then nobody waits for the answer any more."""
        if self.disconnected and self.call is not None:
            course = self._course
            self._over()
            if course is not None:
                course.cancel()

    def cancel(self, *_: object) -> bool:
        """The server cannot wait any longer; the client is told."""
        if self._course is None or self.call is None or not self._course.cancel():
            return False
        self.call.closing = True
        self._door.refuse(self, NotReady("the server stopped before this request was answered"))
        return True

    def _over(self) -> None:
        """Hold nothing that holds this, or only the collector could free it."""
        if self.call is not None:
            self.call.reply = self.call.usual = None
            self.call = self._course = None
            self._door.ended()
