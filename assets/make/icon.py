"""Draw the studio's icon, three overlapping masks in the colours of tracks: python assets/make/icon.py"""

from pathlib import Path

from PIL import Image, ImageDraw

from tevit.video.overlay import PALETTE

ICON = Path(__file__).parents[1] / "icon.png"
SIDE, SCALE = 512, 4  # drawn larger and scaled down: smooth edges
BACKGROUND = (24, 24, 27)
BLUE, RED, YELLOW = PALETTE[0], PALETTE[8], PALETTE[1]
# Colour; left, top, right, bottom and corner radius, in 512ths of the side.
MASKS = (
    (YELLOW, (214, 58, 446, 290), 82),
    (RED, (58, 134, 290, 366), 116),
    (BLUE, (170, 222, 402, 454), 82),
)


def main() -> None:
    side = SIDE * SCALE
    icon = Image.new("RGBA", (side, side))
    ImageDraw.Draw(icon).rounded_rectangle((0, 0, side - 1, side - 1), 112 * SCALE, BACKGROUND)
    for colour, box, radius in MASKS:
        layer = Image.new("RGBA", icon.size)
        corners, width = [edge * SCALE for edge in box], 17 * SCALE
        ImageDraw.Draw(layer).rounded_rectangle(corners, radius * SCALE, (*colour, 165), (*colour, 255), width)
        icon = Image.alpha_composite(icon, layer)
    small = icon.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(ICON, optimize=True)


if __name__ == "__main__":
    main()
