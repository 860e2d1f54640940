"""Commands from functions: options for each field of the settings that they take, and a session around the call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer

from vidfill.cli.session import Voice, session
from vidfill.errors import UsageError
from vidfill.settings.define import PANELS, Setting, Settings, settings_of


def command(
    name: str, *, voice: Sequence[str] = tuple(settings_of(Voice)), verbose: int = 0
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first parameter is the `Session`.

    A parameter whose type is a group of settings becomes an option for each of them; the function gets the group as
    one object. Its other parameters are typer's own. It runs inside the session, which tells its errors.

    Args:
        name: of the command, as in the JSON object.
        voice: the options of `Voice` that it has.
        verbose: how much it tells without --verbose.
    """

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(body, eval_str=True).parameters.values()
        groups = {each.name: each.annotation for each in own if _is_group(each.annotation)}
        options: list[inspect.Parameter] = []
        for each in own:
            options += _options(groups[each.name]) if each.name in groups else [each]
        options += [option for option in _options(Voice) if option.name in voice]
        options.sort(key=_panel)

        def call(**given: Any) -> None:
            spoken = Voice(**{key: given.pop(key) for key in voice})
            with session(name, spoken, verbose=verbose) as run:
                made = {key: _made(group, given) for key, group in groups.items()}
                body(run, **made, **given)

        call.__name__, call.__doc__ = body.__name__, body.__doc__
        call.__annotations__ = {option.name: option.annotation for option in options}
        vars(call)["__signature__"] = inspect.Signature(
            [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
        )
        return call

    return decorate


def parse_rate(text: str | None) -> Fraction | None:
    """A frame rate such as "25", "23.976" or "30000/1001", to six digits, as time bases of video files have them.

    Raises:
        UsageError: not a number from 0.001 to 1000.
    """
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 1000) <= rate <= 1000:
        raise UsageError(f"--fps {text!r}", expected="0.001 to 1000 frames a second, such as 25 or 30000/1001")
    return rate.limit_denominator(1_000_000)


def parse_pairs(texts: Sequence[str] | None) -> dict[str, str]:
    """The options of the encoder from "key=value" texts.

    Raises:
        UsageError: a text without a key or without "=".
    """
    pairs = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"-e {text!r}", expected="key=value", todo="write for example -e tune=film")
        pairs[key] = value
    return pairs


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _options(group: type[Settings]) -> list[inspect.Parameter]:
    return [_option(name, known) for name, known in settings_of(group).items()]


def _option(name: str, known: Setting) -> inspect.Parameter:
    """The option of a setting, as typer wants it."""
    spelled, default = _spelled(name, known)
    option = typer.Option(
        *known.flags,
        help=known.help,
        metavar=known.unit or None,
        min=known.min,
        max=known.max,
        envvar=known.envvar or None,
        count=name == "verbose",
        show_default=default is not None,
        rich_help_panel=known.panel or None,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[spelled, option]
    )


def _spelled(name: str, known: Setting) -> tuple[Any, Any]:
    """The type and the default of a setting on the command line."""
    if known.choices:
        names = Enum(name, {choice: choice for choice in known.choices})  # type: ignore[misc]
        return (names | None, None) if known.default is None else (names, names(known.default))
    if _has(known, Sequence) or _has(known, Mapping):
        return list[str] | None, None
    if Fraction in known.kinds or {Path, str} <= {*known.kinds}:  # of a path as text the slash at the end counts
        return str | None, known.default
    return known.kind, known.default


def _has(known: Setting, collection: type) -> bool:
    return any(get_origin(kind) is collection for kind in known.kinds)


def _made(group: type[Settings], given: dict[str, Any]) -> Settings:
    """A group from the values of its options, which are taken out of `given`."""
    values: dict[str, Any] = {}
    for name, known in settings_of(group).items():
        value = given.pop(name)
        if known.choices and value is not None:
            value = value.value
        elif Fraction in known.kinds:
            value = parse_rate(value)
        elif _has(known, Mapping):
            value = parse_pairs(value)
        elif _has(known, Sequence):
            value = tuple(value or ())
        values[name] = value
    return group(**values)


def _panel(option: inspect.Parameter) -> int:
    return PANELS.index(option.annotation.__metadata__[0].rich_help_panel or "")
