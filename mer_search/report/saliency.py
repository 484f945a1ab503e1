"""Why a network says what it says, as parts of a document: what it looks at, and which clips are always wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import optuna

from mer_search.config import Run, digest
from mer_search.confirmation.difficulty import MIN_NETWORKS, ClipErrors
from mer_search.data.clips import Clip
from mer_search.errors import DataError, MerSearchError
from mer_search.evaluation.predictions import Predictions
from mer_search.inference.saliency import ClipSaliency, FoldPrediction, fold_predictions, saliency_maps
from mer_search.report.clips import Map, Picture, faces, grey, ground, mean_share, motion_picture, over, tile
from mer_search.report.document import Block, Section, Sheet, Table, Text, Tile
from mer_search.search.workspace import Loaded, Progress, load_data

MISTAKES_SHOWN = 8
CLIPS_LISTED, CLIPS_SHOWN = 20, 12  # clips that are always wrong: in the table, and as pictures
JUDGES = (
    "Every clip was judged by the network of its fold, which never saw its person: that of seed {seed}, as it "
    "was after the last epoch. Grad-CAM is taken place by place (HiResCAM), for the head weighs each place on its own."
)
MAPS = (
    "The redder, from the least to the most of each map, the more the features there speak for the class (Grad-CAM), "
    "or the more a CA block lets through (attention). That shows where something was read, not what, nor that it is a "
    "cause; attention alone is no proof, for what follows may ignore what it lets through."
)
NO_ATTENTION = "This network's blocks have no attention (model.attention = false), so that there is Grad-CAM alone."
CLASSES = "Means over the clips of a class that were recognised, on their mean {ground}, and then the surest one. "
MISTAKES = "What spoke for the guess and for the truth, on each clip's {ground}, and the last attention. "
DOUBTED = (
    "Often such labels are wrong, or could be doubted: look at a clip with `mer-search data preview CLIP --data FOLDER`"
    ". Where most of a class is here, the class was not learnt, which says nothing of its labels."
)
MOTION = "Motion is from the onset to the apex: the hue is its direction, the brightness its strength."
LOST_ZERO = " Flow images have lost their zero: their median is taken to be still."


def clips_of(study: optuna.Study, run: Run, progress: Progress) -> Loaded | Text:
    """The study's clips as they are for a run of it; or, where they are not at hand, a warning that says why."""
    path = Path(study.user_attrs["data"])
    try:
        loaded = load_data(path, run, progress)
        if digest(loaded.run) != digest(run):
            raise DataError(f"{path} holds other clips than those of the study")
    except MerSearchError as error:
        return Text(f"There are no pictures here, because they need the study's data: {error}.", "unsure")
    return loaded


def looked_at(
    folder: Path, folds: Sequence[Predictions], run: Run, clips: Loaded | Text, progress: Progress
) -> Section:
    """What a confirmation's networks look at, class by class and in their worst mistakes."""
    seed, classes = min(fold.seed for fold in folds), run.data.classes
    told = fold_predictions(folds, seed)
    wrong = sorted((each for each in told if not each.right), key=lambda each: each.probs[each.truth])[:MISTAKES_SHOWN]
    mistakes: Block = Text("No clip was taken for something else.")
    if wrong:
        rows = [
            (each.clip, classes[each.truth], classes[each.guess], each.probs[each.truth], each.probs[each.guess])
            for each in wrong
        ]
        caption = "The worst mistakes: those that gave the truth the least probability p."
        mistakes = Table(("clip", "truth", "guess", "p(truth)", "p(guess)"), rows, caption, left=3)
    try:
        sheets = [clips] if isinstance(clips, Text) else _sheets(folder, clips, seed, told, wrong, progress)
    except DataError as error:
        sheets = [Text(f"There are no pictures here: {error}.", "unsure")]
    said = [Text(JUDGES.format(seed=seed)), *([] if run.model.attention else [Text(NO_ATTENTION)])]
    return Section("What the network looks at", [*said, *sheets[:1], mistakes, *sheets[1:]])


def _sheets(
    folder: Path,
    loaded: Loaded,
    seed: int,
    told: Sequence[FoldPrediction],
    wrong: Sequence[FoldPrediction],
    progress: Progress,
) -> list[Block]:
    """The contact sheets of classes and of mistakes."""
    classes, depth = loaded.run.data.classes, loaded.run.model.depth
    seen = saliency_maps(folder, loaded, seed, [*(each for each in told if each.right), *wrong], progress)
    clips = {clip.id: clip for clip in loaded.clips}
    under = "onset face" if loaded.tensors.onset is not None else "strength of motion"
    by_class = [
        _class_tile(name, [each for each in told if each.truth == number], seen, clips, depth)
        for number, name in enumerate(classes)
    ]
    mistakes = []
    for each in wrong:
        clip, look, truth, guess = clips[each.clip], seen[each.clip], classes[each.truth], classes[each.guess]
        text = ", ".join(f"{name} {prob:.2f}" for name, prob in zip(classes, each.probs, strict=True))
        pictures = _one(clip, {f"for {guess}": look.guess, f"for {truth}": look.truth})
        pictures += _attention(ground(clip), look.attention, depth)[-1:]
        mistakes.append(tile(f"{each.clip}: {truth}, taken for {guess}", text, pictures))
    first = Sheet("looks", CLASSES.format(ground=under) + MAPS, by_class)
    return [first, *([Sheet("mistakes", MISTAKES.format(ground=under), mistakes)] if mistakes else [])]


