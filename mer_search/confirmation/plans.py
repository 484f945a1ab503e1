"""Plans: comparisons one after the other, in which winners meet. A TOML file of [[step]] entries."""

from collections.abc import Callable, Iterator, Sequence

from pydantic import Field, ValidationError

from mer_search.config import Part, explain
from mer_search.confirmation.summary import Comparison
from mer_search.errors import UsageError
from mer_search.files import shipped, toml_names, toml_text, tree_of


class Step(Part):
    """One comparison of a plan. Names may be earlier steps', which stand for their winners."""

    name: str
    compare: tuple[str, ...] = Field(min_length=2)
    subjects: str
    only_if: str = ""  # a network that must be among them; else the first wins without a comparison


def plans() -> list[str]:
    """The plans that come with the package."""
    return toml_names(shipped("plans"))


def load_plan(name_or_path: str) -> tuple[Step, ...]:
    """A plan by its name or file.

    Raises:
        UsageError: if there is none, or it is not a valid plan; the message says where.
    """
    text = toml_text("plan", shipped("plans"), name_or_path)
    try:
        tree = tree_of(text)
    except UsageError as error:
        raise UsageError(f"plan {name_or_path}: {error}") from error
    entries = tree.get("step")
    if not isinstance(entries, list) or not entries or set(tree) != {"step"}:
        raise UsageError(f"plan {name_or_path}: must hold [[step]] entries and nothing else, but has {list(tree)}")
    try:
        steps = tuple(Step.model_validate(entry) for entry in entries)
    except ValidationError as error:
        raise UsageError(
            f"plan {name_or_path}: a step must have a name, compare = two networks or more, subjects, and may have "
            f"only_if; {explain(error)}"
        ) from None
    _check_order(steps, name_or_path)
    return steps


def _check_order(steps: Sequence[Step], plan: str) -> None:
    """Raise UsageError unless each step has a name of its own and looks back only, at what can be there."""
    outcomes: dict[str, set[str]] = {}  # step -> the networks that may win it
    names = {step.name for step in steps}
    for step in steps:
        if step.name in outcomes:
            raise UsageError(f"plan {plan}: a step must have a name of its own, but two are called {step.name!r}")
        for name in step.compare:
            if name in names - set(outcomes):
                raise UsageError(
                    f"plan {plan}: step {step.name!r} must compare networks or earlier steps, but {name!r} is no "
                    "earlier one"
                )
        possible = {network for name in step.compare for network in outcomes.get(name, {name})}
        if step.only_if and step.only_if not in possible:
            raise UsageError(
                f"plan {plan}: only_if of step {step.name!r} must be one of {', '.join(sorted(possible))}, but is "
                f"{step.only_if!r}"
            )
        outcomes[step.name] = possible


def follow(
    steps: Sequence[Step], evaluate: Callable[[Sequence[str], str], Comparison]
) -> Iterator[tuple[Step, tuple[str, ...], Comparison | None]]:
    """The steps of a plan one after the other, with the networks that meet in them, and how `evaluate` compares these
    on the step's subjects; None where there is no need."""
    winners: dict[str, str] = {}
    for step in steps:
        names = tuple(winners.get(name, name) for name in step.compare)
        comparison = evaluate(names, step.subjects) if not step.only_if or step.only_if in names else None
        called = [network.name for network in comparison.networks] if comparison else list(names)
        winners[step.name] = names[called.index(comparison.winner) if comparison else 0]
        yield step, names, comparison
