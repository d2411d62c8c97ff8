"""Explanations of one decision as maps over the image, one method per file; a file registers
itself."""

from .base import Answer, Method, Option, Question, explanation, explanations
from .explain import Explanation, explain, method_of
from .target import RUNNER_UP, Target, target_of

__all__ = [
    "RUNNER_UP",
    "Answer",
    "Explanation",
    "Method",
    "Option",
    "Question",
    "Target",
    "explain",
    "explanation",
    "explanations",
    "method_of",
    "target_of",
]
