"""What the panels of the board draw where no server answers."""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from ..figures.packing import pack
from ..views import board as views
from .blocks import packed

if TYPE_CHECKING:
    from ...analysis.study import Study

ABSENT = "This panel is computed as you look, which a file cannot do: open the study in headscope."


def parts(study: "Study") -> dict[str, str]:
    """The packed part of each panel, by the panel's name.

    A panel whose view has `of_study(study)`, of the same form as its `part`, is drawn from that;
    any other says that it is not in the file.
    """
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(views.__path__):
        view = importlib.import_module(f"{views.__name__}.{module.name}")
        of_study = getattr(view, "of_study", None)
        part: dict[str, Any] = {"waiting": ABSENT} if of_study is None else of_study(study)
        if "part" in part.get("action", {}):  # what it would open needs the server
            part = {key: value for key, value in part.items() if key != "action"}
        found[module.name] = packed(pack({"panel": module.name, **part}))
    return found
