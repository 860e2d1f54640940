"""How a setting is defined, and what is made of a group of them: checks, flat arguments, documentation."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import wraps
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from vidfill.errors import UsageError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound="Settings")
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Setting(NamedTuple):
    """What is known of a setting beside its name, type and default.

    Attributes:
        help: what it does, for `--help` and for the documentation of the functions that take it.
        panel: of `--help`.
        unit: what a value is or looks like, as `--help` shows it; "" for its type.
        min, max: the range, both included; None for no limit.
        flags: of the command line; empty for `--name`.
        envvar: the environment variable that the command line reads it from; "" for none.
    """

    help: str
    panel: str = ""
    unit: str = ""
    min: float | None = None
    max: float | None = None
    flags: tuple[str, ...] = ()
    envvar: str = ""

    @property
    def range(self) -> str:
        """The range in words, "" without one."""
        if self.min is None:
            return ""
        return f"{self.min:g} or more" if self.max is None else f"{self.min:g} to {self.max:g}"


def setting(
    default: Any,
    help: str,  # noqa: A002 - the word of the command line
    *,
    panel: str = "",
    unit: str = "",
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    flags: tuple[str, ...] = (),
    envvar: str = "",
) -> Any:
    """A field of a group; see `Setting`. A default of `MISSING` makes it one that must be given."""
    return field(default=default, metadata={"setting": Setting(help, panel, unit, min, max, flags, envvar)})


def restated(group: type[Settings], name: str, help: str = "") -> Any:  # noqa: A002
    """A field of another group once more, with a help text of its own if one is given."""
    before = settings_of(group)[name]
    known = about(before)
    return field(default=before.default, metadata={"setting": known._replace(help=help or known.help)})


def about(of: Field[Any]) -> Setting:
    """What is known of a setting."""
    found: Setting = of.metadata["setting"]
    return found


def settings_of(group: type[Settings]) -> dict[str, Field[Any]]:
    """The settings of a group by name: its own, then those of its bases from left to right."""
    known = {each.name: each for each in fields(group) if "setting" in each.metadata}

    def names(of: type) -> Iterator[str]:
        yield from inspect.get_annotations(of)
        for base in of.__bases__:
            yield from names(base)

    return {name: known[name] for name in names(group) if name in known}


def converted(to: type[_S], settings: Settings, **changes: Any) -> _S:
    """The fields that `to` shares with other settings, with some changed."""
    shared = {each.name: getattr(settings, each.name) for each in fields(to) if hasattr(settings, each.name)}
    return to(**(shared | changes))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all groups: checks the ranges and the choices.

    Raises:
        UsageError: for a value out of its range.
    """

    def __post_init__(self) -> None:
        types = types_of(type(self))
        for name, each in settings_of(type(self)).items():
            value, known = getattr(self, name), about(each)
            flag = (known.flags or (f"--{name.replace('_', '-')}",))[0]
            if isinstance(value, (int, float)) and not _is_within(value, known):
                raise UsageError(f"{flag} {value:g}", expected=known.range)
            choices = choices_of(types[name])
            if choices and value is not None and value not in choices:
                raise UsageError(f"{flag} {value}", expected="one of " + ", ".join(choices))


def flat(
    name: str, arguments: Callable[_P, _S]
) -> Callable[[Callable[[_In, _Out, _S], _R]], Callable[Concatenate[_In, _Out, _P], _R]]:
    """Let a function of a source, an output and settings take these settings as keyword arguments.

    Args:
        name: of the function that results.
        arguments: the class of the settings.

    Returns:
        A decorator; the result's signature and documentation list every setting.
    """

    def decorate(run: Callable[[_In, _Out, _S], _R]) -> Callable[Concatenate[_In, _Out, _P], _R]:
        @wraps(run)
        def call(source: _In, output: _Out, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            return run(source, output, arguments(*args, **kwargs))

        assert isinstance(arguments, type)
        assert issubclass(arguments, Settings)
        _describe(call, run, name, arguments)
        return call  # type: ignore[return-value]  # the names of the first two are of no concern

    return decorate


def _describe(call: Callable[..., Any], run: Callable[..., Any], name: str, arguments: type[Settings]) -> None:
    """Give a flat function its name, its signature, and a docstring in which the settings follow the source's."""
    taken, types = settings_of(arguments), types_of(arguments)
    *given, last = inspect.signature(run).parameters.values()
    named = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_default(each), annotation=types[key])
        for key, each in taken.items()
    ]
    lines = []
    for key, each in taken.items():
        known = about(each)
        text = f"{key}: {known.help}" + (f" Range: {known.range}." if known.range else "")
        lines.append(textwrap.fill(text, 116, initial_indent="    ", subsequent_indent="        "))
    doc = inspect.cleandoc(run.__doc__ or "")
    call.__doc__ = re.sub(rf"^    {last.name}: .*(\n     .*)*", lambda _: "\n".join(lines), doc, flags=re.MULTILINE)
    call.__name__ = call.__qualname__ = name
    vars(call)["__signature__"] = inspect.signature(run).replace(parameters=[*given, *named])


def types_of(group: type[Settings]) -> dict[str, Any]:
    """The types of the settings of a group by name."""
    hints = get_type_hints(group)
    return {name: hints[name] for name in settings_of(group)}


def choices_of(kind: Any) -> tuple[str, ...]:
    """What a `Literal`, or a `Literal` or None, may be; empty for other types."""
    literals = [part for part in (kind, *get_args(kind)) if get_origin(part) is Literal]
    return get_args(literals[0]) if literals else ()


def _default(each: Field[Any]) -> Any:
    return inspect.Parameter.empty if each.default is MISSING else each.default


def _is_within(value: float, known: Setting) -> bool:
    return (known.min is None or value >= known.min) and (known.max is None or value <= known.max)
