"""Weights of the public code's layout, loaded into our network, so that a published checkpoint can be evaluated.

Sources of the names: MMNet's public code (muse1998/MMNet: CASME2_5.py, CA_block.py, PC_module.py) and TM-MMNET's
(JianLai-Ng/TM-MMNET: script.py of V1 to V5, CA_Block.py of V3 to V5, tpoDCAblock.py of V2, PC_module.py of V4). Not
seen, and taken to be the same: V1's block module, which its script imports by V2's name, and the position modules of
all but V4.

V6 is its second stage's network (script.py of V6): the first stage's is under `pretrained`, with `embedau` for its last
layer, and `last_layer` follows. Only the thresholded variant (V6c) was seen.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mer_search.errors import UsageError
from mer_search.model.blocks import TemporalConv
from mer_search.model.network import Network

# Our names and the public ones: of modules, and of a convolution with its normalisation, which are two there.
EVERYWHERE = {
    "position.position": "vit_pos.pos_embed",
    "position.embed": "vit_pos.patch_embed.proj",
    "position.norm": "vit_pos.norm",
    "head": "main_branch.fc",
}
TWO_STAGES = {"units": "main_branch.embedau", "head": "last_layer"}
FIRST_STAGE = "pretrained."  # before the names of all but the last layer
TRANSFORMER = {
    "norm1": "norm1", "norm2": "norm2", "qkv": "attn.qkv", "proj": "attn.proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2",
}  # fmt: skip
STEM = {"external.0": "conv_act.0 conv_act.1", "external.2": "conv_act.3 conv_act.4"}
INTERNAL = {"internal.0": "main_branch.conv1 main_branch.bn1"}
BLOCK = {
    "body.0": "conv1 bn1",
    "body.2": "conv2 bn2",
    "shortcut": "downsample.0 downsample.1",
    "attention.0": "attn.0 attn.1",
}
KEEP_INTERNAL = {  # where the maps are kept apart
    "internal.0": "main_branch.stem.0 main_branch.stem.1",
    "internal.2": "main_branch.stem.3 main_branch.stem.4",
}
KEEP_BLOCK = {
    "body.0": "conv1.0 conv1.1",
    "body.2": "conv1.3 bn1",
    "body.4": "conv2 bn2",
    "shortcut.0": "downsample.0 downsample.1",
    "shortcut.1": "downsample.2 downsample.3",
    "attention.0": "attn.0 attn.1",
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
    """Fill the network with a published state dict (public name -> tensor); or change nothing and raise UsageError, if
    a name is missing, unknown, or of the wrong shape, or if the network has no public form.

    A 3D convolution's weight (O, C, k, h, w) becomes ours over windows of maps (O, k*C, h, w), the map of the window
    first. The channels of the first one are put into our order, which takes the network's `input.channels` as the
    presets write them ("nr", not "rn") and its components as "uv". A `module.` before every name, as torch's
    DataParallel leaves it, is dropped.
    """
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    names = public_names(network)
    _check_names(set(names.values()), state)
    temporal = {name: part for name, part in network.named_modules() if isinstance(part, TemporalConv)}
    kernels = {f"{name}.0.weight": part.time.kernel for name, part in temporal.items()}
    weights, wrong = {}, []
    for ours, own in network.state_dict().items():
        public, kernel = state[names[ours]], kernels.get(ours, 1)
        shape = (len(own), own.shape[1] // kernel, kernel, 1, 1) if kernel > 1 else tuple(own.shape)
        if kernel == 1 and public.ndim == 5:
            public = public.squeeze(2)  # a 3D convolution of each map alone
        if public.shape != shape:
            wrong.append(f"{names[ours]} {tuple(public.shape)} instead of {shape}")
        weights[ours] = public.transpose(1, 2).flatten(1, 2) if kernel > 1 and public.ndim == 5 else public
    if wrong:
        raise UsageError(
            f"the weights must have the shapes of this network, but they hold {_some(wrong)}; give the network the "
            "widths and the input that they were trained with (TM-MMNET's V3 and V4 have model.stem_mid = 128)"
        )
    channels = weights[FIRST].shape[1]
    if channels not in CHANNEL_ORDER:
        raise UsageError(
            f"published networks have {', '.join(map(str, CHANNEL_ORDER))} input channels, but this one has {channels};"
            " change input.channels to those of a preset"
        )
    weights[FIRST] = weights[FIRST][:, torch.tensor(CHANNEL_ORDER[channels])]
    network.load_state_dict(weights)


def public_names(network: Network) -> dict[str, str]:
    """Our name of each of the network's parameters and buffers -> its public name; a UsageError if one has none."""
    keeps, two_stages = isinstance(network.internal[-2], TemporalConv), network.units is not None
    modules = EVERYWHERE | _each(STEM | (KEEP_INTERNAL if keeps else INTERNAL)) | (TWO_STAGES if two_stages else {})
    for k in range(4):
        modules |= _each(KEEP_BLOCK if keeps else BLOCK, f"blocks.{k}.", f"main_branch.layer{k + 1}.0.")
    for k in range(len(network.position.blocks) if network.position else 0):
        modules |= {f"position.blocks.{k}.{key}": f"vit_pos.blocks.{k}.{name}" for key, name in TRANSFORMER.items()}
    names = {}
    for ours in network.state_dict():
        module, _, leaf = ours.rpartition(".")
        prefix = FIRST_STAGE if two_stages and module != "head" else ""
        if ours in modules:
            names[ours] = f"{prefix}{modules[ours]}"
        elif module in modules:
            names[ours] = f"{prefix}{modules[module]}.{leaf}"
    if strange := [ours for ours in network.state_dict() if ours not in names]:
        raise UsageError(
            f"public weights fit the networks of MMNet and of V1 to V6 only, but this one also has {_some(strange)}; "
            "start from their presets and leave the architecture as it is"
        )
    return names


def _each(pairs: Mapping[str, str], ours: str = "", public: str = "") -> dict[str, str]:
    """Public names of convolutions and normalisations, each under our own name."""
    return {f"{ours}{key}.{k}": f"{public}{name}" for key, both in pairs.items() for k, name in enumerate(both.split())}


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


def _some(things: Iterable[str], most: int = 3) -> str:
    """The first few, and how many more."""
    things = list(things)
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more
