"""CAS(ME)^3, part A: `cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx`, and frames of whole films at 30 a second.

Frames: `spNO.1/b/color/175.jpg` of a film, or `Part_A_ME_clip/frame/spNO.1_b_166/175.jpg` of an expression; the number
is the spreadsheet's frame number. A film may have several expressions; the names of such clips are the film's and the
onset, `b_166`. Depth images are not looked at. In 55 rows the apex is the onset. Source: Li et al., "CAS(ME)^3", IEEE
Transactions on Pattern Analysis and Machine Intelligence 2023, and its spreadsheet's columns.
"""

from mer_search.data.readers.annotation import COLUMNS, Layout
from mer_search.data.tasks import OBJECTIVE, Task, plain, valence

NAME = "casme3"
THREE = valence("disgust", "fear", "anger", "sadness")
TASKS = {
    "7": plain("disgust", "fear", "surprise", "anger", "sadness", "happiness", "others"),  # 860 clips
    "4": Task((*THREE.classes, "others"), {**THREE.table, "others": "others"}),
    "3": THREE,
    **OBJECTIVE,
}

LAYOUT = Layout(
    dataset=NAME,
    title="CAS(ME)^3 part A",
    fps=30,
    sheet=r"^cas\(?me\)?\^?3.*part_?a_me",
    columns=COLUMNS | {"onset": "Onset", "apex": "Apex", "offset": "Offset", "units": "AU", "emotion": "emotion"},
    optional={"objective": "Objective class"},
    prefix="spNO.",
    digits=3,
    padded=False,
    file="cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
    example="spNO.1/b/color/175.jpg",
    folder="{subject}_{name}_{onset}",
    inside="color",
    several=True,
    spelling={"sad": "sadness", "happy": "happiness", "other": "others"},
    skip="^(?:color|depth)$",
)
