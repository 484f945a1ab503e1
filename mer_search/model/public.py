"""Weights of the public code's layout, loaded into our network, so that a published checkpoint can be evaluated.

Sources of the names: MMNet's public code (muse1998/MMNet: CASME2_5.py, CA_block.py, PC_module.py) and TM-MMNET's
(JianLai-Ng/TM-MMNET: script.py of V1 to V5, CA_Block.py of V3 to V5, tpoDCAblock.py of V2, PC_module.py of V4). Not
seen, and taken to be the same: V1's block module, which its script imports by V2's name, and the position modules of
all but V4.

V6 is its second stage's network (script.py of V6): the first stage's is under `pretrained`, with `embedau` for its last
layer, and `last_layer` follows. Only the thresholded variant (V6c) was seen.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mer_search.errors import UsageError
from mer_search.model.blocks import SpatialConv, TemporalConv
from mer_search.model.network import Network

CONVOLUTIONS = {"external.0": "conv_act.0 conv_act.1", "external.2": "conv_act.3 conv_act.4"}  # see Layout
EVERYWHERE = {
    "position.position": "vit_pos.pos_embed",
    "position.embed": "vit_pos.patch_embed.proj",
    "position.norm": "vit_pos.norm",
    "head": "main_branch.fc",
}
TWO_STAGES = {"units": "main_branch.embedau", "head": "last_layer"}
FIRST_STAGE = "pretrained."  # before the names of all but the last layer
TRANSFORMER_BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}


class Layout(NamedTuple):
    """Public names of what depends on the temporal mode, for each SpatialConv or TemporalConv those of its convolution
    and its normalisation; and which of our modules stand for 3D convolutions there."""

    internal: dict[str, str]
    block: dict[str, str]  # of a CA block
    folded: tuple[str, ...]


_FLAT = Layout(
    internal={"internal.0": "main_branch.conv1 main_branch.bn1"},
    block={
        "body.0": "conv1 bn1",
        "body.2": "conv2 bn2",
        "shortcut": "downsample.0 downsample.1",
        "attention.0": "attn.0 attn.1",
    },
    folded=(),
)
LAYOUTS = {
    "none": _FLAT,
    "collapse": _FLAT._replace(folded=("external.",)),
    "keep": Layout(
        internal={
            "internal.0": "main_branch.stem.0 main_branch.stem.1",
            "internal.2": "main_branch.stem.3 main_branch.stem.4",
        },
        block={
            "body.0": "conv1.0 conv1.1",
            "body.2": "conv1.3 bn1",
            "body.4": "conv2 bn2",
            "shortcut.0": "downsample.0 downsample.1",
            "shortcut.1": "downsample.2 downsample.3",
            "attention.0": "attn.0 attn.1",
        },
        folded=("external.", "internal.", "blocks."),
    ),
}

UNUSED = {
    "pos.": "MMNet's 1x1 convolution of the onset image, before the transformer took its place; 2,560 parameters",
    "head.": "a layer from the first attention map to 38 action units, which is never called",
    "head1.": "the same layer in copies of MMNet's 3-class code",
    "timeembed": "an embedding of time, which is never added",
    "vit_pos.cls_token": "the class token of a vision transformer, which the position branch does without",
    "vit_pos.head.": "the class layer of a vision transformer, likewise",
    "vit_pos.to_Mask.": "a mask over positions, which is never asked for",
}

# C -> the public channel that each of ours is. Public u, v pairs are nested, so "nr" is u_n u_r v_r v_n there and
# u_n v_n u_r v_r here; "nrs" is u_r u_n u_s v_s v_n v_r there. Source: TM-MMNET, script.py of V1, V3 and V5.
CHANNEL_ORDER = {2: [0, 1], 3: [0, 1, 2], 4: [0, 3, 1, 2], 6: [1, 4, 0, 5, 2, 3]}
FIRST = "external.0.0.weight"


def load_public_weights(network: Network, state: Mapping[str, Tensor]) -> None:
    """Fill the network with a published state dict (public name -> tensor), or change nothing.

    A 3D convolution's weight (O, C, k, h, w) becomes ours over windows of maps (O, k*C, h, w), and the channels of the
    first one are put into our order. That takes the network's `input.channels` as the presets write them ("nr", not
    "rn") and its components as "uv". A `module.` before every name, as torch's DataParallel leaves it, is dropped.

    Raises:
        UsageError: if a name is missing, unknown, or of the wrong shape, or if the network has no public form.
    """
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    names, shapes = public_names(network), _public_shapes(network)
    _check_names(set(names.values()), state)
    wrong = {name: shapes[ours] for ours, name in names.items() if state[name].shape != shapes[ours]}
    if wrong:
        found = [f"{name} {tuple(state[name].shape)} instead of {shape}" for name, shape in wrong.items()]
        raise UsageError(
            f"the weights must have the shapes of this network, but they hold {_some(found)}; give the network the "
            "widths and the input that they were trained with (TM-MMNET's V3 and V4 have model.stem_mid = 128)"
        )
    weights = {ours: _folded(state[name]) for ours, name in names.items()}
    weights[FIRST] = weights[FIRST][:, _order(weights[FIRST].shape[1])]
    network.load_state_dict(weights)


def public_names(network: Network) -> dict[str, str]:
    """Our name of each of the network's parameters and buffers -> its public name.

    Raises:
        UsageError: if a part of the network has no public counterpart.
    """
    layout = LAYOUTS[_temporal(network)]
    prefixes = EVERYWHERE | _each(CONVOLUTIONS) | _each(layout.internal) | ({} if network.units is None else TWO_STAGES)
    for k in range(4):
        block = _each(layout.block).items()
        prefixes |= {f"blocks.{k}.{ours}": f"main_branch.layer{k + 1}.0.{name}" for ours, name in block}
    for k in range(0 if network.position is None else len(network.position.blocks)):
        prefixes |= {
            f"position.blocks.{k}.{ours}": f"vit_pos.blocks.{k}.{name}" for ours, name in TRANSFORMER_BLOCK.items()
        }
    names = {}
    for ours in network.state_dict():
        module, _, leaf = ours.rpartition(".")
        if module in prefixes:
            names[ours] = f"{prefixes[module]}.{leaf}"
        elif ours in prefixes:
            names[ours] = prefixes[ours]
    if network.units is not None:
        names = {
            ours: public if ours.startswith("head.") else f"{FIRST_STAGE}{public}" for ours, public in names.items()
        }
    if strange := [ours for ours in network.state_dict() if ours not in names]:
        raise UsageError(
            f"public weights fit the networks of MMNet and of V1 to V6 only, but this one also has {_some(strange)}; "
            "start from their presets and leave the architecture as it is"
        )
    return names


def _each(pairs: Mapping[str, str]) -> dict[str, str]:
    """Public names of convolutions and normalisations each under our own name."""
    return {f"{ours}.{k}": name for ours, names in pairs.items() for k, name in enumerate(names.split())}


def _temporal(network: Network) -> str:
    """The network's temporal mode, by the convolutions over maps that it has."""
    if isinstance(network.internal[-2], TemporalConv):
        return "keep"
    return "collapse" if isinstance(network.external[-2], TemporalConv) else "none"


