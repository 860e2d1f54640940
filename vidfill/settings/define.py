"""How a setting is defined, and what is made of a group of them: checks, flat arguments, documentation."""

from __future__ import annotations

import inspect
import math
import re
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fractions import Fraction
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from vidfill.errors import UsageError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound="Settings")
_In = TypeVar("_In")
_Out = TypeVar("_Out")

MASKS, CLICKS, SHAPE, MODEL = "Masks", "Masks from clicks", "New shape", "Model"
SCORED, OUTPUT, BATCH, RUN, SHOWN = "What is scored", "Output", "Batch", "Run", "What is shown"
PANELS = ("", SHAPE, MASKS, CLICKS, SCORED, MODEL, OUTPUT, BATCH, RUN, SHOWN)
"""The panels of `--help`, in order."""

# What values of a type may be, and what messages call it; values of other types are not checked.
_ACCEPTED: dict[Any, tuple[Any, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    Fraction: ((Real, str), "a rate"),
    str: (str, "text"),
    Path: ((str, PathLike), "a path"),
    Sequence: (tuple, "a list"),
    Mapping: (Mapping, "a mapping"),
    Callable: (Callable, "a function"),
    NoneType: (NoneType, "None"),
}


class Setting(NamedTuple):
    """What is known of a setting.

    Attributes:
        help: what it does, for `--help` and for the documentation of the functions that take it.
        panel: of `--help`, one of `PANELS`.
        unit: what a value is or looks like, as `--help` shows it; "" for its type.
        min, max: the range, both included; None for no limit.
        flags: of the command line; "--a/--b" for a truth value that can be switched on and off.
        envvar: the environment variable that the command line reads it from; "" for none.
        kind: its type.
        default: `MISSING` where it must be given.
    """

    help: str
    panel: str = ""
    unit: str = ""
    min: float | None = None
    max: float | None = None
    flags: tuple[str, ...] = ()
    envvar: str = ""
    kind: Any = None
    default: Any = MISSING

    @property
    def range(self) -> str:
        """The range in words, "" without one."""
        if self.min is None:
            return ""
        return f"{self.min:g} or more" if self.max is None else f"{self.min:g} to {self.max:g}"

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The type, or the parts of a union."""
        return get_args(self.kind) if get_origin(self.kind) in (typing.Union, UnionType) else (self.kind,)

    @property
    def choices(self) -> tuple[str, ...]:
        """What a `Literal` may be; empty for other types."""
        return next((get_args(kind) for kind in self.kinds if get_origin(kind) is Literal), ())

    def checked(self, value: Any) -> Any:
        """The value, as a tuple or a plain number if it is a list or a number of NumPy's.

        Raises:
            UsageError: it has another type, is out of range or is none of the choices.
        """
        is_list = any(get_origin(kind) is Sequence for kind in self.kinds)
        if is_list and isinstance(value, Iterable) and not isinstance(value, str):
            value = tuple(value)
        elif isinstance(value, Real) and not isinstance(value, (int, float, Fraction)):
            value = int(value) if isinstance(value, Integral) else float(value)
        if isinstance(value, float) and value.is_integer() and int in self.kinds:
            value = int(value)
        if not any(_is_a(kind, value) for kind in self.kinds):
            names = [_ACCEPTED[get_origin(kind) or kind][1] for kind in self.kinds]
            found = repr(value).partition("\n")[0]
            raise UsageError(f"{self.flags[0]} {found}", expected=" or ".join(dict.fromkeys(names)))
        low, high = self.min, math.inf if self.max is None else self.max
        if low is not None and isinstance(value, (int, float)) and not low <= value <= high:
            raise UsageError(f"{self.flags[0]} {value:g}", expected=self.range)
        if self.choices and value is not None and value not in self.choices:
            raise UsageError(f"{self.flags[0]} {value}", expected="one of " + ", ".join(self.choices))
        return value


def _is_a(kind: Any, value: Any) -> bool:
    whole = get_origin(kind) or kind
    if whole not in _ACCEPTED:
        return True
    if not isinstance(value, _ACCEPTED[whole][0]) or isinstance(value, bool):
        return False
    return whole is not Sequence or all(_is_a(get_args(kind)[0], each) for each in value)


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
    """A field of a group; see `Setting`. Without flags it is `--name`, or `--name/--no-name` for a truth value."""
    return field(default=default, metadata={"setting": Setting(help, panel, unit, min, max, flags, envvar)})


def restated(group: type[Settings], name: str, help: str = "") -> Any:  # noqa: A002
    """A field of another group once more, with a help text of its own if one is given."""
    known = settings_of(group)[name]
    return field(default=known.default, metadata={"setting": known._replace(help=help or known.help)})


def settings_of(group: type[Settings]) -> dict[str, Setting]:
    """The settings of a group by name: its own, then those of its bases from left to right."""
    hints = get_type_hints(group)
    known = {each.name: each for each in fields(group) if "setting" in each.metadata}

    def names(of: type) -> Iterator[str]:
        yield from inspect.get_annotations(of)
        for base in of.__bases__:
            yield from names(base)

    def complete(name: str) -> Setting:
        stated: Setting = known[name].metadata["setting"]
        dashed = name.replace("_", "-")
        flag = f"--{dashed}/--no-{dashed}" if hints[name] is bool else f"--{dashed}"
        return stated._replace(kind=hints[name], default=known[name].default, flags=stated.flags or (flag,))

    return {name: complete(name) for name in names(group) if name in known}


def converted(to: type[_S], settings: Settings, /, **changes: Any) -> _S:
    """The fields that `to` shares with other settings, with some changed."""
    shared = {each.name: getattr(settings, each.name) for each in fields(to) if hasattr(settings, each.name)}
    return to(**(shared | changes))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all groups: checks types, ranges and choices.

    Raises:
        UsageError: a value that is not one of its setting's.
    """

    def __post_init__(self) -> None:
        for name, known in settings_of(type(self)).items():
            object.__setattr__(self, name, known.checked(getattr(self, name)))


def flat(
    name: str, arguments: Callable[_P, _S]
) -> Callable[[Callable[[_In, _Out, _S], _R]], Callable[Concatenate[_In, _Out, _P], _R]]:
    """Let a function of two paths and settings take these settings as keyword arguments.

    Args:
        name: of the function that results.
        arguments: the class of the settings.

    Returns:
        A decorator; the result's signature and documentation list every setting.
    """

    def decorate(run: Callable[[_In, _Out, _S], _R]) -> Callable[Concatenate[_In, _Out, _P], _R]:
        paths = [*inspect.signature(run).parameters][:-1]

        @wraps(run)
        def call(*given: Any, **named: Any) -> _R:
            bound = inspect.signature(call).bind(*given, **named).arguments
            source, output = (bound.pop(path) for path in paths)
            return run(source, output, arguments(**bound))  # type: ignore[call-arg]  # bound to the fields

        assert isinstance(arguments, type)
        _describe(call, run, name, arguments)
        return call

    return decorate


def _describe(call: Callable[..., Any], run: Callable[..., Any], name: str, arguments: type[Settings]) -> None:
    """Give a flat function its name, its signature, and a docstring in which the settings follow the source's."""
    signature = inspect.signature(run)
    *given, last = signature.parameters.values()
    ordered = sorted(settings_of(arguments).items(), key=lambda item: PANELS.index(item[1].panel) or len(PANELS))
    named, lines = [], []
    for key, known in ordered:
        default = inspect.Parameter.empty if known.default is MISSING else known.default
        named.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=known.kind))
        form = ", ".join(text for text in (known.unit, known.range) if text)
        text = f"{key}: {known.help}" + (f" ({form})" if form else "")
        lines.append(textwrap.fill(text, 116, initial_indent="    ", subsequent_indent="        "))
    doc = inspect.cleandoc(run.__doc__ or "")
    call.__doc__ = re.sub(rf"^    {last.name}: .*(\n     .*)*", lambda _: "\n".join(lines), doc, flags=re.MULTILINE)
    call.__name__ = call.__qualname__ = name
    vars(call)["__signature__"] = signature.replace(parameters=[*given, *named])
