"""Run: everything that determines a result, and nothing else.

A `Run` is a frozen value of eight parts. A dotted path into it (`"train.lr"`) is the key in a study file, the name
of the Optuna parameter and the column in every table. `digest` names the folder or the cache entry of any part.
The comment behind a field is its meaning in docs/study-file.md, which `make docs` writes.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mer_search.errors import UsageError

Value = bool | int | float | str
RENAMED = {"train.inner": "train.val_subjects"}  # dotted paths as they were spelt before
FLOW_IMAGE = 28  # pixels a side of MEGC 2019's flow images
COLOURS = ("hsv", "rgb")  # values of input.channels that are words, not letters


class Part(BaseModel):
    """A frozen, closed set of fields: an unknown key or a value out of range is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Part):
    """Which clips, and what a fold leaves out. All but `task` and `leave_out` is taken from the data's folder."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # task = 3

    dataset: str = "casme2"  # which reader knows the folder
    task: str = ""  # how many classes are told apart: one of the dataset's tasks, "3" or "5"; "" is its first
    classes: tuple[str, ...] = ("happiness", "repression", "disgust", "surprise", "others")  # the task's, in order
    checksum: str = ""  # of all that is annotated of all clips
    leave_out: Literal["subject", "database"] = "subject"  # what a fold tests and never trains on


class Frames(Part):
    """Which frames of a clip. Source: TM-MMNET's public code; the specification's middle frame is the apex.

    With `crops`, training sees so many copies of each clip that were drawn beforehand as TM-MMNET's public code draws
    them: `train.crop` cuts the sides of every frame on their own, and flow is measured afterwards.
    """

    middle: Literal["midpoint", "apex"] = "midpoint"  # the frame between onset and offset that the others hang on
    maps: int = Field(4, ge=1, le=4)  # motion maps a clip, T
    pairs: Literal["consecutive", "onset"] = "consecutive"  # flow from the frame before, or always from the onset
    jitter: float = Field(0.15, ge=0, le=1)  # training: onset and offset move inwards by up to a quarter of this share
    jitter_apex: bool = False  # training: the apex moves back by the onset's rule, too, as in MMNet's public code
    crops: int = Field(0, ge=0, le=1000)  # copies of a clip, cropped before flow is measured; 0: cropped afterwards


class Prep(Part):
    """What happens to a frame before its motion is measured; frames that are denoised and masked already skip both."""

    size: int = Field(224, ge=16, le=512)  # pixels; frames are resized to size x size
    resize: Literal["area", "linear", "pillow"] = "area"  # area: where frames are made smaller; else linear
    denoise: float = Field(0.0, ge=0, le=20)  # strength h of non-local-means over three frames; 0 off
    denoiser: Literal["clip", "notebook"] = "clip"  # notebook: as TM-MMNET's has it, see docs/parity.md
    mask: Literal["none", "template", "landmarks", "notebook"] = "none"  # black out eyes and what lies below the jaw


class Flow(Part):
    """How motion is measured and at which size it is kept.

    Three methods of optical flow: `farneback`, with the values of TM-MMNET's public code, `dis` with those of OpenCV's
    medium preset, and `tvl1` with those of scikit-image, which must be installed for it. `difference` is MMNet's: one
    frame minus the other, in RGB.
    """

    method: Literal["farneback", "dis", "tvl1", "difference"] = "farneback"  # one of these
    size: int = Field(224, ge=16, le=512)  # pixels; H = W of the motion maps, and so of the network's input
    grey: Literal["luma", "swapped"] = "luma"  # swapped: red and blue exchange their weights, as published
    pyr_scale: float = Field(0.4, gt=0, lt=1)  # farneback: size of a level of the pyramid, as a share of the one below
    levels: int = Field(1, ge=1, le=10)  # farneback: levels of the pyramid
    winsize: int = Field(10, ge=3, le=64)  # farneback: pixels a side of the averaging window
    iterations: int = Field(3, ge=1, le=20)  # farneback: steps for each level
    poly_n: int = Field(5, ge=3, le=9)  # farneback: pixels a side of the neighbourhood that a polynomial is fitted to
    poly_sigma: float = Field(1.2, gt=0, le=5)  # farneback: pixels; sd of the Gaussian that weighs it
    dis_finest_scale: int = Field(1, ge=0, le=5)  # dis: level of the pyramid that the flow is refined to; 0: full size
    dis_patch: int = Field(8, ge=4, le=32)  # dis: pixels a side
    dis_stride: int = Field(3, ge=1, le=16)  # dis: pixels between patches; less than dis_patch
    dis_descent: int = Field(25, ge=1, le=200)  # dis: steps of gradient descent a patch
    dis_refinement: int = Field(5, ge=0, le=50)  # dis: steps of variational refinement
    tvl1_attachment: float = Field(15.0, gt=0, le=1000)  # tvl1: larger: the flow follows the images more closely
    tvl1_tightness: float = Field(0.3, gt=0, le=10)  # tvl1: smaller: closeness and smoothness hang together more
    tvl1_warps: int = Field(5, ge=1, le=50)  # tvl1: how often the second image is warped
    tvl1_iterations: int = Field(10, ge=1, le=100)  # tvl1: steps for each warp
    tvl1_tolerance: float = Field(1e-4, gt=0, le=1)  # tvl1: it stops where a step changes less

    @model_validator(mode="after")
    def _patches(self) -> Self:
        if self.dis_stride >= self.dis_patch:
            raise ValueError(
                f"dis_stride must be less than dis_patch, so that patches overlap, but they are {self.dis_stride} "
                f"and {self.dis_patch}"
            )
        return self


class Input(Part):
    """Channels of the network's input.

    Every letter of `channels` gives one channel for each of `components`. Two words stand for three channels each:
    `hsv`, flow as a colour picture, and `rgb`, differences of frames as they are.
    """

    channels: str = "nr"  # n min-max to [-1, 1], r raw pixels, s standardised image column by column, z whole map
    components: str = "uv"  # u horizontal flow, v vertical flow, o optical strain
    strain: Literal["shear_twice", "shear_once"] = "shear_twice"  # two formulas in use: e_xy counts twice, or once
    colours: Literal["exact", "bytes"] = "exact"  # of hsv; bytes: whole grey levels, hues of 2 degrees, as published
    antialias: bool = True  # when the onset image is made as small as the last map

    @field_validator("channels", "components")
    @classmethod
    def _letters(cls, value: str, info: Any) -> str:
        if info.field_name == "channels" and value in COLOURS:
            return value
        allowed = {"channels": "nrsz", "components": "uvo"}[info.field_name]
        if not value or len(value) != len(set(value) & set(allowed)):
            raise ValueError(f"must be distinct letters out of {allowed!r}")
        return value


class Model(Part):
    """One network for the family: external stem, internal stem, CA blocks, position branch, head."""

    temporal: Literal["collapse", "keep", "none"] = "collapse"  # T maps become one in the stem, or later, or are one
    stem_mid: int = Field(180, ge=1, le=2048)  # a: channels of the external stem's 3x3 convolution; not with "none"
    stem_width: int = Field(256, ge=1, le=2048)  # b: channels that the external stem puts out
    stem_stride: Literal[1, 2] = 2  # of the external stem
    stem_kernel: Literal[3, 5] = 3  # pixels a side of the external stem's convolution
    internal_mid: int = Field(210, ge=1, le=2048)  # channels inside the internal stem, in "keep" only
    attention_width: int = Field(256, ge=1, le=2048)  # w: internal stem and CA blocks have w, w, w, 2w, 4w channels
    blocks: int = Field(4, ge=1, le=4)  # stages of CA blocks, strides 1, 2, 2, 2
    depth: int = Field(1, ge=1, le=4)  # CA blocks a stage; the further ones have stride 1
    attention: bool = True  # spatial attention in the CA blocks; without it they are plain residual blocks
    position: bool = True  # add the position branch, a small transformer on the onset image
    position_depth: int = Field(2, ge=1, le=12)  # its transformer blocks
    position_width: int = Field(0, ge=0, le=2048)  # its channels inside, if others than the last width; 0: that
    head_grid: int = Field(0, ge=0, le=32)  # average-pool the last map to this many cells a side first; 0: as it is
    position_mlp: int = Field(4, ge=1, le=8)  # width of its perceptrons, as a multiple of its own
    position_drop: float = Field(0.0, ge=0, lt=1)  # share of clips that its last block leaves out (stochastic depth)
    dropout: float = Field(0.0, ge=0, lt=1)  # before the last linear layer
    init: Literal["kaiming", "published"] = "kaiming"  # published: of CA blocks in 2D alone, else torch's defaults

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.position and (width := self.position_width or self.widths[-1]) % 4:
            raise ValueError(
                f"the position branch has 4 heads, so its width ({width}) must be a multiple of 4; change "
                "model.attention_width or model.position_width, or set model.position = false"
            )
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that each CA block puts out."""
        return tuple(scale * self.attention_width for scale in (1, 1, 2, 4)[: self.blocks])


