"""How everything in this folder came about: python assets/make.py RUN [EARLIER], from the root of the repository.

RUN: a finished `python -m train demo`. EARLIER: the iteration of the checkpoint that the second predictions are by.
Made: the lean checkpoint, three sample clips, and a labelled validation set with errors in a copy of its labels and the
predictions of both checkpoints. Nothing of it is in the training data, whose seed is 1.
"""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

from tevit import shapes
from tevit.encode import VideoWriter

HERE = Path(__file__).parent
CHECKPOINT = HERE / "tevit_demo.safetensors"
SET = HERE / "shapes"
SET_SEED, SET_VIDEOS, LABEL_ERRORS = 2001, 20, 12
CLIP_SEED = 3001
CLIPS = {"crossing": 0, "return": 3, "crowd": 4}  # name -> index of the video; every second has a crossing


def main(run: Path, earlier: str) -> None:
    last = max((run / "checkpoints").iterdir(), key=lambda folder: int(folder.name))
    _tevit("convert", last / "model.safetensors", CHECKPOINT, "--inference")
    shapes.write(SET, SET_VIDEOS, SET_SEED, "valid", LABEL_ERRORS)
    _predict(CHECKPOINT, "tevit_demo")
    _predict(run / "checkpoints" / earlier / "model.safetensors", f"iteration_{earlier}")
    for name, index in CLIPS.items():
        _clip(HERE / "clips" / f"{name}.mp4", index)


def _tevit(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "tevit", *map(str, arguments)], check=True)


def _predict(checkpoint: Path, name: str) -> None:
    """predictions/<name>.json for the validation set."""
    out = SET / "out"
    _tevit(
        *("predict", "--dataset", SET / "valid.json", "--frames", SET / "JPEGImages"),
        *("--checkpoint", checkpoint, "--out", out),
    )
    target = SET / "predictions" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(json.loads((out / "results.json").read_text()), separators=(",", ":")))
    for file in out.iterdir():
        file.unlink()
    out.rmdir()


def _clip(path: Path, index: int) -> None:
    path.parent.mkdir(exist_ok=True)
    made = shapes.video(CLIP_SEED, index)
    with VideoWriter(path, made.result.size_hw, fps=Fraction(shapes.FPS)) as writer:
        for time, frame in zip(made.result.times.tolist(), made.frames(), strict=True):
            writer.write(frame, time)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "1000")
