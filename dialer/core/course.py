"""The steps of one call: the playbook's, and inside of them those that programs have answered with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from dialer.core.step_kinds import END, Step


class Course:
    """Steps in order, and where the call goes on `behind` the last of them; None: nowhere, it ends.

    `answer` 0 is the playbook; others are the so-manieth answer of the call. A label is looked for here first, then in the
    course that this one is taken inside of, and so on: an answer may lead back into the playbook.
    """

    def __init__(self, steps: Sequence[Step], answer: int = 0, behind: Optional["Place"] = None) -> None:
        self.steps = steps
        self.answer = answer
        self.behind = behind
        self._labels = {step.label: i for i, step in enumerate(steps) if step.label is not None}

    def leads(self, label: str) -> bool:
        """Whether there is such a label, or it is the end."""
        return label == END or self._find(label) is not None

    def place(self, label: str) -> "Place":
        """Where the label is. Raises KeyError where it is nowhere."""
        found = self._find(label)
        if found is None:
            raise KeyError(label)
        return found

    def _find(self, label: str) -> Optional["Place"]:
        course: Course | None = self
        while course is not None:
            if label in course._labels:
                return Place(course, course._labels[label])
            course = course.behind.course if course.behind is not None else None
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """A step of a course; behind the last one, its end."""

    course: Course
    index: int

    def reached(self) -> Optional["Place"]:
        """This place, or where the call goes on behind the end of its course; None: nowhere."""
        place: Place | None = self
        while place is not None and place.index >= len(place.course.steps):
            place = place.course.behind
        return place

    @property
    def next(self) -> "Place":
        """The place behind this one."""
        return Place(self.course, self.index + 1)
