"""MMEW: `MMEW_Micro_Exp.xlsx` and frames at 90 a second.

Frames: `Micro_Expression/happiness/S01-01-001/15.jpg`, numbered from 1 in each clip. The folder above is the emotion's,
not the subject's; the label is the spreadsheet's all the same. Macro-expressions, in a folder of their own, are not
looked at. Source: Ben et al., "Video-based Facial Micro-Expression Analysis", IEEE Transactions on Pattern Analysis and
Machine Intelligence 2022, and its spreadsheet's columns.
"""

from mer_search.data.readers.annotation import COLUMNS, Layout
from mer_search.data.tasks import plain, valence

NAME = "mmew"
TASKS = {
    "6": plain("happiness", "surprise", "disgust", "fear", "sadness", "anger"),
    "4": plain("happiness", "surprise", "disgust", "others"),
    "7": plain("happiness", "surprise", "disgust", "fear", "sadness", "anger", "others"),  # 300 clips
    "3": valence("disgust", "fear", "sadness", "anger"),
}

LAYOUT = Layout(
    dataset=NAME,
    title="MMEW",
    fps=90,
    sheet="^mmew.*micro",
    columns=COLUMNS,
    prefix="mmew",
    digits=2,
    file="MMEW_Micro_Exp.xlsx",
    example="Micro_Expression/happiness/S01-01-001/15.jpg",
    folder="{name}",
    spelling={"other": "others"},
    skip="macro",
)