class Train(Part):
    """AdamW, whose learning rate follows a schedule.

    As published, it decays exponentially and stops at the plateau epoch. `cosine` falls from `lr` to 0 over the epochs
    (Loshchilov and Hutter, 2017); `onecycle` first rises from lr / 25 for three tenths of them (Smith and Topin, 2018;
    as torch.optim.lr_scheduler.OneCycleLR has it, but for the momentum).
    """

    epochs: int = Field(100, ge=1, le=10_000)  # passes over the training clips
    batch: int = Field(36, ge=2, le=4096)  # clips a step
    last_batch: Literal["filled", "smaller"] = "filled"  # an epoch's last: filled from the next permutation, or smaller
    lr: float = Field(8e-4, gt=0, le=10)  # largest learning rate, with which all but onecycle begin
    schedule: Literal["exponential", "cosine", "onecycle"] = "exponential"  # the others end near 0
    gamma: float = Field(0.987, gt=0, le=1)  # exponential: the learning rate's factor an epoch
    plateau: int = Field(50, ge=0)  # exponential: epoch after which the learning rate stays
    weight_decay: float = Field(0.6, ge=0, le=10)  # AdamW's
    loss: Literal["ce", "focal", "softmax_focal"] = "ce"  # cross-entropy; focal: sigmoid focal on one-hot targets
    focal_gamma: float = Field(2.0, ge=0, le=10)  # of the focal losses: larger: clips that are told well count less
    focal_alpha: float = Field(0.25, ge=0, le=1)  # of the sigmoid focal loss: weight of a clip's own class
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # of the cross-entropy
    class_weights: float = Field(0.0, ge=0, le=1)  # loss weight of a class ~ (its clips)^-this; 0 off, 1 balanced
    flip: bool = True  # random horizontal flip, which negates u
    crop: float = Field(15 / 224, ge=0, lt=0.5)  # share of the height cropped at a random place; sides: half of it
    rotate: float = Field(0.0, ge=0, le=45)  # degrees; a clip is turned by a random angle up to this, either way
    pad: float = Field(0.0, ge=0, lt=0.5)  # share of the side padded with black; then a random crop of the old size
    resampling: Literal["bilinear", "nearest"] = "bilinear"  # nearest: with whole-pixel shifts, as MMNet has it
    noise: float = Field(0.0, ge=0, le=5)  # sd of Gaussian noise on the channels, as a share of each map's sd
    mixup: float = Field(0.0, ge=0, le=10)  # alpha of the Beta distribution; 0 off
    mirror: bool = False  # predict a clip as the mean over it and its mirror image
    seeding: Literal["fold", "stream"] = "fold"  # a fold's seed: by its subject, or the next of the run's one stream
    stop_when_perfect: bool = False  # at a test F1 of 1, as published: leaks into all rules but best_test_epoch
    val_subjects: int = Field(0, ge=0, le=1000, serialization_alias="inner")  # held out to choose epochs by; 0 off


