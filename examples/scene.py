"""A street that does not exist: painted by rule for `make_clip.py`, with a person who walks along it to the left.

Everything is drawn at twice the size of the clip, float RGB in [0, 1], from one seeded generator.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

HEIGHT, WIDTH = 760, 1740
HORIZON, PAVEMENT, KERB, ROAD_LINE = 452, 478, 590, 668


def paint_street(rng: np.random.Generator) -> Image:
    """The whole street, (HEIGHT, WIDTH, 3): sky, hills, houses, pavement, road, trees, lamps."""
    street = _sky(rng)
    _hills(street, rng)
    _ground(street, rng)
    x = -30
    while x < WIDTH:
        width = int(rng.integers(150, 250))
        _house(street, x, width, int(rng.integers(230, 380)), rng)
        x += width + int(rng.integers(0, 3) == 0) * int(rng.integers(40, 90))
    _shade(street, PAVEMENT, 0.55, 26)
    for x in range(130, WIDTH, 330):
        _tree(street, x + int(rng.integers(-50, 50)), PAVEMENT + 8, int(rng.integers(62, 88)), rng)
    for x in range(300, WIDTH, 420):
        _lamp(street, x)
    street += 0.018 * rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32)
    return np.clip(street, 0, 1)


def draw_walker(street: Image, x: float, phase: float) -> tuple[Image, Image]:
    """The street with the walker in it.

    Args:
        street: (HEIGHT, WIDTH, 3).
        x: where the walker stands, in pixels of the street.
        phase: of the stride, in radians; a full stride is 2 pi.

    Returns:
        The new picture and the walker's coverage, (HEIGHT, WIDTH) in [0, 1], the shadow included.
    """
    ground = PAVEMENT + 74.0
    bob = 3 * np.cos(2 * phase)
    hip, neck = (x, ground - 86 + bob), (x + 7, ground - 152 + bob)
    parts: list[tuple[tuple[float, float], tuple[float, float], float, float, tuple[float, float, float]]] = []
    for side, cloth in ((np.pi, (0.12, 0.15, 0.30)), (0.0, (0.17, 0.21, 0.42))):
        swing = 0.55 * np.sin(phase + side)
        knee = _from(hip, swing, 43)
        foot = _from(knee, swing - 0.5 * max(0.0, float(np.cos(phase + side))) - 0.1, 41)
        arm = -0.6 * np.sin(phase + side)
        elbow = _from((neck[0], neck[1] + 9), arm, 31)
        hand = _from(elbow, arm + 0.5, 27)
        limbs = [
            (hip, knee, 12.0, 9.0, cloth),
            (knee, foot, 9.0, 6.0, cloth),
            (foot, (foot[0] + 13, foot[1] + 2), 6.0, 4.5, (0.20, 0.12, 0.08)),
        ]
        sleeve = [(neck, elbow, 8.5, 7.0, (0.62, 0.12, 0.10)), (elbow, hand, 7.0, 4.5, (0.70, 0.15, 0.12))]
        if side:  # the far arm and leg go first, the body over them
            body = [
                (hip, neck, 17.0, 18.0, (0.80, 0.17, 0.13)),
                ((neck[0] - 15, neck[1] + 14), (hip[0] - 13, hip[1] - 18), 12.0, 13.0, (0.20, 0.34, 0.25)),
            ]
            parts += [*sleeve, *limbs, *body]
        else:
            head = (neck[0] + 4, neck[1] - 29)
            parts += [
                *limbs,
                *sleeve,
                (neck, head, 6.0, 7.0, (0.80, 0.60, 0.48)),
                (head, (head[0] + 1, head[1] - 4), 13.0, 14.0, (0.85, 0.65, 0.52)),
                ((head[0] - 7, head[1] - 8), (head[0] + 3, head[1] - 13), 9.0, 9.0, (0.18, 0.11, 0.07)),
            ]
    picture, cover = street.copy(), np.zeros((HEIGHT, WIDTH), np.float32)
    near = slice(round(ground) - 230, round(ground) + 40), slice(max(0, round(x) - 150), round(x) + 150)
    rows, columns = (axis[near] for axis in np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32))
    shadow = np.exp(-(((columns - x - 18) / 58) ** 2 + ((rows - ground) / 8) ** 2) * 1.6)
    picture[near] *= (1 - 0.5 * shadow)[..., None]
    cover[near] = shadow > 0.04
    for start, end, thick, thin, colour in parts:  # drawn facing right; the walker goes left
        ends = (2 * x - start[0], start[1]), (2 * x - end[0], end[1])
        light, inside = _capsule(columns, rows, *ends, thick, thin)
        shaded = np.asarray(colour, np.float32) * light[..., None]
        picture[near] += inside[..., None] * (shaded - picture[near])
        cover[near] = np.maximum(cover[near], inside)
    return np.clip(picture, 0, 1), cover


def _from(point: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    """The end of a limb that hangs from `point`, `angle` radians forward of straight down."""
    return point[0] + length * float(np.sin(angle)), point[1] + length * float(np.cos(angle))


def _capsule(
    columns: Image, rows: Image, start: tuple[float, float], end: tuple[float, float], thick: float, thin: float
) -> tuple[Image, Image]:
    """A rounded limb from `start` to `end`: its brightness under a light from the upper left, and its coverage."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((columns - start[0]) * dx + (rows - start[1]) * dy) / (dx * dx + dy * dy + 1e-6), 0, 1)
    off_x, off_y = columns - start[0] - along * dx, rows - start[1] - along * dy
    radius = thick + (thin - thick) * along
    distance = np.hypot(off_x, off_y)
    facing = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
    light = np.asarray(
        0.55 + 0.6 * np.clip(-0.5 * off_x / radius - 0.55 * off_y / radius + 0.67 * facing, 0, 1), np.float32
    )
    return light, np.clip(radius - distance + 0.5, 0, 1)


