"""Studies and files that the tests of the supplement share."""

import json
import re
from dataclasses import replace

import numpy as np

import headscope as hs
from headscope.app.supplement.blocks import opened
from headscope.models.demo.scenes import scene

METRICS = ["js_divergence", "entropy", "distance", "share", "hop_share", "hop_mean"]
N_SCENES = 5
EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 2'>"
"""A label, a name or a title that would run if it were read as HTML."""
PANEL = """\
class Counting {
  constructor(app) {
    this.name = "counting";
    this.panel = boardPanel(app, { name: this.name, title: "Counting" });
    this.node = this.panel.node;
    this.number = element("b", { "data-text": "number" });
    const ask = (event) => {
      app.setStateValue("asked", { panel: "counting", wants: { more: true } });
      setText(event.target, "asking");
    };
    this.button = element("button", { "data-action": "ask", onclick: ask });
    const more = element("button", { class: "hs-asks" }, "more");
    this.panel.body.append(this.number, this.button, more);
  }

  draw(part) {
    if (this.panel.waits(part)) return;
    setText(this.number, `${part.n} of ${part.of}`);
    setText(this.button, "ask");
  }
}
PANELS.push(Counting);

class Absent {
  constructor(app) {
    this.name = "absent";
    this.panel = boardPanel(app, { name: this.name, title: "Of a server" });
    this.node = this.panel.node;
  }

  draw(part) {
    this.panel.waits(part);
  }
}
PANELS.push(Absent);
"""
VIEW = """
def of_study(study):
    return {"n": -1, "of": study.n_images}


def of_image(study, image):
    return {"n": image}
"""
"""JavaScript of two panels, and the view of the first, for a board of our own."""


def scenes(checkpoint: hs.Checkpoint) -> hs.Study:
    """Five scenes by zero and mean ablation, with the real classes of all but the last."""
    images = [
        hs.read_image(np.asarray(scene(seed).image), name=f"scene-{seed}.png")
        for seed in range(N_SCENES)
    ]
    labels = {f"scene-{seed}.png": scene(seed).label for seed in range(N_SCENES - 1)}
    return hs.analyze(
        checkpoint, images, ablations=("zero", "mean"), metrics=METRICS, labels=labels
    )


def evil(known: hs.Checkpoint, crops: np.ndarray) -> tuple[hs.Checkpoint, hs.Study]:
    """A checkpoint whose classes, and a study whose images, are called by pieces of HTML."""
    checkpoint = replace(known, labels=(EVIL, "<!-- <script>"))
    images = [hs.read_image(crop, name=f"{place}{EVIL}.png") for place, crop in enumerate(crops)]
    return checkpoint, hs.analyze(checkpoint, images, metrics=METRICS)


def blocks(file: bytes) -> dict[str, bytes]:
    """What is in the file, by name."""
    found = re.findall(r'<script type="text/plain" id="([^"]+)">([^<]*)</script>', file.decode())
    assert len(dict(found)) == len(found)
    return {name: opened(text) for name, text in found}


def told(file: bytes) -> dict:
    return json.loads(blocks(file)["study"])