class Units(Part):
    """Training in two stages (V6): first action units, with these settings, then emotions, with those of Train.

    The action units' outputs join the features before the last layer. Source: TM-MMNET's public code.
    """

    schedule: ClassVar[str] = "exponential"
    use: Literal["none", "as_they_are", "thresholded"] = "none"  # none: one stage; thresholded to 0 and 1: V6c
    sides: Literal["keep", "merge"] = "keep"  # whether L12, R12 and 12 are three action units or one
    epochs: int = Field(70, ge=1, le=10_000)  # passes of the first stage
    lr: float = Field(8e-4, gt=0, le=10)  # its first learning rate
    gamma: float = Field(0.987, gt=0, le=1)  # its factor an epoch
    plateau: int = Field(50, ge=0)  # epoch of it after which the learning rate stays
    unfreeze_epoch: int = Field(50, ge=0)  # of the second stage: until then only the last layer is trained
    unfreeze: Literal["all", "statistics"] = "all"  # statistics: the batch statistics alone, in the first epoch as well
    vocabulary: Literal["train", "all"] = "train"  # whose clips say which action units there are
    unknown: Literal["left_out", "unit"] = "left_out"  # what "?" is: nothing to learn from, or one more action unit
    f1_over: Literal["occurring", "all"] = "occurring"  # mean F1; of all: an action unit that does not occur counts 0
    chosen_by: Literal["train", "test"] = "train"  # the first stage's epoch; test: by the test person, which leaks


