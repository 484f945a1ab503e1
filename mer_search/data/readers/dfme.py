"""DFME: `training_full_with_AU.xlsx`, whose column Fps has each clip's frames a second, and frames.

Frames: `DFME_train/sub0003_01/00109.png`; the number is the spreadsheet's frame number. Source: Zhao et al., "DFME: A
New Benchmark for Dynamic Facial Micro-expression Recognition", IEEE Transactions on Affective Computing 2024, and its
spreadsheet's columns.
"""

from mer_search.data.readers.annotation import COLUMNS, Layout
from mer_search.data.tasks import plain, valence

NAME = "dfme"
TASKS = {
    "7": plain("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
    "3": valence("anger", "contempt", "disgust", "fear", "sadness"),
}

LAYOUT = Layout(
    dataset=NAME,
    title="DFME",
    fps=500,  # where the cell is empty
    sheet="^dfme|^(?:training|test_[ab])_full_with_au",
    columns=COLUMNS | {"units": "AU", "emotion": "Emotion", "fps": "Fps"},
    prefix="sub",
    digits=4,
    file="training_full_with_AU.xlsx",
    example="DFME_train/sub0003_01/00109.png",
    folder="{name}",
)
