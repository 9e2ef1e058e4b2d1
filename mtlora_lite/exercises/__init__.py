"""Checks of the notebooks' exercises: ``check("01.1", answer)`` prints todo, ok or what is wrong, and never raises.

A check calls the learner's function, ``answer``, and returns None or one sentence that says what is wrong. It tests
what a right answer does, not how it is written; the solutions stand at the end of each notebook. The checks of a
notebook are a module, and a row here.
"""

from mtlora_lite.exercises import nb00, nb01, nb02, nb03, nb04, nb05, nb06, nb07, nb08, nb09, nb10, verdicts
from mtlora_lite.exercises.verdicts import Answer, Check

NOTEBOOKS = (nb00, nb01, nb02, nb03, nb04, nb05, nb06, nb07, nb08, nb09, nb10)
CHECKS: dict[str, Check] = {exercise: check for notebook in NOTEBOOKS for exercise, check in notebook.CHECKS.items()}


def check(exercise: str, answer: Answer) -> None:
    """Print the verdict on an answer."""
    print(f"Exercise {exercise}: {verdict(exercise, answer)}")


def verdict(exercise: str, answer: Answer) -> str:
    """``todo``, ``ok``, or ``not yet`` with the reason."""
    if exercise not in CHECKS:
        return f"there is no such exercise; there are {', '.join(CHECKS)}"
    return verdicts.verdict(CHECKS[exercise], answer)
