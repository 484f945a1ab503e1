"""What to write in a paper: a paragraph for its methods and a table for its results, from what was run."""

import re
from typing import Any

from mer_search.config import Run
from mer_search.confirmation.summary import Summary
from mer_search.data import DATASETS
from mer_search.evaluation.metrics import tail_epochs
from mer_search.report.document import Code, Section, decimals
from mer_search.report.summaries import absent, every_estimate, group_title
from mer_search.report.terminal import interval, plural

FLOWS = {
    "farneback": "Farneback optical flow", "dis": "DIS optical flow", "tvl1": "TV-L1 optical flow",
    "difference": "Differences of RGB frames",
}  # fmt: skip
LOSSES = {"ce": "cross-entropy", "focal": "the sigmoid focal loss", "softmax_focal": "the softmax focal loss"}
SCHEDULES = {
    "exponential": "times {train.gamma:.4g} an epoch until epoch {train.plateau}",
    "cosine": "falling to 0 as a cosine does",
    "onecycle": "in one cycle",
}
SCALES = {
    "n": "scaled to [-1, 1] by each map's extremes",
    "r": "in pixels",
    "s": "standardised column by column",
    "z": "standardised over the map",
}
MASKS = {
    "none": "", "template": "masked by a template", "landmarks": "masked by landmarks",
    "notebook": "masked by landmarks of all frames",
}  # fmt: skip
BIBTEX = """\
@inproceedings{li2022mmnet,
  title = {{MMNet}: Muscle Motion-Guided Network for Micro-Expression Recognition},
  author = {Li, Hanting and Sui, Mingzhe and Zhu, Zhaoqing and Zhao, Feng},
  booktitle = {Proceedings of the 31st International Joint Conference on Artificial Intelligence},
  year = {2022}
}
@misc{tmmmnet,
  title = {{TM-MMNET}, V1 to V6d},
  note = {Public code and specification}
}
@software{mersearch,
  title = {mer-search: Find networks for micro-expression recognition, and say honestly how good they are},
  version = {VERSION}
}
"""
FRAMES = {  # by the number of maps, as they follow each other
    1: "the onset and the {middle}",
    2: "the onset, the {middle} and the offset",
    3: "the onset, the frame halfway to the {middle}, the {middle} and the offset",
    4: "the onset, the frame halfway to the {middle}, the {middle}, the frame halfway to the offset and the offset",
}
COMPONENTS = {"u": "horizontal flow", "v": "vertical flow", "o": "optical strain"}


def paragraph(run: Run, summary: Summary, study: dict[str, Any], environment: dict[str, Any]) -> str:
    """The methods section's paragraph, of a confirmed configuration, its summary.json, its search (see `search.facts`)
    and its env.json."""
    seeds, classes = plural(len(summary.seeds), "seed"), run.data.classes
    last = tail_epochs(run.train.epochs)
    tail = f"the mean probability over the last {last} epochs" if last > 1 else "the last epoch"
    given = "the mean and standard deviation over seeds, and " if len(summary.seeds) > 1 else ""
    chosen = "so no epoch is chosen on the test subject"
    if summary.leaks:
        chosen = "but training itself looked at the test subject, so that all figures leak"
    names = ", ".join(absent(summary))
    without = f", without {names}, of which there is no clip" if names else ""
    sentences = [
        f"We used {summary.dataset}: {summary.n_clips} clips of {summary.n_subjects} subjects in {len(classes)} "
        f"classes ({', '.join(classes)}), evaluated leave-one-{run.data.leave_out}-out.",
        _motion(run),
        _network(run),
        _training(run),
        _search(study, summary),
        f"Each fold was trained with {seeds} that the search never used. A clip's class is that of {tail}, {chosen}. "
        "True and false positives are summed over all folds before UF1 and UAR are "
        f"taken (MEGC 2019){without}; we give {given}a 95 % interval over subjects.",
        "For comparison with earlier papers only, we also give UF1 with each fold's epoch chosen on its test subject.",
        f"Software: mer-search {environment['mer-search']}, PyTorch {environment['torch']}, "
        f"Python {environment['python']}.",
    ]
    return " ".join(sentences)


def _motion(run: Run) -> str:
    if DATASETS[run.data.dataset].flow_images:
        images = plural(run.frames.maps, "optical-flow image")
        return f"The input is {images} a clip, at {run.flow.size} x {run.flow.size} pixels."
    points = FRAMES[run.frames.maps].format(middle="apex" if run.frames.middle == "apex" else "middle frame")
    pairs = "each of these and the next" if run.frames.pairs == "consecutive" else "the onset and each of the others"
    denoised = f"denoised (non-local means, h = {run.prep.denoise:g})" if run.prep.denoise else ""
    resized = f"resized to {run.prep.size} x {run.prep.size} pixels"
    frames = f" Frames were {', '.join(filter(None, (denoised, resized, MASKS[run.prep.mask])))} first."
    maps = plural(run.frames.maps, "map")
    motion = (
        f"Of a clip we took {points}. {FLOWS[run.flow.method]} between {pairs} gave {maps} a clip at {run.flow.size} x "
        f"{run.flow.size} pixels"
    )
    if run.input.channels in ("hsv", "rgb"):
        return f"{motion}.{frames}"
    scales = " and ".join(SCALES[letter] for letter in run.input.channels)
    parts = ", ".join(COMPONENTS[letter] for letter in run.input.components)
    return f"{motion}: {parts}, {scales}.{frames}"


