"""What a number is: formula, range, how to read it, source; from the docstring that defines it.

A metric's docstring is its description. It begins with the formula, and goes on with a paragraph
each that begins with `Range:`, `Reading:` and `Source:`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ..models.errors import HeadscopeError

_LABELS = ("Range", "Reading", "Source")
_LABEL = re.compile(rf"(?:^|\s)({'|'.join(_LABELS)}):\s")


@dataclass(frozen=True)
class About:
    """A number in words; what its description does not say is empty."""

    formula: str
    range: str
    """Its least and largest value, and what they stand for."""
    reading: str
    """How to read it, and where it says nothing."""
    source: str


def parse(description: str) -> About:
    """The parts of a description; one without labels is all reading, as in older studies."""
    first, *rest = _LABEL.split(" ".join(description.split()))
    if not rest:
        return About("", "", first.strip(), "")
    said = dict(zip(rest[::2], (text.strip() for text in rest[1::2]), strict=True))
    return About(first.strip(), *(said.get(label, "") for label in _LABELS))


def about(name: str) -> About:
    """What the registered metric of a name is.

    Raises:
        HeadscopeError: there is none of that name.
    """
    known = descriptions()
    if name not in known:
        raise HeadscopeError(f"There is no metric {name!r}; there are: {', '.join(known)}.")
    return parse(known[name])


@cache
def descriptions() -> Mapping[str, str]:
    """The description of every registered metric, by name: of importance, attention, hidden states,
    and across images.
    """
    from .across.base import across_metrics
    from .importance.metrics import all_importance_metrics
    from .metrics.base import attention_metrics
    from .metrics.hidden import hidden_metrics

    return {
        **{name: metric.description for name, metric in all_importance_metrics().items()},
        **{name: metric.description for name, metric in attention_metrics().items()},
        **{name: metric.description for name, metric in hidden_metrics().items()},
        **{name: metric.description() for name, metric in across_metrics().items()},
    }
