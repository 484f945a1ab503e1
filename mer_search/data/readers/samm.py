"""SAMM: `SAMM_Micro_FACS_Codes_v2.xlsx`, its titles below a page of notes, and frames at 200 a second.

Frames: `006/006_1_2/006_05562.jpg`; the last number is the spreadsheet's frame number. Subjects are three digits, of
which a spreadsheet program drops the zeros in front. Source: Davison et al., "SAMM", IEEE Transactions on Affective
Computing 2018, and the files themselves.
"""

from mer_search.data.readers.annotation import COLUMNS, Layout, without_zeros
from mer_search.data.tasks import OBJECTIVE, ROMAN, plain, valence

NAME = "samm"
TASKS = {
    "5": plain("anger", "happiness", "other", "surprise", "contempt"),  # 136 clips
    "3": valence("anger", "contempt", "disgust", "fear", "sadness"),  # MEGC 2019's: 92, 26, 15
    **OBJECTIVE,
}

LAYOUT = Layout(
    dataset=NAME,
    title="SAMM",
    fps=200,
    sheet="^samm.*micro.*facs",
    columns=COLUMNS | {"onset": "Onset Frame", "apex": "Apex Frame", "offset": "Offset Frame"},
    optional={"objective": "Objective Classes"},
    prefix="",
    digits=3,
    file="SAMM_Micro_FACS_Codes_v2.xlsx",
    example="006/006_1_2/006_05562.jpg",
    tab="MICRO_ONLY",
    key=without_zeros,
    spelling={"others": "other", **ROMAN},
)
