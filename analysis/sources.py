"""The images of a study: checked, named apart, and held in memory only where the caller does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..models.errors import HeadscopeError
from ..models.images import ImageSource, Photograph, read_image

Image = ImageSource | Photograph


@dataclass(frozen=True)
class Source:
    """An image of a study."""

    name: str
    """Its own within the study."""
    digest: str
    path: str
    """Empty where it is no file."""
    place: int
    """Which of the images that were given it is."""
    held: Photograph | None

    def photograph(self) -> Photograph:
        """The image, read again where it is not held.

        Raises:
            HeadscopeError: the file changed.
        """
        if self.held is not None:
            return self.held
        photograph = read_image(self.path)
        if photograph.digest != self.digest:
            raise HeadscopeError(
                f"{self.path} changed while it was being analysed; start again, with another "
                "place for the study."
            )
        return photograph


def find_sources(
    images: Sequence[Image],
    on_check: Callable[[int], None],
    on_unreadable: Callable[[Image, HeadscopeError], None] | None,
) -> list[Source]:
    """Every image, read once to see that it can be read, under a name of its own.

    Args:
        images: what was given.
        on_check: told the place of each before it is read.
        on_unreadable: told of each that cannot be read, which is then left out; None: it raises.

    Raises:
        HeadscopeError: there is no image that can be read.
    """
    if not images:
        raise HeadscopeError("There is no image to analyse; name at least one.")
    sources: dict[str, Source] = {}
    unreadable: list[HeadscopeError] = []
    for place, image in enumerate(images):
        on_check(place)
        try:
            photograph = image if isinstance(image, Photograph) else read_image(image)
        except HeadscopeError as error:
            if on_unreadable is None:
                raise
            on_unreadable(image, error)
            unreadable.append(error)
            continue
        path = "" if photograph.path is None else str(photograph.path)
        again = path and not isinstance(image, Photograph)
        name, number = photograph.name, 2
        while name in sources:
            name, number = f"{photograph.name} ({number})", number + 1
        held = None if again else photograph
        sources[name] = Source(name, photograph.digest, path, place, held)
    if not sources:
        raise HeadscopeError(
            f"None of {len(images)} images can be read. The first: {unreadable[0]}"
        )
    return list(sources.values())
