"""Many users of one studio at the same time: `python benchmarks/load.py --users 20 --minutes 10 --out load.json`.

Starts a studio of its own. Every fourth user segments the bundled clip by /segment, the others evaluate the bundled
predictions by /evaluate; all load the page before each call. Prints seconds of each kind of request, and failures.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import httpx
import numpy as np
from gradio_client import Client, handle_file
from studio import ROOT, start_studio

SHAPES = ROOT / "assets" / "shapes"
CLIP = sorted((ROOT / "assets" / "clips").glob("*.mp4"))[0]
LIMITS = ("--queue", "1000", "--queue-per-visitor", "1000", "--calls-per-minute", "0", "--uploads-per-minute", "0")


def use(url: str, place: int, end: float, seconds: dict[str, list[float]], failures: list[str]) -> None:
    """One user's requests until the end."""
    client = Client(url, verbose=False)
    kind = "segment" if place % 4 == 0 else "evaluate"
    while time.monotonic() < end:
        for name in ("page", kind):
            began = time.monotonic()
            try:
                if name == "page":
                    httpx.get(url, timeout=60).raise_for_status()
                elif name == "segment":
                    client.predict(handle_file(CLIP), "tevit_demo", api_name="/segment")
                else:
                    files = (SHAPES / "valid.json", SHAPES / "predictions" / "tevit_demo.json")
                    client.predict(*map(handle_file, files), api_name="/evaluate")
                seconds[name].append(time.monotonic() - began)
            except Exception as error:
                failures.append(f"{name}: {error}")


def main() -> int:
    """Returns 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    seconds, failures = defaultdict(list), []
    with tempfile.TemporaryDirectory() as home, start_studio(home, *LIMITS) as (url, process):
        end = time.monotonic() + 60 * args.minutes
        users = [threading.Thread(target=use, args=(url, n, end, seconds, failures)) for n in range(args.users)]
        for user in users:
            user.start()
        for user in users:
            user.join()
        memory = Path(f"/proc/{process}/status").read_text().partition("VmHWM:")[2].split()[0]
    figures = {"users": args.users, "minutes": args.minutes, "failures": len(failures), "peak_kb": int(memory)}
    for name, values in sorted(seconds.items()):
        median, most, longest = (round(value, 2) for value in np.percentile(values, [50, 95, 100]))
        figures[name] = {"count": len(values), "median": median, "p95": most, "max": longest}
    text = json.dumps(figures, indent=2)
    print(text, *failures[:5], sep="\n")
    if args.out:
        args.out.write_text(text + "\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
