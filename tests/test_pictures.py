"""The pictures of the documents are made from the running studio, and those committed are small enough."""

from pathlib import Path

import pytest
from PIL import Image

from tests.processes import run_python

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"


@pytest.mark.browser
def test_the_script_makes_a_picture_of_the_running_studio(tmp_path):
    script = ROOT / "docs" / "make_pictures.py"
    done = run_python(script, tmp_path / "pictures", "--only", "compare", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "pictures" / "compare.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
        assert picture.size == (1280, 800) and colours is not None and len(colours) > 1000


def test_every_picture_is_committed_and_shown():
    names = {"segment.png", "compare.png", "errors.png", "review.png", "studio.webp"}
    assert {file.name for file in PICTURES.iterdir()} == names
    with Image.open(PICTURES / "studio.webp") as animation:
        assert animation.format == "WEBP" and getattr(animation, "n_frames", 1) > 10
    assert (PICTURES / "studio.webp").stat().st_size < 2_000_000
    pages = "".join(page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert all(f"pictures/{name})" in pages for name in names)
