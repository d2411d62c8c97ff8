"""Partial pruning: what each part of a head costs, beside the whole head.

After Li et al. (TVCG 2023), who remove the attention of some queries to some keys and leave the
rest of the head as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ...models.ablations import ablation
from ...models.ablations.cut import CutBetween, CutHops
from ...models.errors import HeadscopeError


@dataclass(frozen=True)
class Part:
    """An ablation of a study, in words."""

    name: str
    description: str
    is_part: bool
    """Some of the head's attention is removed, not its whole output."""
    is_converse: bool
    """All else is removed: a smaller loss means a more important head."""


def parts_of(names: Iterable[str]) -> tuple[Part, ...]:
    """The ablations of a study: those of whole heads first, then parts, in the study's order.

    One that this headscope does not know (a newer one wrote the study) is taken for that of a whole
    head, without words.
    """
    found: list[Part] = []
    for name in names:
        try:
            made = ablation(name)
        except HeadscopeError:
            found.append(Part(name, "", is_part=False, is_converse=False))
            continue
        part = isinstance(made, (CutBetween, CutHops))
        words = made.description if part else made.description.split(". ")[0].rstrip(".") + "."
        found.append(Part(name, words, is_part=part, is_converse=made.converse))
    return tuple(sorted(found, key=lambda part: part.is_part))
