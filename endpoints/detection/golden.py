"""Pictures of the golden requests, drawn: every good version knows a stop sign when it sees one."""

import io

from PIL import Image, ImageDraw, ImageFont

SIDE_PX = 416
_RED, _SKY, _GREY = (200, 20, 20), "skyblue", (160, 160, 160)
_LETTERS_PX = 70


def stop_sign() -> bytes:
    """A stop sign on a post under the sky, as PNG, 416 pixels square; the sign is from 106, 49 to 310, 252."""
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX), _SKY)
    pen = ImageDraw.Draw(picture)
    pen.regular_polygon((208, 150, 110), 8, rotation=22, fill=_RED, outline="white")
    pen.rectangle((200, 255, 216, SIDE_PX), fill=_GREY)
    pen.text((208, 150), "STOP", fill="white", anchor="mm", font=ImageFont.load_default(_LETTERS_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
