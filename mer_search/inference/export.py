"""Networks of a confirmed run as ONNX files, for programs without torch. Each is checked against torch.

A file holds the networks that never saw one person, one a seed, and says their mean.

Inputs: `motion` (B, T, P, H, W) float32, as data.flow measures it, and where the network has a position branch `onset`
(B, 3, H, W) float32, the prepared onset frame, RGB in 0..255. Output: `probabilities` (B, K). Channels, the small onset
image and the mean with the mirrored clip are made inside. What the file's user must know stands in its metadata.

For people who are in no dataset there is a file of networks that learned from everybody. They have the configuration
and the seeds of a confirmation, whose figure is the estimate for them: they are not tested.
"""

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mer_search.config import Run, digest
from mer_search.confirmation.confirm import Announce, Confirmation, confirm_all
from mer_search.confirmation.summary import Summary
from mer_search.confirmation.target import Target
from mer_search.data import DATASETS, open_folder
from mer_search.data.clips import Clip
from mer_search.data.store import load
from mer_search.engine.where import Where
from mer_search.errors import DataError, UsageError
from mer_search.evaluation.folds import EVERYBODY
from mer_search.files import write_whole
from mer_search.inference.predict import Confirmed
from mer_search.model.network import Network
from mer_search.search.workspace import Progress, cache, load_data
from mer_search.training.predict_proba import mean_proba

TOLERANCE = 1e-4  # of a probability, between onnxruntime and torch
RANDOM = 3  # clips of random motion that a file is checked on
SCRIPT = "use_final.py"  # uses a file of networks that learned from everybody
SEEN = "what it says of anybody else in training is no test: it learned from them"


class Exported(NamedTuple):
    """The networks of a fold that were written."""

    never_saw: str  # a subject, or a database; EVERYBODY of networks that saw all
    path: Path
    difference: float  # from torch's probabilities, the largest
    real: int  # clips with which it was checked, beside random motion


class _Ensemble(nn.Module):
    """Flow and onset images -> the networks' mean probabilities, as a module."""

    def __init__(self, networks: Sequence[Network], run: Run) -> None:
        super().__init__()
        self.networks, self.run = nn.ModuleList(networks).requires_grad_(False), run

    def forward(self, motion: Tensor, onset: Tensor | None = None) -> Tensor:
        return torch.stack([mean_proba(each, self.run, motion, onset) for each in self.networks]).mean(0)  # type: ignore[arg-type]


def export(
    confirmed: Confirmed,
    subjects: Sequence[str],
    out: Path | None,
    progress: Progress,
    told: dict[str, str] | None = None,
) -> list[Exported]:
    """Write `<out>/<subject>.onnx`, or `<out>/<database>.onnx`, for the networks that never saw each subject; `out` is
    `onnx` in the confirmation's folder where it is None. The metadata say which people the networks saw, as `told`, or
    that they never saw that person.

    The graph is made once, and again only for a network of other shapes (with units, they may differ); the others are
    the same graph with their own weights. Where a file does not say what torch says, it is deleted (DataError).
    """
    check_packages()
    for subject in subjects:
        confirmed.check_subject(subject)
    out, run = out or confirmed.folder / "onnx", confirmed.run
    clips = _clips_at_hand(confirmed)
    folds = dict.fromkeys(confirmed.folds[subject] for subject in subjects)
    graphs: dict[tuple[torch.Size, ...], Any] = {}
    written = []
    progress("writing networks", 0, len(folds))
    for done, fold in enumerate(folds, 1):
        ensemble = _Ensemble(confirmed.networks(fold, "cpu"), run)
        shapes = tuple(item.shape for item in ensemble.state_dict().values())
        if shapes not in graphs:
            graphs[shapes] = _graph(ensemble)
        seen = {"never_saw": fold, "leak_free": f"for {fold}, and for people outside the dataset; {SEEN}"}
        if run.leaks:
            seen["leak_free"] = f"for people outside the dataset; training looked at {fold}; {SEEN}"
        content = _filled(graphs[shapes], ensemble, metadata(confirmed) | (told or seen))
        path, real = out / f"{fold}.onnx", _real(clips.get(fold), run)
        difference = _difference(content, ensemble, [_random(run), *real])
        if not difference <= TOLERANCE:  # NaN is no agreement
            path.unlink(missing_ok=True)
            raise DataError(
                f"{path} must say what torch says to {TOLERANCE:g}, but differs by {difference:.2g}; it was not kept, "
                "please report this with the trial's config.json"
            )
        write_whole(path, content)
        written.append(Exported(fold, path, difference, len(real)))
        progress("writing networks", done, len(folds))
    return written


