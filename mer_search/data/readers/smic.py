"""SMIC-HS: `SMIC-HS-E_annotation.xlsx`, without apexes and action units, and frames at 100 a second.

Frames: `SMIC_all_cropped/HS/s01/micro/negative/s1_ne_01/reg_image00123.bmp`; the last number in the name is the
spreadsheet's frame number, or counts the clip's frames. The clip's name is written with and without zeros. The label is
the spreadsheet's, not the folder's. Of a row with several expressions (`Onset2F`, `Onset3F`) the first is taken.
SMIC-VIS and SMIC-NIR have clips of the same names and are not looked at. Source: Li et al., "A Spontaneous
Micro-expression Database", FG 2013, and the files themselves.
"""

from mer_search.data.readers.annotation import Layout, without_zeros
from mer_search.data.tasks import plain

NAME = "smic"
TASKS = {"3": plain("negative", "positive", "surprise")}  # 70, 51, 43 expressions

LAYOUT = Layout(
    dataset=NAME,
    title="SMIC-HS",
    fps=100,
    sheet="^smic[-_ ]hs.*annotation",
    columns={
        "subject": "Subject",
        "name": "Filename",
        "onset": "OnsetF",
        "offset": "OffsetF",
        "emotion": "Emotion",
    },
    optional={"again": "Onset2F"},
    prefix="s",
    digits=2,
    file="SMIC-HS-E_annotation.xlsx",
    example="SMIC_all_cropped/HS/s01/micro/negative/s1_ne_01/reg_image00123.bmp",
    tab="HS",
    frame=r"(\d+)\D*$",
    renumbered=True,
    key=without_zeros,
    skip=r"(?<![a-z])(?:vis|nir)(?![a-z])",
)
