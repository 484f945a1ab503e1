"""Plans: comparisons one after the other, in which winners meet. A TOML file of [[step]] entries."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from mer_search.config import Part, explain
from mer_search.errors import UsageError
from mer_search.files import shipped, toml_text, tree_of


class Step(Part):
    """One comparison of a plan. Names may be earlier steps', which stand for their winners."""

    name: str
    compare: tuple[str, ...] = Field(min_length=2)
    subjects: str
    only_if: str = ""  # a network that must be among them; else the first wins without a comparison


class Plan(Part):
    """What a plan's file holds. Each step looks back only, at what can be there."""

    step: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _order(self) -> Self:
        outcomes: dict[str, set[str]] = {}  # step -> the networks that may win it
        names = {step.name for step in self.step}
        for step in self.step:
            if step.name in outcomes:
                raise ValueError(f"a step must have a name of its own, but two are called {step.name!r}")
            if later := [name for name in step.compare if name in names - set(outcomes)]:
                raise ValueError(f"step {step.name!r} must compare earlier ones, but {later[0]!r} is no earlier one")
            possible = {network for name in step.compare for network in outcomes.get(name, {name})}
            if step.only_if and step.only_if not in possible:
                among = ", ".join(sorted(possible))
                raise ValueError(f"only_if of step {step.name!r} must be one of {among}, but is {step.only_if!r}")
            outcomes[step.name] = possible
        return self


def load_plan(name_or_path: str) -> tuple[Step, ...]:
    """A plan by its name or file."""
    text = toml_text("plan", shipped("plans"), name_or_path)
    try:
        return Plan.model_validate(tree_of(text)).step
    except ValidationError as error:
        must = "must hold [[step]] entries, each with a name, compare = two networks or more, subjects, perhaps only_if"
        raise UsageError(f"plan {name_or_path}: {must}; {explain(error)}") from None
    except UsageError as error:
        raise UsageError(f"plan {name_or_path}: {error}") from error


def follow(
    steps: Iterable[Step], evaluate: Callable[[Sequence[str], str], tuple[int, Any]]
) -> Iterator[tuple[Step, tuple[str, ...], str, Any]]:
    """The steps of a plan one after the other, with the networks that meet in them, which of them wins, and what was
    found: `evaluate` gives the winner's place among networks on some subjects, and whatever it found. Where there is no
    need to compare them, the first wins, and None is found."""
    winners: dict[str, str] = {}
    for step in steps:
        names = tuple(winners.get(name, name) for name in step.compare)
        place, found = evaluate(names, step.subjects) if not step.only_if or step.only_if in names else (0, None)
        winners[step.name] = names[place]
        yield step, names, names[place], found
