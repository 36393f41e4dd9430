"""Study files: TOML or YAML, checked before any work starts.

A setting whose value is a list is swept: the file stands for every combination.  A list as the
value of a setting is written as a list of one list.
"""

import os
import re
import reprlib
import tomllib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from outsample.comparison.sweeps import registry
from outsample.comparison.sweeps.study import TRUTH_SAMPLES, AtBudget, Study
from outsample.errors import FormatError, InputError
from outsample.estimator import Estimator, Explainer
from outsample.problem import Family

#: Largest file that is read, in bytes, deepest nesting in it, and most combinations of one entry.
_MOST_BYTES, _DEEPEST, _MOST_COMBINATIONS = 2**17, 32, 100_000
#: A dotted key of more parts than the nesting allows: tomllib takes quadratic memory for them.
_PART = r"""(?:"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|(?<![\w-])[\w-]++)"""
_LONG_KEY = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{_DEEPEST}}}")
#: How Pydantic names the kinds of which a value may be, in the place of an error.
_KIND = re.compile(r"_.*|.*\W.*|bool|str")

S = TypeVar("S", bound=Study)
_Positive = Annotated[int, Field(ge=1)]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Entry(BaseModel):
    """One entry: known fields, and settings, each a value or a list of values to sweep."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Every combination of the settings."""
        given = self.__pydantic_extra__ or {}
        choices = [v if isinstance(v, list) else [v] for v in given.values()]
        count = 1
        for name, choice in zip(given, choices, strict=True):
            if not choice:
                raise InputError(f"{name} = []; expected a value, or a list of values to sweep")
            count *= len(choice)
        if count > _MOST_COMBINATIONS:
            raise InputError(f"{count} combinations; expected at most {_MOST_COMBINATIONS}")
        for values in product(*choices):
            yield dict(zip(given, values, strict=True))


class _Family(_Entry):
    family: str


class _Explainer(_Entry):
    explainer: str


class _Estimator(_Entry):
    estimator: str
    explainer: str | _Explainer | None = None
    budgets: bool | list[float] = False


class _Seeds(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    start: _Seed = 0
    count: _Count


class _Truth(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    samples: _Positive = TRUTH_SAMPLES


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, max_length=200)]
    seeds: _Count | list[_Seed] | _Seeds = 10
    budgets: list[float] = Field(default_factory=list)
    baselines: bool = True
    threads: _Positive = 1
    truth: _Truth = Field(default_factory=_Truth)
    families: Annotated[list[_Family], Field(min_length=1)]
    estimators: Annotated[list[_Estimator], Field(min_length=1)]


def read_study(path: str | os.PathLike[str], kind: type[S] = Study) -> S:
    """Read a study file; see :meth:`Study.read`."""
    name = os.fspath(path)
    try:
        file = _File.model_validate(_load(Path(path)))
    except ValidationError as error:
        raise InputError(f"study {name!r}: {_first(error)}") from error
    families = list(_families(name, file))
    methods = list(_methods(name, file))
    try:
        return kind(
            name=file.name,
            families=families,
            methods=methods,
            seeds=_seeds(file),
            truth_samples=file.truth.samples,
            baselines=file.baselines,
            threads=file.threads,
        )
    except InputError as error:
        raise InputError(f"study {name!r}: {error}") from error


def _load(path: Path) -> Any:
    name = str(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FormatError(f"study {name!r} is larger than {_MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"study {name!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"study {name!r} is not a text file in UTF-8") from error
    match path.suffix:
        case ".toml":
            if _LONG_KEY.search(text):
                raise FormatError(f"study {name!r} has a key of more than {_DEEPEST} parts")
            try:
                return tomllib.loads(text)
            except (ValueError, RecursionError) as error:  # also numbers too long to read
                raise FormatError(f"study {name!r} is not TOML: {error}") from error
        case ".yaml" | ".yml":
            return _yaml(name, text)
        case ending:
            raise InputError(f"study {name!r} ends in {ending!r}; expected .toml, .yaml or .yml")


def _yaml(name: str, text: str) -> Any:
    depth = 0
    try:
        loader = yaml.SafeLoader(text)
        for token in yaml.scan(text):
            kind = type(token).__name__
            # An alias makes a small file stand for a huge document.
            if kind == "AliasToken":
                raise FormatError(f"study {name!r} has a YAML alias (*name); write the value out")
            depth += kind.endswith("StartToken") - kind.endswith("EndToken")
            if depth > _DEEPEST:
                raise FormatError(f"study {name!r} is nested more than {_DEEPEST} deep")
        node = loader.get_single_node()
        _refuse_double_keys(name, node)
        return None if node is None else loader.construct_document(node)
    except FormatError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no such date
        raise FormatError(f"study {name!r} is not YAML: {error}") from error


def _refuse_double_keys(name: str, node: Any) -> None:
    """YAML lets the last of several equal keys win; TOML refuses them, and so do we."""
    if node is None or node.id == "scalar":
        return
    children = node.value
    if node.id == "mapping":
        seen: set[str] = set()
        for key in [key for key, _ in node.value if key.id == "scalar"]:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise FormatError(
                    f"study {name!r} has the key {key.value!r} twice (again in line {line})"
                )
            seen.add(key.value)
        children = [value for _, value in node.value]
    for child in children:
        _refuse_double_keys(name, child)


def _first(error: ValidationError) -> str:
    """The first finding, with its place in the file."""
    errors = error.errors()
    # Where a value may be of several kinds, the finding that looked deepest says most.
    found = max((e for e in errors if e["loc"][:1] == errors[0]["loc"][:1]), key=_depth)
    place = ".".join(str(part) for part in found["loc"] if not _KIND.fullmatch(str(part)))
    given = reprlib.repr(found["input"])
    return f"{place or 'the file'}: {found['msg']}; given: {given}"


def _depth(error: ErrorDetails) -> int:
    return len(error["loc"])


def _seeds(file: _File) -> list[int]:
    if isinstance(file.seeds, int):
        return list(range(file.seeds))
    if isinstance(file.seeds, _Seeds):
        return list(range(file.seeds.start, file.seeds.start + file.seeds.count))
    return file.seeds


def _families(name: str, file: _File) -> Iterator[Family]:
    for i, entry in enumerate(file.families):
        try:
            kind = registry.family_class(entry.family)
            for settings in entry.combinations():
                yield registry.build(kind, settings)
        except InputError as error:
            raise InputError(f"study {name!r}: families.{i}: {error}") from error


def _methods(
    name: str, file: _File
) -> Iterator[Estimator | tuple[Estimator, Explainer] | AtBudget]:
    for i, entry in enumerate(file.estimators):
        try:
            kind = registry.estimator_class(entry.estimator)
            explainer = _explainer(entry)
            for settings in entry.combinations():
                if entry.budgets is False:
                    estimator = registry.build(kind, settings)
                    yield estimator if explainer is None else (estimator, explainer)
                    continue
                budgets = file.budgets if entry.budgets is True else entry.budgets
                if not budgets:
                    raise InputError("no budgets; expected a list of sample sizes, N >= 1")
                for samples in budgets:
                    yield AtBudget(kind, samples, settings, explainer)
        except InputError as error:
            raise InputError(f"study {name!r}: estimators.{i}: {error}") from error


def _explainer(entry: _Estimator) -> Explainer | None:
    given = entry.explainer
    if given is None:
        return None
    if isinstance(given, str):
        return registry.parse_explainer(given)
    kind = registry.explainer_class(given.explainer)
    settings = cast(Mapping[str, Any], given.__pydantic_extra__ or {})
    return registry.build(kind, settings)
