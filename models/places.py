"""Tensors that hold where each token comes from, in the place of features.

A model is run on coordinates: every channel of a pixel holds the pixel's own place. What moves
tokens (windows, rolls, padding, gathers, reordering) moves places as it moves features; what
computes on features is replaced by what it means for a place. A linear map over channels, a norm or
an activation leaves a place where it is; a convolution or a pooling averages; attention leaves the
query where it is. So at every attention, of whatever architecture, queries and keys tell their
places.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .along import Along, along_of, follow

PAYLOADS = 4
"""Presence, presence x row, presence x column, prefix: images of the batch, as movers treat all
images alike. A place is a ratio, so scaling does no harm; padding has no presence."""

FAINT = 1e-9
"""Presence of what is only padding, or a parameter: 0, but for rounding."""

Arguments = tuple[Any, ...]
Options = dict[str, Any]
Rule = Callable[[Callable[..., Any], Arguments, Options], Any]

RULES: dict[str, Rule] = {}
"""What to do on places instead of a function, by its name (`place_rules`); the others move them."""


class Places(Tensor):
    """A tensor of places; attention scores also hold those of their keys."""

    keys: Tensor | None
    along: Along | None
    """Where the payloads are; None where the model did with them what it cannot do to images."""

    @classmethod
    def of(cls, main: Tensor, along: Along | None, keys: Tensor | None = None) -> "Places":
        places = cast(Places, main.as_subclass(cls))
        places.keys = keys
        places.along = along
        return places

    @property
    def main(self) -> Tensor:
        return self.as_subclass(Tensor)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Arguments = (), kwargs: Options | None = None
    ) -> Any:
        name = func.__name__.strip("_")
        with torch._C.DisableTorchFunctionSubclass():
            return RULES.get(name, move)(func, args, kwargs or {})


def image_of_places(
    n_images: int, channels: int, size: tuple[int, int], device: torch.device
) -> Places:
    """An input whose pixels hold their own row and column, in pixels: `payload-image ...`."""
    options: Options = {"dtype": torch.float64, "device": device}
    rows, columns = (torch.arange(n, **options) + 0.5 for n in size)
    places = torch.zeros(PAYLOADS, n_images, channels, *size, **options)
    places[0] = 1
    places[1] = rows[:, None]
    places[2] = columns
    places = places.flatten(0, 1)
    return Places.of(places, Along.first(places))


def main_of(value: Any) -> Any:
    return value.main if isinstance(value, Places) else value


def keys_of(value: Any) -> Any:
    """The keys of scores; what has none is shared by both."""
    if isinstance(value, Places):
        return value.main if value.keys is None else value.keys
    return value


def places_in(arguments: Any) -> list[Places]:
    found: list[Places] = []

    def look(value: Any) -> Any:
        if isinstance(value, Places):
            found.append(value)
        return value

    tree_map(look, arguments)
    return found


def move(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """Run a mover as it is, on the places and, where there are any, on those of the keys."""
    if any(isinstance(a, (list, tuple)) for a in args):
        args = tuple(_as_prefix(a) for a in args)
    moved = places_in((args, kwargs))
    main = func(*tree_map(main_of, args), **tree_map(main_of, kwargs))
    if not any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in tree_leaves(main)):
        return main
    alongs = _alongs(func, args, kwargs, main)
    keys: Any = None
    if any(places.keys is not None for places in moved):
        keys = func(*tree_map(keys_of, args), **tree_map(keys_of, kwargs))
    if isinstance(main, Tensor):
        return _wrap(main, alongs[0], keys)
    several = list(main)
    each = [None] * len(several) if keys is None else keys
    wrapped = [_wrap(m, along, k) for m, along, k in zip(several, alongs, each, strict=True)]
    return type(main)(wrapped) if type(main) in (tuple, list) else tuple(wrapped)


def _alongs(
    func: Callable[..., Any], args: Arguments, kwargs: Options, main: Any
) -> list[Along | None]:
    """Where the payloads are in each tensor that a mover gives."""
    name, results = func.__name__, [main] if isinstance(main, Tensor) else list(main)
    places = places_in((args, kwargs))[0]
    if name.startswith("new_") or name.endswith("_like"):
        # Made anew, to be filled: of its own shape, or as an image's.
        like = [r.shape == places.shape for r in results]
        return [places.along if s else Along.first(r) for s, r in zip(like, results, strict=True)]
    if name.endswith("_") and not name.endswith("__"):  # in place
        return [places.along] * len(results)

    def moved(what: Callable[[Any], Any]) -> list[Tensor | None]:
        result = follow(func, tree_map(what, args), tree_map(what, kwargs))
        return [result] * len(results) if result is None or len(results) == 1 else list(result)

    numbers = moved(_numbers_of)
    found = [None if n is None else along_of(n, PAYLOADS) for n in numbers]
    if None in found and all(n is not None for n in numbers):
        pairs = zip(cast(Any, numbers), cast(Any, moved(_ones_of)), strict=True)
        found = [along_of(n, PAYLOADS, ones) for n, ones in pairs]
    return found


def _numbers_of(value: Any) -> Any:
    if isinstance(value, Places) and value.along is not None:
        return value.along.numbers(value.main, PAYLOADS)
    return main_of(value)


def _ones_of(value: Any) -> Any:
    return value.main.new_ones(1).expand(value.shape) if isinstance(value, Places) else value


def _wrap(value: Any, along: Along | None, keys: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return Places.of(value.as_subclass(Tensor), along, keys)
    return value


def _as_prefix(values: Any) -> Any:
    """What stands beside places in a list is parameters: prefix tokens."""
    if not isinstance(values, (list, tuple)) or not places_in(values):
        return values
    beside = next(v for v in values if isinstance(v, Places))
    return [prefix_beside(v, beside) if isinstance(v, Tensor) else v for v in values]


def prefix_beside(tensor: Tensor, beside: Places) -> Tensor:
    """Parameters that are repeated for each image are tokens: none in the image."""
    if isinstance(tensor, Places) or beside.along is None:
        return tensor
    at = beside.dim() + beside.along.axis
    if tensor.dim() <= at or tensor.shape[at] != beside.shape[at]:
        return tensor
    return prefix_like(tensor, Along(at - tensor.dim(), beside.along.outer))


def prefix_like(tensor: Tensor, along: Along | None = None) -> Places:
    """Places for tokens that are parameters: none in the image."""
    along = along or Along.first(tensor)
    if not along.fits(tensor, PAYLOADS):  # the same for all images
        return Places.of(torch.ones_like(tensor, dtype=torch.float64), None)
    numbers = along.numbers(tensor, PAYLOADS)
    return Places.of((numbers == PAYLOADS).double(), along)


def settled(tensor: Tensor, along: Along | None) -> Tensor:
    """Places with presence 1 where there is any: streams that meet then count alike, and a row
    stays one row, whatever padding its ends have met."""
    if along is None or not along.fits(tensor, PAYLOADS):
        return tensor
    payloads = along.split(tensor, PAYLOADS)
    presence = payloads[:1]
    there = presence.abs() > FAINT
    settled = torch.where(there, payloads / presence.where(there, torch.ones_like(presence)), 0)
    settled[3] = torch.where(there[0], 0, payloads[3].clamp_max(1))
    return along.join(settled)


def settle(places: Any) -> Any:
    if not isinstance(places, Places):
        return places
    keys = None if places.keys is None else settled(places.keys, places.along)
    return Places.of(settled(places.main, places.along), places.along, keys)


from . import place_rules as place_rules  # noqa: E402 – fills RULES, and needs all of the above