GOES_WITH: tuple[tuple[str, Value, str, tuple[Value, ...]], ...] = (  # a path, a value, and what another must be then
    ("flow.method", "difference", "input.channels", ("rgb",)),
    ("input.channels", "rgb", "flow.method", ("difference",)),
    ("train.resampling", "nearest", "flow.method", ("difference",)),
    ("model.temporal", "none", "frames.maps", (1,)),
    ("model.temporal", "keep", "frames.maps", (3, 4)),  # so that one map is left, as with the next two
    ("model.temporal", "keep", "model.blocks", (4,)),
    ("model.temporal", "keep", "model.depth", (1,)),
)


class Run(Part):
    """One experiment: with a seed and a subject, it determines the predictions."""

    data: Data = Data()
    frames: Frames = Frames()
    prep: Prep = Prep()
    flow: Flow = Flow()
    input: Input = Input()
    model: Model = Model()
    train: Train = Train()
    units: Units = Units()

    @property
    def motion(self) -> tuple[Part, ...]:
        """All that motion depends on, beside the clips."""
        crops = (Train(flip=self.train.flip, crop=self.train.crop),) if self.frames.crops else ()
        return (self.frames, self.prep, self.flow, *crops)

    @property
    def leaks(self) -> bool:
        """Whether training itself looks at the test person, so that no rule's figure is free of it."""
        return self.train.stop_when_perfect or (self.units.use != "none" and self.units.chosen_by == "test")

    @property
    def epochs(self) -> int:
        """Epochs of a fold, over both stages."""
        return self.train.epochs + (self.units.epochs if self.units.use != "none" else 0)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        frames, prep, flow, train = self.frames, self.prep, self.flow, self.train
        for key, value, other, allowed in GOES_WITH:
            if value_at(self, key) == value and value_at(self, other) not in allowed:
                wanted, found = " or ".join(map(json.dumps, allowed)), json.dumps(value_at(self, other))
                raise ValueError(f"{key} = {json.dumps(value)} goes with {other} = {wanted}, but it is {found}")
        if flow.size % 16 and flow.size != FLOW_IMAGE:
            raise ValueError(
                f"flow.size must be a multiple of 16, or {FLOW_IMAGE} as MEGC 2019's images, but is {flow.size}"
            )
        if frames.crops and (train.rotate or train.pad or flow.method == "difference"):
            raise ValueError(
                "frames.crops goes with optical flow, train.rotate = 0 and train.pad = 0, but they are "
                f"{flow.method!r}, {train.rotate:g} and {train.pad:g}"
            )
        if flow.method == "dis":
            # OpenCV's rule for the coarsest level; where it is finer than the finest, OpenCV takes settings of its own
            coarsest = max(0, math.floor(math.log2(prep.size / (4 * flow.dis_patch)) + 0.5))
            if flow.dis_finest_scale > coarsest or prep.size < 1.5 * flow.dis_patch:
                raise ValueError(
                    f"flow.dis_finest_scale must be at most {coarsest} for patches of {flow.dis_patch} in frames of "
                    f"{prep.size} pixels, which must hold one and a half of them, but it is {flow.dis_finest_scale}; "
                    "lower it or flow.dis_patch, or raise prep.size"
                )
        return self


