"""HTML from Jinja2 templates: the pages of reports lie in `tevit/templates` and extend `base.html`."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jinja2 import Environment

JPEG_QUALITY = 82


@cache
def environment(folder: Path) -> "Environment":
    """Jinja2's environment for the templates below a folder.

    Values are escaped unless a template marks them `safe`; a missing value is an error. The filter `json` gives JSON
    that is escaped as any other text, which suits attributes in double quotes; inside <script> use `tojson`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    result = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return result


def render(name: str, /, **values: object) -> str:
    """The text of a template in `tevit/templates`, such as "errors.html". Raises: jinja2.UndefinedError."""
    return environment(Path(__file__).with_name("templates")).get_template(name).render(values)


def encode_jpeg(bgr: "np.ndarray", height: int | None = None, width: int | None = None) -> bytes:
    """A picture, uint8 (H, W, 3), BGR, as JPEG; one that is larger than height or width scaled down, in proportion."""
    import cv2

    ratio = min([1.0, *(most / own for most, own in zip((height, width), bgr.shape, strict=False) if most)])
    if ratio < 1:
        size = max(1, round(bgr.shape[1] * ratio)), max(1, round(bgr.shape[0] * ratio))
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def jpeg_uri(jpeg: bytes) -> str:
    """A JPEG as the address of an image in HTML."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
