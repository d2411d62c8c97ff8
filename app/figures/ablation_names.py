"""Names of ablations: what may be chosen in them, and what they are in plain words."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

RENORMALISED = ":renormalised"
_KEPT = re.compile(r"@([0-9.]+)$")
_CHOICE = re.compile(r"[A-Z]+")

WORDS: Mapping[str, str] = {
    "zero": "nothing: their output is 0",
    "mean": "their mean output over other images",
    "resample": "their output for another image",
    "noise": "noise of the size of their output",
    "uniform": "attention to all keys alike",
    "self": "attention of each token to itself",
    "keep": "only these heads stay in their layers",
    "QUERY-to-KEY": "attention between some tokens is cut",
    "hops<=R": "attention to near patches is cut",
    "hops>R": "attention to far patches is cut",
    "sinks:masked": "sinks are masked",
    "sinks>R:masked": "sinks above a limit are masked",
    "sinks[TOKENS]:masked": "chosen keys are masked",
    "sinks:redistributed": "attention to sinks is redistributed",
    "sinks>R:redistributed": "sinks above a limit are redistributed",
    "sinks[TOKENS]:redistributed": "chosen keys are redistributed",
}
"""Short words for forms; one that is not here goes by its name."""

CHOICES: Mapping[str, str] = {
    "QUERY": "From",
    "KEY": "To",
    "R": "Limit",
    "TOKENS": "Keys (numbers, as 0+3)",
}
"""What the words in capitals stand for."""
_FIRST: Mapping[str, str] = {"QUERY": "class", "KEY": "patch", "R": "3", "TOKENS": "0"}


@dataclass(frozen=True)
class Name:
    """A name taken apart."""

    form: str
    values: tuple[str, ...] = ()
    """For each word in capitals what stands for it."""
    renormalised: bool = False
    kept: float | None = None
    """p of `…redistributed@p`; None: as the form says."""

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(_CHOICE.findall(self.form))

    @property
    def text(self) -> str:
        """The name as `ablate` takes it."""
        values = iter(self.values)
        name = _CHOICE.sub(lambda _: next(values), self.form)
        kept = "" if self.kept is None else f"@{self.kept:g}"
        return name + RENORMALISED * self.renormalised + kept


def plain_forms(forms: Iterable[str]) -> list[str]:
    """Forms without those that only scale rows back."""
    return [form for form in forms if not form.endswith(RENORMALISED)]


def can_renormalise(form: str, forms: Iterable[str]) -> bool:
    return form + RENORMALISED in forms


def can_keep(form: str) -> bool:
    """Whether a part of the attention may stay."""
    return form.endswith("redistributed")


def first_of(form: str) -> Name:
    """A name of a form, before anything was chosen in it."""
    return Name(form, tuple(_FIRST.get(choice, "0") for choice in _CHOICE.findall(form)))


def read(name: str, forms: Iterable[str]) -> Name | None:
    """A name taken apart; None where it is of none of the forms."""
    kept = _KEPT.search(name)
    text = _KEPT.sub("", name)
    renormalised = text.endswith(RENORMALISED)
    text = text.removesuffix(RENORMALISED)
    for form in sorted(plain_forms(forms), key=_literal, reverse=True):
        pattern = "(.+?)".join(map(re.escape, _CHOICE.split(form)))
        found = re.fullmatch(pattern, text)
        if found:
            made = Name(form, found.groups(), renormalised)
            return replace(made, kept=_number(kept[1])) if kept else made
    return None


def _literal(form: str) -> int:
    return len(_CHOICE.sub("", form))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def words(form: str) -> str:
    """What takes a head's place, in plain words, with the name as it is typed."""
    return f"{WORDS[form]} ({form})" if form in WORDS else form