def check_packages() -> None:
    """Raise UsageError unless what writes and checks ONNX files is installed."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise UsageError(
            f"export needs onnx, onnxscript and onnxruntime, but {error.name} is not installed; "
            "pip install 'mer-search[onnx]'"
        ) from None
    onnxruntime.set_default_logger_severity(3)  # errors; its warnings are about its own optimiser


def _random(run: Run, clips: int = RANDOM) -> tuple[Tensor, ...]:
    """Motion, and onset images where the networks take them, of so many clips."""
    random = torch.Generator().manual_seed(0)
    size = run.flow.size
    motion = torch.randn(clips, run.frames.maps, len(_motion_of(run)[0]), size, size, generator=random)
    onset = (255 * torch.rand(clips, 3, size, size, generator=random)).round()
    return (motion, onset) if run.model.position else (motion,)


def _motion_of(run: Run) -> tuple[tuple[str, ...], str]:
    """What a motion map holds as it is measured, and its unit."""
    if run.flow.method == "difference":
        return ("red", "green", "blue"), "minus those of the frame before, in grey levels"
    if DATASETS[run.data.dataset].flow_images:
        return ("u", "v", "strain"), "scaled to -1 to 1"
    return ("u", "v"), "in pixels"


def _graph(ensemble: _Ensemble) -> Any:
    """torch's ONNXProgram of the networks, whose batch may have any size."""
    from onnxscript import opset18 as op

    inputs = _random(ensemble.run, 2)
    missing: dict[Callable[..., Any], Callable[..., Any]] = {  # of torch's own table
        torch.ops.aten.hypot.default: lambda u, v: op.Sqrt(op.Add(op.Mul(u, u), op.Mul(v, v)))
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, whose operators are not used
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            return torch.onnx.export(
                ensemble, inputs, dynamo=True, verbose=False,
                optimize=False,  # which folds weights into each other; onnxruntime does that when it loads a file
                custom_translation_table=missing,
                input_names=["motion", "onset"][: len(inputs)], output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("clips")},) * len(inputs),
            )  # fmt: skip
    except Exception as failure:  # torch.export, its ONNX exporter and onnxscript each have their own
        error: BaseException = failure
        while error.__cause__:  # the outer ones tell how to report it
            error = error.__cause__
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UsageError(
            f"torch {torch.__version__} cannot export the networks of run {digest(ensemble.run)} as ONNX ({reason}); "
            "`mer-search predict` can use them"
        ) from None


def _filled(graph: Any, ensemble: _Ensemble, metadata: dict[str, str]) -> bytes:
    """The file's content: the graph with these networks' weights."""
    import onnx_ir

    initializers = graph.model.graph.initializers
    for name, item in ensemble.state_dict().items():
        if name in initializers:  # counts of batches are no part of the graph
            initializers[name].const_value = onnx_ir.tensor(item.numpy(), name=name)
    graph.model.metadata_props.update(metadata)
    return bytes(graph.model_proto.SerializeToString())


def metadata(confirmed: Confirmed) -> dict[str, str]:
    """What a file's user must know of all networks of a confirmed run."""
    run = confirmed.run
    components, unit = _motion_of(run)
    inputs = {"motion": f"(clips, maps, components, height, width): {', '.join(components)}, {unit}"}
    if run.model.position:
        inputs["onset"] = "(clips, components, height, width): red, green, blue of the prepared onset frame, 0 to 255"
    return {
        "made_by": f"mer-search {version('mer-search')}",
        "title": confirmed.summary.title,
        "dataset": confirmed.summary.dataset,
        "synthetic": json.dumps(confirmed.summary.synthetic),
        "run": digest(run),
        "classes": json.dumps(run.data.classes),
        "channels": f"{run.input.channels} of {run.input.components}, made inside",
        "inputs": json.dumps(inputs),
        "frames": json.dumps(run.frames.model_dump()),
        "prep": json.dumps(run.prep.model_dump()),
        "flow": json.dumps(run.flow.model_dump()),
        "seeds": json.dumps(confirmed.summary.seeds),
    }


