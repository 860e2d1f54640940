import numpy as np

from tests.clips import Pictures, texture
from tests.track.scenes import SIZE, disc
from vidfill.track.shadow import Other, shadow_of
from vidfill.video.frame import Bool


def _scene(x: float, *, left: float = 0.5, pan: int = 0) -> tuple[Pictures, Bool, Bool]:
    """A blue ball on the ground with its shadow to the right: the picture, the ball, the shadow beside it."""
    ground = texture((SIZE[0], SIZE[1] + 20), seed=3)[:, pan : pan + SIZE[1]]
    ground = (120 + ground // 2).astype(np.uint8)
    ball = disc((x - pan, 30), 10)
    shadow = disc((x + 12 - pan, 38), 10) & ~ball
    picture = ground.copy()
    picture[shadow] = (255 * ((ground[shadow] / 255) ** 2.2 * left) ** (1 / 2.2)).astype(np.uint8)
    picture[ball] = (40, 60, 200)
    return picture, ball, shadow


def _others(*places: float, pan: int = 0) -> list[Other]:
    return [Other(picture, ball) for picture, ball, _ in (_scene(x, pan=pan) for x in places)]


def test_shadow() -> None:
    for left in (0.35, 0.6):
        picture, ball, shadow = _scene(40, left=left)
        found = shadow_of(ball, picture, _others(80, 20, pan=4))
        assert (found & shadow).sum() > 0.85 * shadow.sum()
        assert (found & ~shadow).sum() < 0.75 * shadow.sum()  # the rim
        assert not (found & ball).any()


def test_shadow_partly_covered_on_other_frames() -> None:
    picture, ball, shadow = _scene(40)
    found = shadow_of(ball, picture, _others(56, 22))
    assert (found & shadow).sum() > 0.7 * shadow.sum()


def test_no_shadow_or_no_other_frames() -> None:
    picture, ball, _ = _scene(40, left=1.0)
    assert shadow_of(ball, picture, _others(80, 20)).sum() < 0.05 * ball.sum()
    picture, ball, _ = _scene(40)
    assert not shadow_of(ball, picture, []).any()
    assert not shadow_of(ball, picture, _others(40)).any()
    assert not shadow_of(np.zeros_like(ball), picture, _others(80)).any()


def test_other_colour_is_no_shadow() -> None:
    picture, ball, shadow = _scene(40, left=1.0)
    picture[shadow] = (30, 110, 30)
    assert not (shadow_of(ball, picture, _others(80, 20)) & shadow).sum() > 0.1 * shadow.sum()
