"""A decoded picture of any mode -> the RGB that it means, and a note on it."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageCms

from camcli.inputs import deep
from camcli.inputs.deep import Samples
from camcli.inputs.tiffs import Tags

MAX_PROFILE_BYTES = 8_000_000
# Transparency is clear or opaque, but for edges; a band of its own, such as near infrared, hardly ever. With so few
# levels it is no band.
_SOFT = 1 / 2
_SOFT_ON_A_MAP = 1 / 100
_LEVELS = 16


def to_rgb(
    image: Image.Image, samples: Samples | None, tags: Tags | None, white: float | None
) -> tuple[Image.Image, str | None]:
    """The picture in sRGB, alpha over white, deep greys by their white; and a note.

    Raises: InputError: as `deep.eight_bit`.
    """
    if profile := image.info.get("icc_profile"):
        image = _in_srgb(image, profile)
    if samples is not None and image.mode not in ("RGB", "RGBA", "CMYK"):
        grey, note = deep.eight_bit(image, samples, white)
        return Image.fromarray(grey).convert("RGB"), note
    dark = deep.about_colours(image, samples, white) if samples is not None and image.mode != "CMYK" else None
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, dark
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        assert converted is not None
        return converted, None
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        laid, note = _with_alpha(image, tags)
        return laid, "; ".join(filter(None, (dark, note))) or None
    return image.convert("RGB"), None


def _with_alpha(image: Image.Image, tags: Tags | None) -> tuple[Image.Image, str | None]:
    """The picture over white, but for a band that only a TIFF's tags take for transparency; and a note."""
    bands = image.getbands()
    if bands[-1] not in ("A", "a"):
        return _over_white(image), None
    counts = image.getchannel(bands[-1]).histogram()
    soft = 1 - (counts[0] + counts[255]) / sum(counts)
    if sum(count > 0 for count in counts) <= _LEVELS:
        soft = 0.0
    likely = _SOFT_ON_A_MAP if tags is not None and tags.geo else _SOFT
    said = f"its transparency, band {len(bands)}, is neither clear nor opaque in {soft:.0%} of the picture"
    if tags is not None and tags.unassociated and soft > likely and image.mode in ("RGBA", "LA"):
        seen = image.split()[:-1]
        colours = Image.merge("RGB", seen) if len(seen) == 3 else seen[0].convert("RGB")
        return colours, f"{said}: taken for a band of its own (near infrared?) and left out"
    if soft > likely or (tags is not None and soft > _SOFT_ON_A_MAP):
        return _over_white(image), f"{said}: the picture is laid over white"
    return _over_white(image), None


def _over_white(image: Image.Image) -> Image.Image:
    """A picture with transparency over white; a strip at a time, because copies take memory."""
    width, height = image.size
    flat = Image.new("RGB", image.size)
    rows = max(1, 1_000_000 // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        rgba = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        flat.paste(Image.alpha_composite(white, rgba).convert("RGB"), (0, top))
    return flat


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours that the embedded profile means; unchanged if it is sRGB's own, broken, or of another mode."""
    target = {"RGB": "RGB", "CMYK": "RGB", "L": "RGB", "RGBA": "RGBA"}.get(image.mode)
    if target is None or "transparency" in image.info or len(profile) > MAX_PROFILE_BYTES:
        return image
    try:
        transform = _to_srgb(profile, image.mode, target)
        converted = None if transform is None else ImageCms.applyTransform(image, transform)
    except Exception:  # noqa: BLE001  as when decoding
        return image
    return image if converted is None else converted


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes, mode: str, target: str) -> ImageCms.ImageCmsTransform | None:
    """The change of colours from the profile to sRGB; None if nothing would change."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if mode != "CMYK" and "srgb" in ImageCms.getProfileDescription(opened).lower():
        return None
    return ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, target)