def digest(*parts: BaseModel) -> str:
    """16 hexadecimal digits that stand for the parts' values: the same values give the same digest, for ever.

    Fields at their defaults are left out, so that a new field changes no older digest; a default is never changed, and
    a field that was renamed counts under its first name, its serialization alias.
    """
    values = [part.model_dump(mode="json", exclude_defaults=True, by_alias=True) for part in parts]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def keys() -> dict[str, type[Part]]:
    """Every dotted path into Run, with the part that it belongs to."""
    return {f"{name}.{field}": type(part) for name, part in Run() for field in type(part).model_fields}


def allowed_values(key: str) -> tuple[Value, ...]:
    """What a dotted path may be, if it is one of a few values; else nothing."""
    annotation = keys()[key].model_fields[key.partition(".")[2]].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def with_values(run: Run, values: Mapping[str, Value | tuple[str, ...]]) -> Run:
    """`run` with the values at the given dotted paths in place of its own.

    Raises:
        UsageError: for an unknown path, with the nearest right one, and for a value that the field refuses.
    """
    tree = run.model_dump()
    for key, value in values.items():
        check_key(key)
        part, field = key.split(".")
        tree[part][field] = value
    try:
        return Run.model_validate(tree)
    except ValidationError as error:
        raise UsageError(explain(error)) from None


def value_at(run: Run, key: str) -> Any:
    """The value at a dotted path."""
    part, field = key.split(".")
    return getattr(getattr(run, part), field)


def check_settable(keys: Iterable[str]) -> None:
    """Raise UsageError for a dotted path that cannot be set, because the data's folder says what it is."""
    for key in keys:
        if key.startswith("data.") and key not in ("data.task", "data.leave_out"):
            raise UsageError(
                f"{key} is what the data's folder says, and cannot be set; data.task chooses the classes, "
                "data.leave_out what a fold tests"
            )


def check_key(key: str) -> None:
    """Raise UsageError, naming the nearest path, unless `key` is a dotted path into Run."""
    if key in RENAMED:
        raise UsageError(f"{key} is called {RENAMED[key]} now")
    if key not in (known := keys()):
        near, inside = _nearest(key, list(known)), [each for each in known if each.startswith(f"{key}.")]
        hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(known)}"
        if inside:  # as TOML reads a path without quotes
            hint = f'it is a part; its fields are paths such as "{inside[0]}", which stand in quotes in a study file'
        raise UsageError(f"a key must be a dotted path into the configuration, but {key!r} is none; {hint}")


def _nearest(key: str, known: Sequence[str]) -> str:
    """The path that is meant: one that is spelt alike, or whose field is short for the key's, as lr is for
    learning_rate and batch for batch_size; "" if there is none."""
    words = key.rpartition(".")[2].split("_")
    short = {"_".join(words), "".join(word[:1] for word in words), *words}
    abbreviated = [each for each in known if each.rpartition(".")[2] in short]
    abbreviated.sort(key=lambda each: each.partition(".")[0] != key.partition(".")[0])  # of the same part first
    alike, less_so = (difflib.get_close_matches(key, known, n=1, cutoff=cutoff) for cutoff in (0.8, 0.6))
    return next(iter([*alike, *abbreviated, *less_so]), "")


def explain(error: Exception) -> str:
    """A validation error's first complaint in one line: where, what must hold, what was found; or an error's words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    found = "" if isinstance(first["input"], dict) else f", but got {first['input']!r}"
    return f"{where}: {what}{found}" if where else what
