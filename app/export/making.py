"""Figures of a study, made one after the other: what the command and the page have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...models.errors import HeadscopeError
from ..figures.paper import Maker, Request, makers
from .package import PROVENANCE, Made, figure_files, letter_of, overview
from .provenance import facts_of, provenance
from .sheet import Sheet
from .style import pixels

Progress = Callable[[float, str], None]
Keep = Callable[[str, bytes], None]


def silent(_share: float, _what: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class Result:
    """What was made."""

    files: dict[str, bytes] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Figures that could not be made, and why."""


def named(names: Sequence[str] | None) -> list[Maker]:
    """Makers by their names; None: all.

    Raises:
        HeadscopeError: there is none of that name.
    """
    there = makers()
    if names is None:
        return list(there.values())
    for name in names:
        if name not in there:
            raise HeadscopeError(f"There is no figure {name!r}; there are {', '.join(there)}.")
    return [there[name] for name in dict.fromkeys(names)]


def on_sheet(request: Request, sheet: Sheet) -> Request:
    """The request for figures that are printed on a sheet."""
    return replace(
        request,
        page_px=pixels(sheet),
        numbers_colours=sheet.numbers_colours,
        signed_colours=sheet.signed_colours,
    )


def make(
    request: Request,
    names: Sequence[str] | None,
    sheet: Sheet,
    formats: Sequence[str],
    *,
    progress: Progress = silent,
    keep: Keep | None = None,
    with_overview: bool = True,
) -> Result:
    """Figures with their tables, captions and provenance.

    Args:
        request: what they are made of.
        names: of the figures; None: all that can be made, and why others cannot.
        sheet: how they are printed.
        formats: of the files.
        progress: told the share that is done; whatever it raises stops the work.
        keep: told of each file as soon as it is there.
        with_overview: whether a page that shows them all belongs to it.

    Raises:
        HeadscopeError: no such figure, or one that was asked for by name cannot be made.
    """
    chosen, found = named(names), Result()
    request = on_sheet(request, sheet)

    def put(files: dict[str, bytes]) -> None:
        for name, data in files.items():
            found.files[name] = data
            if keep is not None:
                keep(name, data)

    for place, maker in enumerate(chosen):
        progress(place / len(chosen), maker.title)
        try:
            if why := maker.why_not(request):
                raise HeadscopeError(why)
            made = Made(maker.name, maker.title, maker.build(request))
        except HeadscopeError as error:
            if names is not None:
                raise HeadscopeError(f"{maker.name}: {error}") from error
            found.left_out[maker.name] = str(error)
            continue
        many = len(chosen) > 1
        letter = letter_of(sheet.letter, len(found.made)) if many else sheet.letter
        progress((place + 0.5) / len(chosen), maker.title)
        put(figure_files(made, replace(sheet, letter=letter), formats))
        found.made.append(made)
    own = [made.name for made in found.made]
    facts = facts_of(request, own, sheet, formats)
    put({PROVENANCE: provenance(facts, sheet, formats)})
    if with_overview:
        title = f"{request.study.model}: {request.study.n_done} images"
        put(overview(found.made, found.files, found.left_out, title))
    progress(1.0, "done")
    return found