def _rgb(red: float, green: float, blue: float) -> Image:
    return np.array([red, green, blue], np.float32)


def _noise(shape: tuple[int, int], cell: tuple[int, int], octaves: int, rng: np.random.Generator) -> Image:
    """Fractal noise in about [-1, 1]: ever finer smooth random grids, each at 0.6 of the one before."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grid = (max(2, (height << octave) // cell[0] + 2), max(2, (width << octave) // cell[1] + 2))
        coarse = rng.uniform(-1, 1, grid).astype(np.float32)
        total += 0.6**octave * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return total / 1.6


def _sky(rng: np.random.Generator) -> Image:
    height = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    sky = (1 - height) * _rgb(0.28, 0.48, 0.80) + height * _rgb(0.95, 0.93, 0.88)
    sky = np.repeat(sky, WIDTH, axis=1)
    cloud = np.clip(_noise((HEIGHT, WIDTH), (110, 320), 6, rng) * 1.7 + 0.05, 0, 1)[..., None]
    return np.ascontiguousarray(sky + 0.8 * cloud * (_rgb(0.98, 0.97, 0.96) - sky))


def _hills(street: Image, rng: np.random.Generator) -> None:
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None]
    for top, colour in ((250, (0.52, 0.62, 0.66)), (310, (0.38, 0.50, 0.42))):
        skyline = top + 45 * _noise((2, WIDTH), (2, 260), 6, rng)[0]
        grain = 1 + 0.16 * _noise((HEIGHT, WIDTH), (24, 36), 4, rng)
        below = np.clip(rows - skyline[None], 0, 1)[..., None]
        street += below * (_rgb(*colour) * grain[..., None] - street)


def _ground(street: Image, rng: np.random.Generator) -> None:
    grass = 1 + 0.5 * _noise((HEIGHT, WIDTH), (7, 14), 4, rng)[HORIZON:PAVEMENT]
    street[HORIZON:PAVEMENT] = _rgb(0.26, 0.38, 0.16) * grass[..., None]
    stone = 1 + 0.22 * _noise((HEIGHT, WIDTH), (10, 30), 5, rng)[PAVEMENT:KERB]
    street[PAVEMENT:KERB] = _rgb(0.60, 0.57, 0.52) * stone[..., None]
    vanishing = WIDTH / 2
    for x in range(-WIDTH, 2 * WIDTH, 58):  # the joints between the slabs run to a vanishing point
        end = round(vanishing + (x - vanishing) * 1.5)
        cv2.line(street, (x, PAVEMENT), (end, KERB), (0.40, 0.38, 0.35), 2, cv2.LINE_AA)
    for y in (497, 524, 557):
        cv2.line(street, (0, y), (WIDTH, y), (0.42, 0.40, 0.37), 2, cv2.LINE_AA)
    asphalt = 1 + 0.3 * _noise((HEIGHT, WIDTH), (8, 22), 5, rng)[KERB:]
    street[KERB:] = _rgb(0.27, 0.27, 0.29) * asphalt[..., None]
    street[KERB : KERB + 9] = _rgb(0.68, 0.66, 0.62)
    street[KERB + 9 : KERB + 15] *= 0.5
    for x in range(-40, WIDTH, 190):
        line = np.array([[x, ROAD_LINE], [x + 95, ROAD_LINE], [x + 101, ROAD_LINE + 9], [x + 2, ROAD_LINE + 9]])
        cv2.fillPoly(street, [line], (0.80, 0.80, 0.76), cv2.LINE_AA)


def _house(street: Image, x: int, width: int, tall: int, rng: np.random.Generator) -> None:
    top, left, right = HORIZON + 16 - tall, max(0, x), min(WIDTH, x + width)
    if right - left < 20:
        return
    colours = [(0.62, 0.33, 0.24), (0.80, 0.72, 0.58), (0.56, 0.60, 0.64), (0.86, 0.82, 0.76), (0.70, 0.50, 0.34)]
    colour = _rgb(*colours[int(rng.integers(len(colours)))]) * float(rng.uniform(0.85, 1.05))
    wall = np.ones((HORIZON + 16 - top, right - left, 3), np.float32) * colour
    for row, y in enumerate(range(0, wall.shape[0], 7)):  # courses of bricks
        cv2.line(wall, (0, y), (wall.shape[1], y), (colour * 0.82).tolist(), 1)
        for brick in range(8 * (row % 2), wall.shape[1], 16):
            tone = (colour * float(rng.uniform(0.84, 1.12))).tolist()
            cv2.rectangle(wall, (brick, y + 1), (brick + 14, y + 6), tone, -1)
    wall *= 1 + 0.14 * _noise(wall.shape[:2], (60, 60), 5, rng)[..., None]
    street[top : top + wall.shape[0], left:right] = wall
    _windows(street, x, width, top, rng)
    roof = np.array([[x - 8, top], [x + 24, top - 46], [x + width - 24, top - 46], [x + width + 8, top]])
    tile = _rgb(0.36, 0.22, 0.18) * float(rng.uniform(0.7, 1.3))
    cv2.fillPoly(street, [roof], tile.tolist(), cv2.LINE_AA)
    for y in range(top - 40, top, 8):
        inset = round(32 * (top - y) / 46)
        cv2.line(street, (x - 6 + inset, y), (x + width + 6 - inset, y), (tile * 0.72).tolist(), 2, cv2.LINE_AA)
    chimney = x + width // 4
    cv2.rectangle(street, (chimney, top - 76), (chimney + 20, top - 40), (colour * 0.7).tolist(), -1)


def _windows(street: Image, x: int, width: int, top: int, rng: np.random.Generator) -> None:
    step = 52
    n_columns = max(1, (width - 24) // step)
    margin = (width - n_columns * step) // 2 + 11
    for y in range(top + 22, HORIZON - 34, 66):
        for column in range(n_columns):
            a = x + margin + column * step
            glass = float(rng.uniform(0.14, 0.5))
            cv2.rectangle(street, (a - 4, y - 4), (a + 34, y + 48), (0.90, 0.88, 0.84), -1)
            cv2.rectangle(street, (a, y), (a + 30, y + 44), (glass * 0.8, glass, glass * 1.25), -1)
            shine = np.array([[a, y + 30], [a + 30, y + 4], [a + 30, y + 16], [a, y + 42]])
            cv2.fillPoly(street, [shine], (glass + 0.14, glass + 0.18, glass + 0.25), cv2.LINE_AA)
            if rng.uniform() < 0.5:
                drawn = round(float(rng.uniform(8, 24)))
                cv2.rectangle(street, (a, y), (a + 30, y + drawn), (0.80, 0.74, 0.62), -1)
            cv2.line(street, (a + 15, y), (a + 15, y + 44), (0.88, 0.86, 0.82), 3)
            cv2.line(street, (a, y + 20), (a + 30, y + 20), (0.88, 0.86, 0.82), 2)
            cv2.rectangle(street, (a - 7, y + 48), (a + 37, y + 53), (0.58, 0.56, 0.54), -1)


def _shade(street: Image, y: int, depth: float, reach: int) -> None:
    """Darken the foot of what stands at row `y`."""
    for offset in range(reach):
        street[y - reach + offset] *= 1 - depth * (offset / reach) ** 3


def _tree(street: Image, x: int, foot: int, radius: int, rng: np.random.Generator) -> None:
    crown = foot - 150 - radius // 2
    trunk = np.array([[x - 11, foot], [x - 5, crown], [x + 5, crown], [x + 11, foot]])
    cv2.fillPoly(street, [trunk], (0.27, 0.20, 0.14), cv2.LINE_AA)
    for _ in range(40):
        y, offset = int(rng.integers(crown, foot)), int(rng.integers(-6, 7))
        tone = float(rng.uniform(0.12, 0.34))
        cv2.line(street, (x + offset, y), (x + offset, y + 9), (tone, tone * 0.8, tone * 0.6), 1, cv2.LINE_AA)
    for _ in range(1500):  # leaves: dark ones far below right, light ones towards the light
        angle, reach = float(rng.uniform(0, 2 * np.pi)), float(np.sqrt(rng.uniform()))
        bump = 1 + 0.16 * np.sin(5 * angle + x)
        u, v = reach * bump * np.cos(angle), reach * bump * np.sin(angle)
        lit = float(np.clip(0.5 - 0.28 * u - 0.4 * v + rng.normal(0, 0.16), 0.08, 1))
        centre = (round(x + radius * 1.1 * u), round(crown + radius * v))
        leaf = (round(float(rng.uniform(2, 6))), round(float(rng.uniform(2, 4))))
        colour = (0.12 + 0.40 * lit, 0.20 + 0.46 * lit, 0.07 + 0.16 * lit)
        cv2.ellipse(street, centre, leaf, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)


def _lamp(street: Image, x: int) -> None:
    foot = PAVEMENT + 18
    cv2.line(street, (x, foot), (x, foot - 250), (0.13, 0.15, 0.15), 6, cv2.LINE_AA)
    cv2.line(street, (x - 1, foot), (x - 1, foot - 250), (0.32, 0.35, 0.35), 2, cv2.LINE_AA)
    cv2.ellipse(street, (x + 20, foot - 250), (20, 22), 0, 180, 360, (0.13, 0.15, 0.15), 5, cv2.LINE_AA)
    cv2.ellipse(street, (x + 40, foot - 246), (10, 7), 0, 0, 360, (0.97, 0.93, 0.74), -1, cv2.LINE_AA)
    cv2.rectangle(street, (x - 9, foot - 10), (x + 9, foot), (0.13, 0.15, 0.15), -1)
