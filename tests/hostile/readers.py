"""Every reader of files from outside: a small valid file for each, and a call that reads all of it."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from tests import annotations as make
from tests.hostile import files
from tevit.evaluation.api import evaluate
from tevit.io.formats import convert
from tevit.io.validate import validate
from tevit.io.ytvis import open_dataset, parse_dataset, read_results
from tevit.review.decisions import AcceptMasks, AddTrack, ReplaceMask, decide, read_log, to_line, to_mask
from tevit.video.reader import open_video

GT = json.dumps(make.sample()).encode()


@dataclass(frozen=True)
class Reader:
    """name: with the suffix of its files. make: the bytes of a valid file. read: all of a file, by its path."""

    name: str
    make: Callable[[], bytes]
    read: Callable[[Path], object]

    @property
    def is_json(self) -> bool:
        return self.name.endswith(".json")


def _dataset(path: Path) -> None:
    dataset = open_dataset(path)
    list(dataset.results())
    evaluate(dataset, read_results(_sibling(path, make.submission())))


def _results(path: Path) -> None:
    results = read_results(path)
    dataset = parse_dataset(GT, "gt.json")
    evaluate(dataset, results)
    [results.video(info, dataset.categories) for info in dataset.videos.values()]


def _sibling(path: Path, content: object) -> Path:
    return make.save(path.parent, "beside.json", content)


def _validated(path: Path) -> None:
    validate(path)


def _formats(path: Path) -> None:
    list(convert.read(path, gt=parse_dataset(GT, "gt.json"))[0])


def _video(path: Path) -> None:
    for frame in open_video(path).frames():
        assert frame.rgb.dtype == np.uint8 and frame.rgb.ndim == 3


def _checkpoint(path: Path) -> None:
    from tevit.checkpoint import load_model

    load_model(path)


def converted(to: convert.Format) -> bytes:
    with TemporaryDirectory() as folder:
        dataset = parse_dataset(GT, "gt.json")
        written, _ = convert.write(Path(folder, "out"), to, dataset.results())
        return written[0].read_bytes()


def _results_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.json", json.dumps(make.submission()))
    return buffer.getvalue()


def image(kind: str, pages: int = 1) -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.fromarray(np.full((24, 32, 3), 40 * n + 20, np.uint8)) for n in range(pages)]
    more = {"save_all": True, "append_images": pictures[1:]} if pages > 1 else {}
    pictures[0].save(buffer, kind, **more)
    return buffer.getvalue()


def _images_zip(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for n in range(2):
            archive.writestr(f"walk/{n}.png", image("PNG"))
    return buffer.getvalue()


def _encoded_video(suffix: str, codec: str) -> bytes:
    with TemporaryDirectory() as folder:
        return files.video(Path(folder, f"a.{suffix}"), (32, 48), 4, codec).read_bytes()


def _log() -> bytes:
    mask = to_mask({"size": [6, 9], "counts": make.text(make.plain_runs(make.rectangle(1, 2, 4, 5))).encode()})
    assert mask is not None
    actions = (AcceptMasks(11, 0, (mask, None)), AddTrack(4, (mask, None)), ReplaceMask(11, 0, mask))
    decisions = [decide("0" * 64, 5, "label is wrong", action, "Ann", frames=(0, 1)) for action in actions]
    return "".join(to_line(decision) + "\n" for decision in decisions).encode()


def decision() -> bytes:
    """The first line of a log, as JSON."""
    return _log().split(b"\n")[0]


@cache
def checkpoint() -> bytes:
    """The bundled model: header and tensors."""
    from tevit.download import bundled_path

    return bundled_path("tevit_demo").read_bytes()


def with_configuration(config: object) -> bytes:
    """The bundled model with another configuration in its header. config: any JSON."""
    data = checkpoint()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {"tevit": json.dumps(config)}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def configuration() -> dict:
    """That of the bundled model."""
    data = checkpoint()
    return json.loads(json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]["tevit"])


READERS = {
    reader.name: reader
    for reader in (
        Reader("dataset.json", lambda: GT, _dataset),
        Reader("results.json", lambda: json.dumps(make.submission()).encode(), _results),
        Reader("results.json.gz", lambda: gzip.compress(json.dumps(make.submission()).encode()), _results),
        Reader("results.zip", _results_zip, _results),
        Reader("validated.json", lambda: GT, _validated),
        Reader("submission.json", lambda: json.dumps(make.submission()).encode(), _validated),
        Reader("coco.json", lambda: converted("coco"), _formats),
        Reader("burst.json", lambda: converted("burst"), _formats),
        Reader("label-studio.json", lambda: converted("label-studio"), _formats),
        Reader("cvat.xml", lambda: converted("cvat"), _formats),
        Reader("cvat-video.xml", lambda: converted("cvat-video"), _formats),
        Reader("decision.json", decision, read_log),
        Reader("log.jsonl", _log, read_log),
        Reader("model.safetensors", checkpoint, _checkpoint),
        Reader("image.png", lambda: image("PNG"), _video),
        Reader("image.jpg", lambda: image("JPEG"), _video),
        Reader("image.bmp", lambda: image("BMP"), _video),
        Reader("pages.tif", lambda: image("TIFF", 3), _video),
        Reader("pages.webp", lambda: image("WEBP", 3), _video),
        Reader("pages.png", lambda: image("PNG", 3), _video),
        Reader("deflated.zip", lambda: _images_zip(zipfile.ZIP_DEFLATED), _video),
        Reader("lzma.zip", lambda: _images_zip(zipfile.ZIP_LZMA), _video),
        Reader("stored.zip", lambda: _images_zip(zipfile.ZIP_STORED), _video),
        Reader("video.mp4", lambda: _encoded_video("mp4", "libx264"), _video),
        Reader("video.ts", lambda: _encoded_video("ts", "libx264"), _video),
        Reader("video.avi", lambda: _encoded_video("avi", "mpeg4"), _video),
        Reader("video.mkv", lambda: _encoded_video("mkv", "libvpx"), _video),
    )
}


class UnexpectedError(Exception):
    """A reader raised what no command reports in one sentence."""


def read(reader: Reader, path: Path, data: bytes) -> str:
    """Read a damaged file; returns the sentence of its error, "" where it can be read.

    Raises: UnexpectedError for any other exception than those that commands report, or for a sentence that is none.
    """
    path.write_bytes(data)
    try:
        reader.read(path)
    except (ValueError, OSError) as error:
        text = str(error)
        if isinstance(error, UnicodeError) or not text.strip() or len(text) > 20_000:
            raise UnexpectedError(f"{reader.name}: {type(error).__name__}: {text[:200]!r}") from error
        return text
    except Exception as error:
        raise UnexpectedError(f"{reader.name}: {type(error).__name__}: {str(error)[:200]}") from error
    return ""
