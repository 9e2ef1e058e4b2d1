"""From a check and a learner's function to a verdict, whatever the function does."""

from collections.abc import Callable
from typing import Any

Answer = Callable[..., Any]
Check = Callable[[Answer], str | None]  # returns what is wrong, in a sentence, or None


class Todo(Exception):
    """The learner's function returns nothing: it has not been written yet."""


def verdict(check: Check, answer: Answer) -> str:
    """``todo``, ``ok``, or ``not yet`` with the reason."""
    try:
        reason = check(_returning_something(answer))
    except Todo:
        return "todo"
    except Exception as error:  # whatever the learner's code raises is an answer, too
        reason = f"it stopped with {type(error).__name__}: {error}"
    return "ok" if reason is None else f"not yet: {reason}"


def _returning_something(answer: Answer) -> Answer:
    def call(*arguments: Any) -> Any:
        result = answer(*arguments)
        if result is None or result is ...:
            raise Todo
        return result

    return call
