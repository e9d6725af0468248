"""The official metric and the ΔAP of errors: python examples/evaluate.py GROUND_TRUTH RESULTS

Both in YouTube-VIS JSON; RESULTS of any model. Prints the metrics, the worst videos and the error type of highest ΔAP.
"""

import sys

import tevit


def main(ground_truth: str, results: str) -> None:
    evaluation = tevit.evaluate(ground_truth, results)
    for name, value in evaluation.figures.items():
        print(f"{name:6s} {'no ground truth' if value < 0 else f'{value:.4f}'}")

    worst = sorted(evaluation.by_video().items(), key=lambda item: item[1].AP)[:3]
    print("worst videos:", ", ".join(f"{id} (AP50 {part.AP50:.2f})" for id, part in worst if part.truths))

    errors = tevit.find_errors(ground_truth, results)
    costliest = max(errors.dap, key=lambda type: errors.dap[type])
    print(f"error type of highest ΔAP: {costliest}, {errors.dap[costliest]:.4f} of AP50")
    for record in sorted(errors.records, key=lambda record: -record.share)[:5]:
        print(f"  {record.type}: video {record.video_id}, frame {record.worst_frame}, ΔAP {record.share:.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