def _network(run: Run) -> str:
    model = run.model
    branch = "with" if model.position else "without"
    blocks = "continuous-attention" if model.attention else "plain residual"
    stem = f"{model.stem_width}" if model.temporal == "none" else f"{model.stem_mid} and {model.stem_width}"
    pooled = f", pooled to {model.head_grid} x {model.head_grid} places" if model.head_grid else ""
    dropout = f" and dropout of {model.dropout:g}" if model.dropout else ""
    widths = f"{', '.join(map(str, model.widths))} channels{f', {model.depth} each' if model.depth > 1 else ''}"
    return (
        f"The network is of the MMNet family: a stem of {stem} channels, {plural(len(model.widths), 'stage')} of "
        f"{blocks} blocks of {widths}, {branch} the position branch; a linear layer on the last map{pooled}{dropout}."
    )


def _training(run: Run) -> str:
    train, units = run.train, run.units
    augmentations = [
        (train.flip, "horizontal flips"),
        (train.crop or train.pad, "random crops"),
        (train.rotate, f"rotations up to {train.rotate:.2g} degrees"),
        (train.noise, f"Gaussian noise of {train.noise:g} standard deviations"),
        (train.mixup, f"mixup (alpha {train.mixup:g})"),
    ]
    names = ", ".join(name for used, name in augmentations if used)
    augmented = f", augmented by {names}" if names else ""
    smoothed = f" with label smoothing {train.label_smoothing:g}" if train.label_smoothing else ""
    power = f"{train.class_weights:g}"
    smoothed += f", classes weighted by their clips to the power of -{power}" if train.class_weights else ""
    mirrored = " A clip's probabilities are the mean over it and its mirror image." if train.mirror else ""
    first = f" after {units.epochs} epochs on action units (learning rate {units.lr:.2g})"
    return (
        f"It was trained for {train.epochs} epochs{first if units.use != 'none' else ''} with AdamW (learning rate "
        f"{train.lr:.2g}, {SCHEDULES[train.schedule].format(train=train)}, weight decay {train.weight_decay:.2g}), "
        f"batches of {train.batch} and {LOSSES[train.loss]}{smoothed}{augmented}.{mirrored}"
    )


def _search(study: dict[str, Any], summary: Summary) -> str:
    pruned = "no trial was stopped early" if study["pruner"] == "none" else f"trials pruned by {study['pruner']}"
    trials, people = plural(study["trials"], "trial"), plural(len(study["subjects"]), "subject")
    searched = f"{trials} of {study['sampler']} search on {people} ({', '.join(study['subjects'])}; {pruned})"
    if not study["is_best"]:
        return (
            f"The configuration is one of {searched}, but not the one that the search put first; it cannot be excluded "
            "that it was taken for the figures below, which are then too good."
        )
    finals = f"the best {study['finalists']} were trained with further seeds, and the best mean was chosen; "
    others = "these are all subjects, so the figures below are too good as far as the choice was luck"
    if summary.n_tuning < summary.n_subjects:
        others = "the figures of the other subjects had no part in it"
    return f"The configuration was found by {searched}; {finals if study['finalists'] else ''}{others}."


def section(run: Run, summary: Summary, study: dict[str, Any], environment: dict[str, Any]) -> Section:
    """What to copy: the paragraph, the table, and what to cite. See `paragraph`."""
    texts = {
        "Methods": paragraph(run, summary, study, environment),
        "Results, LaTeX (booktabs)": latex(summary),
        "What to cite, BibTeX": BIBTEX.replace("VERSION", environment["mer-search"]),
    }
    return Section("For a paper", [Code(text, called) for called, text in texts.items()])


def latex(summary: Summary) -> str:
    """The results as a LaTeX table (booktabs)."""
    lines = [r"\begin{tabular}{llrrrr}", r"\toprule"]
    lines += [r"estimate & subjects & UF1 & 95\,\% & UAR & accuracy \\", r"\midrule"]
    for called, group, score in every_estimate(summary):
        sd = getattr(score, "sd", None)
        spread = f" $\\pm$ {sd:.3f}" if sd is not None else ""
        ends = interval(score.ci95).replace("-", "--")
        rates = " & ".join(decimals(getattr(score, name, None)) for name in ("uar", "accuracy"))
        name, subjects = re.sub("([&%_#])", r"\\\1", called), group_title(summary, group)
        lines.append(f"{name} & {subjects} & {score.uf1:.3f}{spread} & {ends} & {rates} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
