"""Draws media/icon.png: lines of code with a hole that is being denoised. Needs numpy; nothing else knows how the icon is made."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

SIZE, FINE = 128, 8
NIGHT, DEEP = (22, 26, 38), (38, 30, 66)
INK, MINT, VIOLET = (203, 213, 235), (94, 234, 196), (150, 126, 255)


def rounded(x: np.ndarray, y: np.ndarray, box: tuple[float, float, float, float], radius: float) -> np.ndarray:
    """Whether points lie in a box (left, top, right, bottom) with round corners."""
    left, top, right, bottom = box
    dx = np.maximum(np.maximum(left + radius - x, x - right + radius), 0)
    dy = np.maximum(np.maximum(top + radius - y, y - bottom + radius), 0)
    return (dx * dx + dy * dy <= radius * radius) & (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def paint(canvas: np.ndarray, where: np.ndarray, colour: tuple[float, float, float], strength: float = 1.0) -> None:
    canvas[where, :3] = canvas[where, :3] * (1 - strength) + np.array(colour) * strength


def draw() -> np.ndarray:
    """The icon, height x width x RGBA, 0 to 255."""
    y, x = (np.mgrid[0 : SIZE * FINE, 0 : SIZE * FINE] + 0.5) / FINE
    canvas = np.zeros((SIZE * FINE, SIZE * FINE, 4))
    slope = ((x + y) / (2 * SIZE))[..., None]
    canvas[..., :3] = np.array(NIGHT) * (1 - slope) + np.array(DEEP) * slope
    canvas[rounded(x, y, (2, 2, 126, 126), 28), 3] = 255
    for left, top, right, strength in ((24, 27, 66, 0.55), (72, 27, 88, 0.35), (24, 91, 50, 0.55), (56, 91, 98, 0.35)):
        paint(canvas, rounded(x, y, (left, top, right, top + 10), 5), INK, strength)
    # The line with the hole: firm on both sides, and between them dots that are the surer the closer they are to what is known.
    paint(canvas, rounded(x, y, (24, 54, 42, 74), 6), INK)
    paint(canvas, rounded(x, y, (94, 54, 104, 74), 5), INK)
    for column, at in enumerate(np.linspace(52, 84, 4)):
        sure = abs(column - 1.5) / 1.5
        for row, down in enumerate((57.2, 64.0, 70.8)):
            wobble = 0.5 if (column + row) % 2 else -0.5
            colour = np.array(VIOLET) * (1 - sure) + np.array(MINT) * sure
            radius = 2.1 + 1.5 * sure + wobble * (1 - sure)
            paint(canvas, (x - at) ** 2 + (y - down) ** 2 <= radius * radius, tuple(colour), 0.6 + 0.4 * sure)
    alpha = canvas[..., 3:] / 255
    shape = (SIZE, FINE, SIZE, FINE)
    cover = alpha.reshape(*shape, 1).mean(axis=(1, 3))
    colours = (canvas[..., :3] * alpha).reshape(*shape, 3).mean(axis=(1, 3)) / np.maximum(cover, 1e-6)
    return np.concatenate([colours, cover * 255], axis=2).round().astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Pixels, height x width x RGBA, as a PNG file."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    Path(__file__).resolve().parents[1].joinpath("media", "icon.png").write_bytes(png(draw()))
