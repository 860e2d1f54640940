"""Commands from functions: options for each field of the settings that they take, and a session around the call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from enum import Enum
from fractions import Fraction
from typing import Annotated, Any, get_args, get_origin

import typer

from vidfill.cli.session import Voice, session
from vidfill.errors import UsageError
from vidfill.settings import PANELS
from vidfill.settings.define import Settings, about, choices_of, settings_of, types_of


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
    types = types_of(group)
    return [_option(name, each, types[name]) for name, each in settings_of(group).items()]


def _option(name: str, each: Field[Any], kind: Any) -> inspect.Parameter:
    """The option of a setting, as typer wants it."""
    known, dashed = about(each), name.replace("_", "-")
    is_flag = bool in (kind, *get_args(kind))
    spelled, default = _spelled(name, kind, each.default)
    option = typer.Option(
        *(known.flags or ((f"--{dashed}/--no-{dashed}" if is_flag else f"--{dashed}"),)),
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


def _spelled(name: str, kind: Any, default: Any) -> tuple[Any, Any]:
    """The type and the default of an option on the command line."""
    inner = [part for part in (kind, *get_args(kind)) if part is not type(None)]
    if choices := choices_of(kind):
        names = Enum(name, {choice: choice for choice in choices})  # type: ignore[misc]
        return (names | None, None) if default is None else (names, names(default))
    if any(get_origin(part) in (Sequence, Mapping) for part in inner):
        return list[str] | None, None
    if Fraction in inner or len(get_args(kind)) > 2:  # a path that may be text, whose slash at the end counts
        return str | None, default
    return kind, default


def _made(group: type[Settings], given: dict[str, Any]) -> Settings:
    """A group from the values of its options, which are taken out of `given`."""
    types = types_of(group)
    values: dict[str, Any] = {}
    for name in settings_of(group):
        value, kinds = given.pop(name), (types[name], *get_args(types[name]))
        if isinstance(value, Enum) and choices_of(types[name]):
            value = value.value
        elif Fraction in kinds:
            value = parse_rate(value)
        elif any(get_origin(kind) is Mapping for kind in kinds):
            value = parse_pairs(value)
        elif any(get_origin(kind) is Sequence for kind in kinds):
            value = tuple(value or ())
        values[name] = value
    return group(**values)


def _panel(option: inspect.Parameter) -> int:
    about_it = option.annotation.__metadata__[0]
    return PANELS.index(about_it.rich_help_panel or "")
