"""Makes docs/pictures/comparison-*.png: demo/supervised beside demo/masked on the same scenes.

    python docs/make_comparison.py [--images N]

Distance and mutual information of query and key over layers with bootstrap intervals over images,
the paired differences, and the patterns of all maps of both checkpoints, learned together.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from playwright.sync_api import sync_playwright

import headscope as hs
from headscope.analysis.compare import compare
from headscope.analysis.importance.intervals import Interval, bootstrap_interval
from headscope.analysis.patterns import Patterns, fit_patterns
from headscope.analysis.trends import trend
from headscope.app import running
from headscope.app.figures.comparison import HEIGHT, Side, chart
from headscope.models.demo.scenes import HELD_OUT, scene

CHECKPOINTS = ("demo/supervised", "demo/masked")
METRICS = ("distance", "nmi")
PICTURES = Path(__file__).parent / "pictures"
WIDTH = 1120


def shares(patterns: Patterns, origin: int) -> Interval:
    """Of the maps of one checkpoint the share in each pattern, image by image."""
    of = patterns.maps.origin == origin
    images, labels = patterns.maps.image[of], patterns.clustering.labels[of]
    counts = np.zeros((images.max() + 1, patterns.clustering.n))
    np.add.at(counts, (images, labels), 1)
    return bootstrap_interval((counts / counts.sum(1, keepdims=True))[:, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    browser_path = running.find_browser()
    if browser_path is None:
        sys.exit(running.NO_BROWSER)
    scenes = [scene(seed).image for seed in HELD_OUT[: options.images]]
    studies = [
        hs.analyze(hs.load(name), scenes, metrics=METRICS, importance=False) for name in CHECKPOINTS
    ]
    patterns = fit_patterns([hs.load(name) for name in CHECKPOINTS], scenes, umap=False)
    differences = [compare(*studies, metric) for metric in METRICS]
    for found in differences:
        low, high = float(found.whole.low[0]), float(found.whole.high[0])
        print(
            f"{found.metric}: {found.means[0]:.4g} and {found.means[1]:.4g} {found.units}, "
            f"{found.second} − {found.first} = {float(found.whole.mean[0]):+.4g} "
            f"({low:+.4g} to {high:+.4g}), {found.n_images} images"
        )
    sides = []
    for origin, (name, study) in enumerate(zip(CHECKPOINTS, studies, strict=True)):
        trends = [trend(study, metric) for metric in METRICS]
        of_patterns = shares(patterns, origin)
        flat = Interval(
            of_patterns.mean[0],
            of_patterns.low[0],
            of_patterns.high[0],
            of_patterns.n_images[0],
            of_patterns.confidence,
            of_patterns.method,
            of_patterns.reason,
        )
        sides.append(Side(name, trends, flat))
        told = ", ".join(
            f"{cluster.name} {100 * flat.mean[i]:.1f} % ({100 * flat.low[i]:.1f} to "
            f"{100 * flat.high[i]:.1f})"
            for i, cluster in enumerate(patterns.clusters)
        )
        print(f"{name}: {told}")
    print(f"training: stopped by {patterns.training.stopped_by}")
    names = [cluster.name for cluster in patterns.clusters]
    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=list(running.BROWSER_OPTIONS)
        )
        for scheme in ("light", "dark"):
            dark = scheme == "dark"
            figure = chart((sides[0], sides[1]), differences, names, dark=dark)
            ground = "#0d1117" if dark else "#ffffff"  # of a README on either theme
            figure.update_layout(width=WIDTH, paper_bgcolor=ground)
            page = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=2
            )
            html = Path(folder) / "figure.html"
            figure.write_html(html, config={"displayModeBar": False})
            page.goto(html.as_uri())
            page.add_style_tag(content="body { margin: 0 }")
            page.wait_for_selector(".js-plotly-plot .bars path")
            page.screenshot(path=PICTURES / f"comparison-{scheme}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
