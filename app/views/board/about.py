"""What each number is: formula, range, how to read it, source. It has no panel of its own."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ... import services
from ...jobs import Job
from ..depth.subject import Subject

if TYPE_CHECKING:
    from .... import Study

FOLLOWS = True


def part(subject: Subject) -> dict[str, Any]:
    """By metric the parts of what is registered; of what is not, those of the study's description.

    The registries import the models, so they are read in the background.
    """
    from ....analysis.about import parse

    study = subject.study
    if study is None:
        return {}
    job = services.for_board("about", None, "What numbers are", _registered)
    ended = job.wait(0)  # asked once: what ends from here on is brought at the next look
    registered = (job.result if ended else None) or {}
    own = {
        str(variable.name): str(variable.attrs.get("description", ""))
        for variable in study.head_metrics()
    }
    ablations = {}
    if "ablation" in study.data.coords:
        ablations = json.loads(study.data["ablation"].attrs.get("description", "{}"))
    return {
        "running": not ended,
        "metrics": {
            **{name: asdict(parse(text)) for name, text in own.items()},
            **registered,
        },
        "ablations": ablations,
    }


def _registered(job: Job[dict[str, Any]]) -> dict[str, Any]:
    from ....analysis.about import about, descriptions

    job.report(0)
    return {name: asdict(about(name)) for name in descriptions()}


def of_study(study: "Study") -> dict[str, Any]:
    """The part where there is no server."""
    from ....analysis.about import parse

    own = {
        str(variable.name): asdict(parse(str(variable.attrs.get("description", ""))))
        for variable in study.head_metrics()
    }
    ablations = {}
    if "ablation" in study.data.coords:
        ablations = json.loads(study.data["ablation"].attrs.get("description", "{}"))
    metrics = {**own, **_registered(Job("", ""))}
    return {"running": False, "metrics": metrics, "ablations": ablations}
