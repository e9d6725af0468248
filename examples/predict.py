"""Predict the tracks of a video: python examples/predict.py VIDEO_OR_FOLDER [MODEL_OR_CHECKPOINT]

Prints each track and writes results.json (YouTube-VIS form) and an overlay video into the current folder.
"""

import sys

import tevit


def main(source: str, model: str = "tevit_msgshift") -> None:
    predictor = tevit.load(model)
    options = tevit.PredictOptions(max_tracks=10)
    result = predictor(source, options, progress=print_progress)
    print(file=sys.stderr)
    for track in result.tracks:
        seen = result.times[track.present]
        span = f"{seen[0]:.2f}-{seen[-1]:.2f} s" if len(seen) else "never seen"
        print(
            f"{track.id:3d} {result.categories[track.category_id]:15s} {track.score:.2f} {len(seen):4d} frames, {span}"
        )
    tevit.write_results("results.json", [result])
    tevit.write_overlay(source, result, "overlay.mp4")


def print_progress(stage: str, done: int, total: int | None) -> None:
    print(f"\r{stage}: {done} of {total or 'unknown'} frames", end="", file=sys.stderr)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
