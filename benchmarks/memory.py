"""Peak memory of a study against its number of images, each in a process of its own.

    python benchmarks/memory.py [--model NAME] [--images N N] [--importance off|on]

The images are different crops of one photograph, as files; the study is written to disk. The peak
is VmHWM of the process: the most that it held in memory at any time since it began.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

import headscope as hs

TARGET = 1.05


def write_images(folder: Path, n_images: int) -> None:
    photograph = data.astronaut()
    for index in range(n_images):
        top, left = np.random.default_rng(index).integers(0, 200, 2)
        crop = photograph[top : top + 300, left : left + 300]
        Image.fromarray(crop).save(folder / f"{index:05}.png")


def peak_of_study(model: str, folder: str, *, importance: bool) -> int:
    """Bytes that a process holds at most while it computes a study of all images in a folder."""
    checkpoint = hs.load(model, pretrained=False)
    out = Path(folder) / "study.zarr"
    hs.analyze(checkpoint, hs.find_images([folder]), importance=importance, out=out)
    # Not getrusage: its maximum outlives exec, and may be that of the process that started this.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("/proc/self/status has no VmHWM: this benchmark needs Linux")
    return int(found.group(1)) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo/supervised")
    parser.add_argument("--images", type=int, nargs=2, default=[64, 512])
    parser.add_argument("--importance", choices=["off", "on"], help="default: both")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        importance = options.importance == "on"
        print(peak_of_study(options.model, options.folder, importance=importance))
        return
    for importance in [options.importance] if options.importance else ["off", "on"]:
        peaks = []
        for n_images in options.images:
            with tempfile.TemporaryDirectory() as folder:
                write_images(Path(folder), n_images)
                command = [sys.executable, __file__, "--model", options.model]
                command += ["--importance", importance, "--folder", folder]
                peaks.append(int(subprocess.check_output(command)))
            print(
                f"{options.model}, importance {importance}, {n_images} images: "
                f"peak {peaks[-1] / 1e6:.0f} MB",
                flush=True,
            )
        print(f"ratio {peaks[1] / peaks[0]:.3f} (at most {TARGET})", flush=True)


if __name__ == "__main__":
    main()