def _class_tile(
    name: str, told: Sequence[FoldPrediction], seen: Mapping[str, ClipSaliency], clips: Mapping[str, Clip], depth: int
) -> Tile:
    """The mean over a class's recognised clips, and the one that was recognised most surely."""
    right = sorted((each for each in told if each.right), key=lambda each: each.probs[each.truth])
    text = f"{len(right)} of {len(told)} clips recognised"
    if not right:
        return Tile(name, text, [])
    best, maps = right[-1], [seen[each.clip] for each in right]
    below = np.mean([ground(clips[each.clip]) for each in right], axis=0)
    attention = [np.mean(each, axis=0) for each in zip(*(map_.attention for map_ in maps), strict=True)]
    pictures = [
        (f"mean of {len(right)}", grey(below)),
        ("Grad-CAM", over(below, mean_share([map_.truth for map_ in maps]))),
        *_attention(below, attention, depth),
        *_one(clips[best.clip], {"its Grad-CAM": seen[best.clip].truth}),
    ]
    return tile(name, f"{text}; the surest: {best.clip}, {best.probs[best.truth]:.2f}", pictures)


def _one(clip: Clip, cams: Mapping[str, Map]) -> list[tuple[str, Picture]]:
    """A clip: its onset face, its motion, and maps over it."""
    below = ground(clip)
    maps = [(label, over(below, cam)) for label, cam in cams.items()]
    return [*faces(clip)[:1], ("motion", motion_picture(clip)), *maps]


def _attention(below: Map, maps: Sequence[Map], depth: int) -> list[tuple[str, Picture]]:
    """That of each stage's last block, with its range."""
    return [
        (f"attention {stage}: {map_.min():.2f} to {map_.max():.2f}", over(below, map_))
        for stage, map_ in enumerate(maps[depth - 1 :: depth], 1)
    ]


def always_wrong(errors: Sequence[ClipErrors], classes: Sequence[str], clips: Loaded | Text) -> Section:
    """The clips that no network gets right."""
    wrong = [each for each in errors if each.always_wrong]
    enough = [each for each in errors if each.n_networks >= MIN_NETWORKS]
    title, tested = "Clips that are always wrong", f"{MIN_NETWORKS} networks or more were tested"
    if not enough:
        return Section(title, [Text(f"That needs clips on which {tested}; each further trial is one.")])
    shares = [
        f"{name} {sum(each.truth == number for each in wrong)} of {sum(each.truth == number for each in enough)}"
        for number, name in enumerate(classes)
    ]
    said = Text(
        f"Of {len(enough)} clips on which {tested}, {len(wrong)} were taken for something else by every one: "
        f"{', '.join(shares)}. The networks are those of all trials that ran to their end or are confirmed on all "
        "subjects, each by the mean probability of its seeds."
    )
    if not wrong:
        return Section(title, [said])
    rows = [
        (each.clip, classes[each.truth], classes[each.guess], f"{each.n_wrong} of {each.n_networks}", each.prob)
        for each in wrong[:CLIPS_LISTED]
    ]
    cut = f"The first {CLIPS_LISTED} of {len(wrong)}. " if len(wrong) > CLIPS_LISTED else ""
    caption = f"{cut}p(truth): its mean probability, the least first; always_wrong.csv, beside this page, has all."
    table = Table(("clip", "truth", "mostly taken for", "wrong in", "p(truth)"), rows, caption, left=3)
    pictures = clips if isinstance(clips, Text) else _previews(wrong[:CLIPS_SHOWN], classes, clips)
    return Section(title, [said, Text(DOUBTED), table, pictures])


def _previews(wrong: Sequence[ClipErrors], classes: Sequence[str], loaded: Loaded) -> Sheet:
    clips, tiles = {clip.id: clip for clip in loaded.clips}, []
    for each in wrong:
        clip = clips[each.clip]
        pictures = faces(clip) or [("strength", grey(ground(clip)))]
        text = f"{classes[each.truth]}, mostly taken for {classes[each.guess]}"
        tiles.append(tile(each.clip, text, [*pictures, ("motion", motion_picture(clip))]))
    return Sheet("always_wrong", MOTION + (LOST_ZERO if loaded.tensors.onset is None else ""), tiles)