def _clips_at_hand(confirmed: Confirmed) -> dict[str, Clip]:
    """A clip of each fold, and one for the networks that saw all, if the data is still where it was."""
    try:
        clips = open_folder(confirmed.data, confirmed.run.data.task).clips
    except DataError:
        return {}
    by_fold = {clip.fold(confirmed.run.data.leave_out): clip for clip in clips}
    return {EVERYBODY: clips[0], **by_fold} if clips else {}


def _real(clip: Clip | None, run: Run) -> list[tuple[Tensor, ...]]:
    """The motion of a clip, as the networks take it; nothing if it cannot be read."""
    try:
        _, motion, _ = load([clip] if clip else [], run, cache() / "flow")
    except DataError:
        return []
    arrays: list[NDArray[Any] | None] = [motion.flow, motion.onset if run.model.position else None]
    return [tuple(torch.from_numpy(each).float() for each in arrays if each is not None)]


def _difference(content: bytes, ensemble: _Ensemble, cases: Sequence[tuple[Tensor, ...]]) -> float:
    """The largest difference between onnxruntime's and torch's probabilities; NaN where one has none."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names, found = [each.name for each in session.get_inputs()], []
    for inputs in cases:
        (said,) = session.run(None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)})
        with torch.no_grad():
            found.append(np.abs(said - ensemble(*inputs).numpy()).max())
    return float(np.max(found))


def export_final(
    confirmed: Confirmed, where: Where, out: Path | None, progress: Progress, announce: Announce
) -> Exported:
    """Train a confirmation's configuration on everybody, a network a seed, in `final` in its folder, and write
    `<out>/everybody.onnx`, the networks' mean, and `<out>/use_final.py`, which uses it on frames; `out` is that folder,
    too, where it is None. Networks that are finished are kept whatever happens."""
    check_packages()
    if confirmed.run.leaks:
        raise UsageError(
            f"training on everybody must not look at a test person, but that of {confirmed.summary.title} does "
            '(train.stop_when_perfect, or units.chosen_by = "test"); confirm it without'
        )
    told, job = _told(confirmed.summary), _job(confirmed, progress)
    confirm_all([job], where, progress, announce)
    summary = confirmed.summary.model_copy(update={"title": job.target.title})
    networks = replace(confirmed, summary=summary, folder=job.store, folds={EVERYBODY: EVERYBODY})
    (written,) = export(networks, [EVERYBODY], out or job.store, progress, told)
    if not script_refusal(networks):
        write_whole(written.path.with_name(SCRIPT), Path(__file__).with_name(SCRIPT).read_text())
    return written


def _job(confirmed: Confirmed, progress: Progress) -> Confirmation:
    """What is to be trained: one fold a seed, which leaves no subject out."""
    run, data, title = confirmed.run, confirmed.data, confirmed.summary.title
    loaded = load_data(data, run, progress)
    if digest(loaded.run) != digest(run):
        raise UsageError(
            f"{data} must hold the clips that {title} was confirmed on, but holds others; restore them or confirm again"
        )
    if EVERYBODY in {*loaded.subjects, *(clip.database for clip in loaded.clips)}:
        raise UsageError(
            f"no subject and no database must be called {EVERYBODY!r} where networks are trained on all, but one of "
            f"{data} is; rename it"
        )
    target = Target(
        run, f"{title}, trained on everybody", confirmed.folder / "final", data, run.data.checksum,
        trained=confirmed.folder, leave_out=run.data.leave_out,
    )  # fmt: skip
    return Confirmation(target, loaded, (EVERYBODY,), confirmed.summary.seeds)


def _told(summary: Summary) -> dict[str, str]:
    """What the file's metadata say of the people that the networks learned from, and of how good they may be."""
    estimate = {
        "of": f"{summary.title}: {summary.protocol}, of {summary.n_subjects} subjects",
        "seeds": summary.seeds,
        "rule": "tail",
        **summary.tail.model_dump(include={"uf1", "ci95", "averaged"}),
        "subjects_that_chose_the_configuration": summary.n_chosen_on,
    }
    return {
        "trained_on": f"everybody: all {summary.n_clips} clips of {summary.n_subjects} subjects; they were not "
        "tested, so that no figure is theirs, and what they say of these subjects is no test",
        "estimate_for_new_people": json.dumps(estimate),
    }


def script_refusal(confirmed: Confirmed) -> str:
    """Why the script cannot use a confirmed run's networks; "" if it can."""
    from mer_search.inference import use_final  # imports onnxruntime

    return use_final.refusal(metadata(confirmed))
