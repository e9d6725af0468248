"""The studio's icon: three masks in the colours of tracks, each before the next. python examples/make_icon.py"""

from pathlib import Path

from PIL import Image, ImageDraw

from tevit.video.overlay import PALETTE

ICON = Path(__file__).parents[1] / "assets" / "icon.png"
SIDE, FINER = 512, 4  # drawn larger and made smaller: smooth edges
GROUND = (24, 24, 27)
BLUE, RED, YELLOW = PALETTE[0], PALETTE[8], PALETTE[1]
# A colour, the mask's left, top, right and bottom, and how round it is; of 512.
MASKS = (
    (YELLOW, (214, 58, 446, 290), 82),
    (RED, (58, 134, 290, 366), 116),
    (BLUE, (170, 222, 402, 454), 82),
)


def main() -> None:
    side = SIDE * FINER
    icon = Image.new("RGBA", (side, side))
    ImageDraw.Draw(icon).rounded_rectangle((0, 0, side - 1, side - 1), 112 * FINER, GROUND)
    for colour, box, radius in MASKS:
        layer = Image.new("RGBA", icon.size)
        place, width = [edge * FINER for edge in box], 17 * FINER
        ImageDraw.Draw(layer).rounded_rectangle(place, radius * FINER, (*colour, 165), (*colour, 255), width)
        icon = Image.alpha_composite(icon, layer)
    small = icon.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(ICON, optimize=True)


if __name__ == "__main__":
    main()
