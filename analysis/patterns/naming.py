"""A name for a pattern, proposed from what its members do."""

import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from .forms import FORMS
from .maps import PatternMaps, shares
from .statistics import STATISTICS

MIXED = "mixed"
FIXED = "fixed"
"""The statistic that belongs to heads over images, not to a map; see `fixedness`."""


@dataclass(frozen=True)
class Rule:
    """A name, and what has to hold for it."""

    name: str
    conditions: tuple[tuple[str, str, float], ...]
    """Statistic (mean over the members), comparison, threshold; not met by what is undefined."""
    reading: str
    """In words."""

    def holds(self, statistics: Mapping[str, float]) -> bool:
        return all(_COMPARE[how](statistics[name], limit) for name, how, limit in self.conditions)


_COMPARE: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<": operator.lt}

RULES = (
    Rule("class token", (("class", ">=", 0.5),), "most attention goes to the class token"),
    Rule("registers", (("register", ">=", 0.5),), "most attention goes to registers"),
    Rule("padding", (("other", ">=", 0.5),), "most attention goes to tokens without a place"),
    Rule("self", (("self", ">=", 0.5),), "a patch attends to itself"),
    Rule("left neighbour", (("left", ">=", 0.5),), "a patch attends to the one on its left"),
    Rule("right neighbour", (("right", ">=", 0.5),), "… to the one on its right"),
    Rule("neighbour above", (("above", ">=", 0.5),), "… to the one above"),
    Rule("neighbour below", (("below", ">=", 0.5),), "… to the one below"),
    Rule("neighbours", (("near", ">=", 0.5),), "a patch attends to the eight around it"),
    Rule(
        "row",
        (("row_lift", ">=", 2.5), ("row_to_column", ">=", 1.5)),
        "a patch attends along its row, 2.5 times as much as uniform attention, and 1.5 times as "
        "much as along its column",
    ),
    Rule(
        "column",
        (("column_lift", ">=", 2.5), ("column_to_row", ">=", 1.5)),
        "a patch attends along its column, as for rows",
    ),
    Rule(
        "fixed sink",
        (("received", "<", 0.3), ("dependence", "<", 0.3), (FIXED, ">=", 0.5)),
        "whatever the query, a few patches take the attention, the same ones in every image",
    ),
    Rule("uniform", (("spread", ">=", 0.8),), "a patch attends to all patches alike"),
    Rule("local", (("reach", "<", 0.7),), "a patch attends to what is near"),
    Rule(
        "content",
        (("received", "<", 0.75), (FIXED, "<", 0.5)),
        "some patches get most of the attention, other ones in each image",
    ),
)
"""The first that holds names a pattern; where none does, it is `MIXED`. Shares have to be one half,
so that hardly two of them hold at once; the other thresholds are chosen by hand, well between
uniform attention and the pure pattern: a name is a proposal, to be read beside the numbers."""


def propose(statistics: Mapping[str, float]) -> str:
    """The name of the first rule that holds."""
    ratio = _ratio(statistics["row_lift"], statistics["column_lift"])
    known = {**statistics, "row_to_column": ratio, "column_to_row": _ratio(1.0, ratio)}
    return next((rule.name for rule in RULES if rule.holds(known)), MIXED)


def numbered(names: Sequence[str]) -> list[str]:
    """Names told apart: those that occur more than once get a number, in their order."""
    often = Counter(names)
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name} {seen[name]}" if often[name] > 1 else name)
    return result


def summary(maps: PatternMaps, members: Bool[np.ndarray, " map"]) -> dict[str, float]:
    """`STATISTICS`, mean over the members for which they are defined, and how fixed they are."""
    rows = maps.statistics[members].astype(np.float64)
    there = np.isfinite(rows)
    total = np.where(there, rows, 0).sum(0)
    count = there.sum(0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return dict(zip(STATISTICS, mean.tolist(), strict=True)) | {FIXED: fixedness(maps, members)}


def fixedness(maps: PatternMaps, members: Bool[np.ndarray, " map"]) -> float:
    """How far the same places get a head's attention in all images: 1 the same, 0 unrelated.

    With d the received attention of a map, as a distribution over places less the uniform one:
    mean of dᵢ·dⱼ over pairs of different images of a head, divided by the mean of dᵢ·dᵢ; both over
    all member heads, so that heads with strong sinks count more. NaN where no head has two images.
    """
    received = _received(maps, members)
    heads = np.stack([maps.origin, maps.layer, maps.head], -1)[members]
    _, index = np.unique(heads, axis=0, return_inverse=True)
    total = received.sum(1, keepdims=True)
    there = total[:, 0] > 0
    deviation = np.where(total > 0, received / np.where(total > 0, total, 1), 0)
    deviation -= there[:, None] / received.shape[1]
    between, within = 0.0, 0.0
    for head in np.unique(index):
        rows = deviation[(index == head) & there]
        n = len(rows)
        if n < 2:
            continue
        own = np.square(rows).sum()
        between += (np.square(rows.sum(0)).sum() - own) / (n - 1)
        within += own
    return float(between / within) if within > 0 else float("nan")


def _received(maps: PatternMaps, members: np.ndarray) -> Float[np.ndarray, "map place"]:
    found = shares(maps.form, maps.values[members]).astype(np.float64)
    if "received" in FORMS[maps.form].channels:
        return found[:, FORMS[maps.form].channels.index("received")].reshape(len(found), -1)
    return found[:, 0].sum(1)  # raw: over the regions that attend


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")
