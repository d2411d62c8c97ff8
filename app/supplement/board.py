"""What the panels of the board draw where no server answers."""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from ..figures.packing import pack
from ..views import board as views
from .blocks import packed
from .feeds import Told

if TYPE_CHECKING:
    from ...analysis.study import Study

_ABSENT = {
    "waiting": "This is computed as you look, which a file cannot do: open the study in headscope.",
    "absent": True,
}


def parts(study: "Study", told: Told) -> dict[str, str]:
    """The packed part of each panel, `part-PANEL`, and what of it is an image's, `of-IMAGE-PANEL`.

    A panel whose view has `of_study(study)`, of the same form as its `part`, is drawn from that,
    with what `of_image(study, image)`, if there is one, puts in its place for the image that is
    shown. Any other is left out, which the page says.
    """
    found: dict[str, str] = {}
    names = [module.name for module in pkgutil.iter_modules(views.__path__)]
    for place, name in enumerate(names):
        told(place / len(names), f"panel {name}")
        view = importlib.import_module(f"{views.__name__}.{name}")
        of_study = getattr(view, "of_study", None)
        part: dict[str, Any] = _ABSENT if of_study is None else of_study(study)
        if "part" in part.get("action", {}):  # what it would open needs the server
            part = {key: value for key, value in part.items() if key != "action"}
        found[f"part-{name}"] = packed(pack({"panel": name, **part}))
        of_image = getattr(view, "of_image", None)
        if of_image is not None and "waiting" not in part:
            for image in range(study.n_images):
                found[f"of-{image}-{name}"] = packed(pack(of_image(study, image)))
    return found
