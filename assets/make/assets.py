"""Regenerate the demo checkpoint, clips and data set in assets/: python assets/make/assets.py RUN EARLIER

RUN: folder of a finished `tevit train demo`. EARLIER: the checkpoint of the second predictions, for example
runs/demo/checkpoints/1000.
Writes the checkpoint for inference, three sample clips, and a validation set with a second annotation file that has
label errors, and the predictions of both checkpoints. None of it is in the training data, whose seed is 1.
"""

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

from tevit.synthetic import dataset as shapes
from tevit.video.overlay import VideoWriter

ASSETS = Path(__file__).parents[1]
CHECKPOINT, SET = ASSETS / "tevit_demo.safetensors", ASSETS / "shapes"
SET_SEED, SET_VIDEOS, LABEL_ERRORS = 2001, 20, 12
CLIP_SEED = 3001
CLIPS = {"crossing": 0, "return": 3, "crowd": 4}  # name -> index of the video; even ones have a crossing


def main(run: Path, earlier: Path) -> None:
    last = max((run / "checkpoints").iterdir(), key=lambda folder: int(folder.name))
    tevit("convert", last / "model.safetensors", CHECKPOINT, "--inference")
    shapes.write(SET, SET_VIDEOS, SET_SEED, "valid", LABEL_ERRORS)
    predict(CHECKPOINT, "tevit_demo")
    predict(earlier / "model.safetensors", f"iteration_{earlier.name}")
    for name, index in CLIPS.items():
        clip(ASSETS / "clips" / f"{name}.mp4", shapes.video(CLIP_SEED, index))


def tevit(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "tevit", *map(str, arguments)], check=True)


def predict(checkpoint: Path, name: str) -> None:
    out = SET / "out"
    data = ("--dataset", SET / "valid.json", "--frames", SET / "JPEGImages")
    tevit("predict", *data, "--checkpoint", checkpoint, "--out", out)
    (SET / "predictions").mkdir(exist_ok=True)
    (out / "results.json").rename(SET / "predictions" / f"{name}.json")
    shutil.rmtree(out)


def clip(path: Path, video: shapes.ShapesVideo) -> None:
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, video.result.size_hw, fps=Fraction(shapes.FPS)) as writer:
        for time, frame in zip(video.result.times.tolist(), video.frames(), strict=True):
            writer.write(frame, time)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
