"""A study file becomes a search space: which dotted paths of a Run vary, and how."""

import difflib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial
from pydantic import ConfigDict, Field, ValidationError, field_validator

from mer_search.config import (
    Part,
    Run,
    Value,
    allowed_values,
    check_key,
    check_settable,
    explain,
    value_at,
    with_values,
)
from mer_search.errors import UsageError
from mer_search.evaluation.metrics import RULES
from mer_search.files import shipped, toml_text, tree_of
from mer_search.presets import preset
from mer_search.search.pruner import PRUNERS
from mer_search.search.samplers import SAMPLERS

if TYPE_CHECKING:
    RuleName = str
    SamplerName = str
    PrunerName = str
else:
    RuleName, SamplerName, PrunerName = (Literal[*names] for names in (RULES, SAMPLERS, PRUNERS))


class Fields(Part):
    """What may stand at the top of a study file."""

    model_config = ConfigDict(strict=True)

    base: str = "V3NR"  # the preset whose values hold where nothing below says otherwise
    recipe: Literal["", "published"] = ""  # published: as the preset's public code has it, see docs/parity.md
    subjects: str = "hardest"  # subjects on which trials are scored; each fold still trains on all others in the data
    rule: RuleName = "tail"  # how a person's predictions are made of those after every epoch
    sampler: SamplerName = "tpe"  # what proposes the next trial
    pruner: PrunerName = "rank-rungs"  # when a trial is stopped early
    also: Literal["", "gflop", "parameters"] = ""  # minimised beside UF1; goes with nsga2 and pruner none
    finalists: int = Field(3, ge=0)  # so many of the best trials get further seeds, to choose the best by; 0 none
    trials: int = Field(100, ge=1)  # how many trials in all; `--trials` goes before it
    set: dict[str, Any] = Field({})  # values that are fixed, by their dotted paths
    space: dict[str, Any] = Field({})  # axes that are varied, by their dotted paths; at least one
    when: dict[str, Any] = Field({})  # conditions: an axis is sampled only where other axes have these values
    start: list[Any] = Field([])  # the first trials, before the sampler chooses

    @field_validator("subjects", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        """A list of names is what they are beside each other."""
        return ", ".join(map(str, given)) if isinstance(given, list) else given


LASTING = ("base", "recipe", "subjects", "set", "space", "when", "rule", "sampler", "pruner", "also")  # never change
ONLY_WITH = {  # a path, and another one with the values with which it has an effect
    "train.focal_gamma": ("train.loss", ("focal", "softmax_focal")),
    "train.focal_alpha": ("train.loss", ("focal",)),
    "train.label_smoothing": ("train.loss", ("ce",)),
    "train.gamma": ("train.schedule", ("exponential",)),
    "train.plateau": ("train.schedule", ("exponential",)),
    "model.position_depth": ("model.position", (True,)),
    "model.position_drop": ("model.position", (True,)),
}


@dataclass(frozen=True)
class Axis:
    """One dimension of the space: a choice among values, or an interval."""

    key: str
    kind: str  # "choice", "float" or "int"
    values: tuple[Any, ...]  # the choices, or (low, high)
    log: bool = False

    def suggest(self, trial: BaseTrial) -> Any:
        """A value of this axis from the sampler."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.key, self.values)
        suggest = trial.suggest_int if self.kind == "int" else trial.suggest_float
        return suggest(self.key, *self.values, log=self.log)

    @property
    def distribution(self) -> BaseDistribution:
        """The axis as Optuna stores it."""
        if self.kind == "choice":
            return CategoricalDistribution(self.values)
        low, high = self.values
        return (IntDistribution if self.kind == "int" else FloatDistribution)(low, high, log=self.log)

    def check(self, value: Any) -> None:
        """Raise UsageError unless the value lies on the axis."""
        if self.kind == "choice":
            on_axis = value in self.values
        else:
            numbers = (int,) if self.kind == "int" else (int, float)
            on_axis = type(value) in numbers and self.values[0] <= value <= self.values[1]
        if not on_axis:
            raise UsageError(f"{self.key} must lie on its axis {list(self.values)}, but is {value!r}")


@dataclass(frozen=True)
class StudyFile:
    """A study: fixed values, axes, the subjects that score a trial, and how trials are compared."""

    name: str
    base: Run  # the base preset with `set` applied
    preset: str
    recipe: str
    subjects: str
    axes: tuple[Axis, ...]
    ties: Mapping[str, str]  # key -> the axis whose value it has, too
    when: Mapping[str, Mapping[str, Value]]  # key -> the condition under which it is sampled
    start: tuple[Mapping[str, Value], ...]  # parameters of the first trials
    rule: str
    sampler: str
    pruner: str
    also: str  # what is minimised beside UF1, "gflop" or "parameters"; "" for nothing
    finalists: int  # how many of the best trials get further seeds
    trials: int
    digest: str  # of everything that must not change between two calls
    settings: Mapping[str, Value]  # `set`
    text: str = ""  # the file itself

    @property
    def most_finalists(self) -> int:
        """How many finalists a search may have; none where a second value is minimised, for there is no best then."""
        return self.finalists if self.finalists > 1 and not self.also else 0

    def on(self, values: Mapping[str, Value]) -> "StudyFile":
        """The same study with another task of the data, or other folds: values of `data`."""
        return replace(self, base=with_values(self.base, values))

    def check_effect(self) -> None:
        """Raise UsageError for an axis that no value of the others gives an effect: of a study that is to be made."""
        for sentence in self.without_effect({axis.key for axis in self.axes} - set(self.ties.values())):
            raise UsageError(f"study {self.name}: {sentence}")

    def without_effect(self, keys: Collection[str]) -> list[str]:
        """Of some dotted paths those that no value of the axes gives an effect, each in a sentence."""
        varied = {axis.key: axis.values for axis in self.axes}
        varied |= {key: varied[axis] for key, axis in self.ties.items()}
        sentences = []
        for key, (other, needed) in ONLY_WITH.items():
            found = varied.get(other, (value_at(self.base, other),))
            if key in keys and not set(found) & set(needed):
                sentences.append(
                    f"{key} has an effect only where {other} is {' or '.join(map(str, needed))}, but that is "
                    f"{' or '.join(map(str, found))} here; leave it out, or vary or set {other}"
                )
        return sentences

    @property
    def first(self) -> Run:
        """Where a search starts: the base, with the values of the first [[start]]."""
        return with_values(self.base, self.tied(self.start[0]) if self.start else {})

    def tied(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Values of axes, and those of what is tied to them."""
        return {**values, **{key: values[axis] for key, axis in self.ties.items() if axis in values}}

    def suggest(self, trial: BaseTrial) -> dict[str, Value]:
        """The trial's values. An axis with a condition is sampled only where it holds."""
        values: dict[str, Value] = {}
        for axis in sorted(self.axes, key=lambda axis: axis.key in self.when):
            if all(values.get(key) == value for key, value in self.when.get(axis.key, {}).items()):
                values[axis.key] = axis.suggest(trial)
        return self.tied(values)

    def check(self, values: Mapping[str, Value]) -> None:
        """Raise UsageError unless each value lies on its axis: a trial that was enqueued by hand may have others."""
        axes = {axis.key: axis for axis in self.axes}
        for key, value in values.items():
            if key not in axes:
                raise UsageError(f"{key} must be an axis of the study's space, but is none")
            axes[key].check(value)

    def params_of(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Of values of all axes those of the axes that are sampled, because their conditions hold; UsageError if one
        lies beside its axis."""
        params = {
            key: value
            for key, value in values.items()
            if all(values[other] == must for other, must in self.when.get(key, {}).items())
        }
        self.check(params)
        return params


def load(name_or_path: str) -> StudyFile:
    """A study by its name or file; UsageError if there is none, or where it is not a valid study."""
    path = Path(name_or_path)
    return parse(toml_text("study", shipped(), name_or_path), path.stem if path.is_file() else name_or_path)


def parse(text: str, name: str) -> StudyFile:
    """A study from its TOML text. Both ends of every axis are built into a Run, so a bad one fails here."""
    try:
        return replace(_study(tree_of(text), name), text=text)
    except UsageError as error:
        raise UsageError(f"study {name}: {error}") from None


def changed(there: str, here: str) -> str:
    """What differs between the texts of two study files that must be one study's; "" if nothing is found."""
    one, other = (_lasting(tree_of(text)) for text in (there, here))
    pairs = {key: (one.get(key, "absent"), other.get(key, "absent")) for key in one | other}
    shown = [
        f"{key} is {str(old) or 'empty'} there, {str(new) or 'empty'} here"
        for key, (old, new) in pairs.items()
        if old != new
    ]
    return "; ".join(shown[:3] + [f"and {len(shown) - 3} more"] * (len(shown) > 3))


def _lasting(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A study's tree as a flat one: "[space] train.lr" -> its axis."""
    flat: dict[str, Any] = {}
    for field in LASTING:
        value = tree.get(field, {})
        flat |= {f"[{field}] {key}": each for key, each in value.items()} if isinstance(value, dict) else {field: value}
    return flat


def _study(tree: dict[str, Any], name: str) -> StudyFile:
    if unknown := [key for key in tree if key not in Fields.model_fields]:
        near = difflib.get_close_matches(unknown[0], Fields.model_fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(Fields.model_fields)}"
        raise UsageError(f"{unknown[0]!r} is no field of a study; {hint}")
    if isinstance(tree.get("start"), dict):
        raise UsageError("start must be [[start]], in two brackets, for there may be several, but is [start]")
    try:
        given = Fields.model_validate(tree)
    except ValidationError as error:
        raise UsageError(explain(error)) from None
    check_settable([*given.set, *given.space])
    base = with_values(preset(given.base, given.recipe), given.set)
    ties = {key: spec for key, spec in given.space.items() if isinstance(spec, str)}
    axes = tuple(_axis(key, spec) for key, spec in given.space.items() if key not in ties)
    if not axes:
        raise UsageError("[space] must name at least one axis")
    for axis in axes:
        for value in axis.values:
            with_values(base, {axis.key: value, **{key: value for key in ties if ties[key] == axis.key}})
        if axis.kind != "choice" and (few := allowed_values(axis.key)):
            raise UsageError(f"{axis.key} takes one of {', '.join(map(str, few))}: its axis must be a choice of these")
    keys = [axis.key for axis in axes]
    for key, tied in ties.items():
        check_key(key)
        if tied not in keys:
            near = difflib.get_close_matches(tied, keys, n=1) or keys
            raise UsageError(f"{key}: it must be tied to an axis of [space], such as {near[0]}, but got {tied!r}")
    when = _conditions(given.when, axes)
    if bool(given.also) != (given.sampler == "nsga2") or (given.also and given.pruner != "none"):
        raise UsageError(
            f'sampler = "nsga2", also = "gflop" or "parameters" and pruner = "none" go together, but they are '
            f"{given.sampler!r}, {given.also!r} and {given.pruner!r}"
        )
    fixed = {field: tree.get(field) for field in ("base", "subjects", "set", "space", "when")}
    chosen = {field: getattr(given, field) for field in ("recipe", "rule", "sampler", "pruner", "also")}
    fixed |= {field: value for field, value in chosen.items() if value}
    file = StudyFile(
        name=name,
        base=base,
        preset=given.base,
        subjects=given.subjects,
        axes=axes,
        ties=ties,
        when=when,
        start=(),
        finalists=given.finalists,
        trials=given.trials,
        settings=given.set,
        digest=hashlib.sha256(repr(fixed).encode()).hexdigest()[:16],
        **chosen,
    )
    possible = {value for axis in axes if axis.key == "train.val_subjects" for value in axis.values}
    if not possible or "train.val_subjects" in when:
        possible.add(base.train.val_subjects)
    if file.rule == "val_epoch" and 0 in possible:
        raise UsageError(
            'rule = "val_epoch" chooses epochs by subjects held out of training, so train.val_subjects must be 1 or '
            'more, but can be 0; put "train.val_subjects" = 3 under [set], or take another rule'
        )
    return replace(file, start=tuple(_starting_point(file, point) for point in given.start))


def _axis(key: str, spec: Any) -> Axis:
    """`{ choice = [...] }`, `{ float = [low, high], log = true }` or `{ int = [low, high] }`."""
    check_key(key)
    types = {"choice": (bool, int, float, str), "float": (int, float), "int": (int,)}
    kind = next((kind for kind in types if isinstance(spec, dict) and kind in spec), "")
    values, log = (spec[kind], spec.get("log", False)) if kind else ([], False)
    is_axis = isinstance(values, list) and len(values) > 1 and all(type(value) in types[kind] for value in values)
    if is_axis and kind == "choice":
        is_axis = len(set(values)) > 1
    elif is_axis:
        is_axis = len(values) == 2 and values[0] < values[1] and (values[0] > 0 or not log)
    if not is_axis or set(spec) - {kind, "log"} or type(log) is not bool:
        raise UsageError(
            f"{key}: an axis must be {{ choice = [...] }} of two plain values or more, {{ float = [low, high] }} or "
            "{ int = [low, high] }, the latter two with low < high, and with log = true, where low > 0, if wished, but "
            f"got {spec!r}; one value goes under [set]"
        )
    return Axis(key, kind, tuple(values), log)


def _conditions(tree: dict[str, Any], axes: Sequence[Axis]) -> dict[str, dict[str, Value]]:
    known = {axis.key: axis for axis in axes}
    unconditional = set(known) - set(tree)
    for key, condition in tree.items():
        if key not in known or not isinstance(condition, dict) or set(condition) - unconditional:
            raise UsageError(
                f"[when] must give an axis of [space] a condition {{ axis = value }} on unconditional axes of it, but "
                f"{key} has {condition!r}"
            )
        for name, value in condition.items():
            known[name].check(value)
    return tree


def _starting_point(file: StudyFile, point: Any) -> dict[str, Value]:
    """Parameters of a first trial: those given, then those of its `preset`, then the base's."""
    if not isinstance(point, dict) or not isinstance(point.get("preset", ""), str):
        raise UsageError(f"[[start]] must give axes their values, or name a preset, but got {point!r}")
    given = {key: value for key, value in point.items() if key != "preset"}
    if unknown := set(given) - {axis.key for axis in file.axes}:
        raise UsageError(f"[[start]] must give values of axes of [space], but {min(unknown)!r} is none")
    source = preset(point["preset"], file.recipe) if "preset" in point else file.base
    return file.params_of({axis.key: given.get(axis.key, value_at(source, axis.key)) for axis in file.axes})