def _public_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Our name of each of the network's parameters and buffers -> its public shape."""
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    folded = LAYOUTS[_temporal(network)].folded
    for name, module in network.named_modules():
        if isinstance(module, SpatialConv) and name.startswith(folded):
            kernel = module.time.kernel if isinstance(module, TemporalConv) else 1
            outputs, inputs, *pixels = shapes[f"{name}.0.weight"]
            shapes[f"{name}.0.weight"] = (outputs, inputs // kernel, kernel, *pixels)
    return shapes


def _check_names(needed: set[str], state: Mapping[str, Tensor]) -> None:
    missing = sorted(needed - set(state))
    unknown = [
        name for name in state if name not in needed and not name.removeprefix(FIRST_STAGE).startswith(tuple(UNUSED))
    ]
    if missing or unknown:
        lacks = [f"lack {_some(missing)}"] if missing else []
        has = [f"hold the unknown {_some(unknown)}"] if unknown else []
        raise UsageError(
            f"public weights must name each of this network's weights once, but they {' and '.join(lacks + has)}; "
            "build the network from the preset that they belong to, and pass the names and tensors themselves"
        )


def _folded(weight: Tensor) -> Tensor:
    """(O, C, k, h, w) -> (O, k*C, h, w), the map of the window first, as TemporalConv has it; else as it is."""
    return weight.transpose(1, 2).flatten(1, 2) if weight.ndim == 5 else weight


def _order(channels: int) -> Tensor:
    if channels not in CHANNEL_ORDER:
        raise UsageError(
            f"published networks have {', '.join(map(str, CHANNEL_ORDER))} input channels, but this one has {channels};"
            " change input.channels to those of a preset"
        )
    return torch.tensor(CHANNEL_ORDER[channels])


def _some(things: Iterable[str], most: int = 3) -> str:
    """The first few, and how many more."""
    things = list(things)
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more
