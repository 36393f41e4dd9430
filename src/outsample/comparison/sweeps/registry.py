"""Estimators, families and explainers by name: outsample's own, and those of installed plug-ins.

A package registers its classes through Python entry points, in its ``pyproject.toml``::

    [project.entry-points."outsample.estimators"]
    MyEstimator = "my_package:MyEstimator"

The groups are ``outsample.estimators``, ``outsample.families`` and ``outsample.explainers``.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from outsample.comparison import families
from outsample.errors import InputError
from outsample.estimator import Estimator, Explainer
from outsample.problem import Family

T = TypeVar("T", Estimator, Explainer, Family)
_GROUPS: dict[type, str] = {
    Estimator: "outsample.estimators",
    Family: "outsample.families",
    Explainer: "outsample.explainers",
}


def estimator_class(name: str) -> type[Estimator]:
    """The estimator of that name, e.g. ``Cumulants``; case and dashes do not matter.

    Raises:
        InputError: if there is none, two plug-ins claim the name, or a plug-in does not load.
    """
    return _find(Estimator, name)


def family_class(name: str) -> type[Family]:
    """The family of that name, e.g. ``RandomMLP``; errors as :func:`estimator_class`."""
    return _find(Family, name)


def explainer_class(name: str) -> type[Explainer]:
    """The explainer of that name, e.g. ``PairExplainer``; errors as :func:`estimator_class`."""
    return _find(Explainer, name)


def parse_estimator(text: str) -> Estimator:
    """The estimator that ``NAME:SETTING=VALUE:…`` describes.

    Example:
        >>> parse_estimator("cumulants:order=2:variant=basic").variant
        'basic'

    Raises:
        InputError: for names and settings that are not known, and values out of range.
    """
    return _parsed(Estimator, text)


def parse_family(text: str) -> Family:
    """The family that ``NAME:SETTING=VALUE:…`` describes; errors as :func:`parse_estimator`."""
    return _parsed(Family, text)


def parse_explainer(text: str) -> Explainer:
    """The explainer that ``NAME:SETTING=VALUE:…`` describes; as :func:`parse_estimator`."""
    return _parsed(Explainer, text)


def split_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Take ``NAME:SETTING=VALUE:…`` apart; values that look like numbers become numbers.

    Raises:
        InputError: for a part without an equals sign.
    """
    name, *parts = text.strip().split(":")
    settings: dict[str, Any] = {}
    for part in parts:
        setting, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"{text!r}: {part!r} is not of the form SETTING=VALUE")
        settings[setting] = _value(value)
    return name, settings


def build(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Make an estimator, family or explainer from settings as a study file has them.

    Raises:
        InputError: for settings that ``kind`` does not have or lacks, or values out of range.
    """
    known = inspect.signature(kind).parameters
    for setting in settings:
        if setting not in known:
            raise InputError(
                f"{kind.__name__} has no setting {setting!r}; its settings: "
                f"{', '.join(known) or 'none'}"
            )
    missing = [
        name for name, p in known.items() if p.default is p.empty and name not in settings
    ]  # fmt: skip
    if missing:
        raise InputError(f"{kind.__name__} needs the setting {missing[0]!r}; it has no default")
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    try:
        return kind(**given)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{kind.__name__}: {error}; settings given: {dict(settings)}") from error


def _find(base: type[T], name: str) -> type[T]:
    own = {_plain(cls.__name__): cls for cls in _own(base)}
    if _plain(name) in own:  # a plug-in cannot take the place of one of ours
        return own[_plain(name)]
    plugins = [p for p in entry_points(group=_GROUPS[base]) if _plain(p.name) == _plain(name)]
    if len({p.value for p in plugins}) > 1:
        raise InputError(
            f"{base.__name__.lower()} {name!r} is registered by several packages: "
            f"{', '.join(sorted({p.value for p in plugins}))}; uninstall all but one"
        )
    if plugins:
        return _loaded(base, plugins[0])
    known = [cls.__name__ for cls in own.values()]
    known += [p.name for p in entry_points(group=_GROUPS[base])]
    raise InputError(
        f"{base.__name__.lower()} {name!r} is not known; expected one of {', '.join(sorted(known))}"
    )


def _own(base: type[T]) -> list[type[T]]:
    """The public concrete classes of outsample: its one screen of names is the list."""
    shown = [*vars(import_module("outsample")).values(), *vars(families).values()]
    return [
        cls
        for cls in dict.fromkeys(v for v in shown if inspect.isclass(v))
        if issubclass(cls, base) and not inspect.isabstract(cls)
    ]


def _loaded(base: type[T], plugin: EntryPoint) -> type[T]:
    try:
        found = plugin.load()
    except Exception as error:
        raise InputError(
            f"{base.__name__.lower()} {plugin.name!r} is registered as {plugin.value!r}, which "
            f"does not load: {type(error).__name__}: {error}"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise InputError(
            f"{base.__name__.lower()} {plugin.name!r} is registered as {plugin.value!r}, which is "
            f"{found!r}; expected a class derived from outsample.{base.__name__}"
        )
    return found


def _parsed(base: type[T], text: str) -> T:
    name, settings = split_settings(text)
    return build(_find(base, name), settings)


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").casefold()


def _value(text: str) -> Any:
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text.casefold() in words:
        return words[text.casefold()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
