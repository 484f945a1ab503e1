"""What networks say about clips, for the terminal."""

from collections.abc import Sequence

from mer_search.data.clips import Problem
from mer_search.evaluation.folds import EVERYBODY
from mer_search.inference.export import SCRIPT, Exported, script_refusal
from mer_search.inference.predict import ClipPrediction, Confirmed
from mer_search.report.document import Table
from mer_search.report.terminal import note, plural, say, show


def print_predictions(confirmed: Confirmed, predicted: Sequence[ClipPrediction | Problem]) -> None:
    """Each clip: what was taken, which networks were asked, the probabilities; an error where it cannot be used."""
    networks = plural(len(confirmed.summary.seeds), "network")
    _say_which(confirmed, f"{len(confirmed.subjects)} subjects in training, {networks} without each")
    if confirmed.summary.synthetic:
        say("They learned from synthetic clips: what they say of real faces means nothing.")
    for each in predicted:
        if isinstance(each, Problem):
            note(f"error: {each.clip}: {each.what}")
        else:
            _print_one(each)


def _say_which(confirmed: Confirmed, what: str) -> None:
    """Whose networks are used, how good they were, and which others there are."""
    found = confirmed.summary
    say(f"{found.title}, confirmed with UF1 {found.tail.uf1:.3f}: {found.dataset}, {what}")
    if confirmed.others:
        say(f"Also confirmed: {', '.join(confirmed.others)}; --trial takes another.")


def _print_one(one: ClipPrediction) -> None:
    found, facts = one.found, one.facts
    label = f"; annotated as {facts['annotated_as']}" if facts["annotated_as"] else ""
    if found.clip.is_flow:
        say(f"\n{found.name}: a flow image{label}")
    else:
        moments = ", ".join(f"{name} {facts[name]}" for name in ("onset", "apex", "offset") if facts[name] is not None)
        say(f"\n{found.name}: {moments}, {found.origin}{label}")
        say(f"Frames looked at: {' '.join(map(str, one.frames))}.")
    if len(one.networks) == 1:
        say(f"By the mean of the networks that never saw {one.networks[0]}, who was in the training of the others.")
    else:
        say("By the mean of all networks, as of somebody who was not in training; else say who it is with --subject.")
    rows = [
        (name, prob, "best" if name == one.best else "")
        for name, prob in zip(one.classes, one.probabilities, strict=True)
    ]
    show(Table(("class", "probability", ""), rows, strong=one.classes.index(one.best)))
    if one.action_units:
        shown = sorted(one.action_units.items(), key=lambda item: -item[1])
        told = f"; annotated as {' '.join(found.clip.action_units)}" if found.clip.action_units else ""
        say(f"Action units after the first stage: {', '.join(f'{name} {prob:.2f}' for name, prob in shown)}{told}.")


def print_exported(confirmed: Confirmed, written: Sequence[Exported]) -> None:
    """The files and how far they are from torch."""
    networks = plural(len(confirmed.summary.seeds), "network")
    _say_which(confirmed, f"the mean of {networks} a file as ONNX in {written[0].path.parent}")
    rows = [(each.path.name, f"{each.difference:.1e}", each.real) for each in written]
    show(Table(("file", "differs from torch by", "clips checked"), rows))
    if written[0].never_saw != EVERYBODY:
        say(
            "A file has the name of the person, or the database, that its networks never saw. Largest difference of a "
            "probability, on random motion and on a clip of those."
        )
        return
    say("Its networks learned from everybody and are tested on nobody: its metadata say which figure is the estimate.")
    if refusal := script_refusal(confirmed):
        note(f"warning: {refusal}")
    else:
        say(f"On frames, without this package: python {written[0].path.with_name(SCRIPT)} FOLDER")
