"""CASME II: a spreadsheet and a folder of frames, in every layout in which it circulates.

Spreadsheet: `CASME2-coding-*.xlsx` or `.csv`, nine columns of which two are empty; header spellings carry stray
spaces. Of several, the last in order of name is read: 2019's before 2014's. Frames:
`Cropped/sub01/EP02_01f/reg_img46.jpg`, `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg`,
`Cropped-updated/Cropped/17/EP.../...` or `denoised_masked/sub13/EP02_03/md_reg_img26.jpg`; the number is the
spreadsheet's frame number. Source: Yan et al., "CASME II", PLoS ONE 2014, and the files themselves.
"""

from dataclasses import replace

from mer_search.data.readers.annotation import COLUMNS, Layout
from mer_search.data.tasks import OBJECTIVE, plain, valence

NAME = "casme2"
CLASSES = ("happiness", "repression", "disgust", "surprise", "others")
HARDEST = tuple(f"sub{number:02d}" for number in (5, 16, 7, 3, 6, 17, 20, 13, 26, 1))  # TM-MMNET's public code
LISTS = {  # likewise: what `hardest_7` leaves, in three parts
    f"h7-balance{part}": tuple(f"sub{number:02d}" for number in numbers)
    for part, numbers in enumerate([(1, 2, 4, 8, 9, 10, 11), (12, 13, 14, 15, 18, 19), (21, 22, 23, 24, 25, 26)], 1)
}

# The two clips without a movement from onset to apex, both disgust: apex "/" and apex = onset. By the table alone there
# are 90 negative clips; MEGC 2019's list has 88, and lacks just these (compared with the copy of its list in HTNet's
# public code, combined_3_class2_for_optical_flow.csv, subject by subject).
NOT_IN_MEGC = frozenset({"sub04/ep12_01f", "sub05/ep09_05f"})
# Sadness in 2014's spreadsheet and surprise in 2019's. MEGC 2019 follows 2014's.
SURPRISE_SINCE_2019 = frozenset({"sub24/ep07_01", "sub24/ep07_04f", "sub24/ep10_03"})
TASKS = {
    "5": plain(*CLASSES),  # 246 clips, by 2019's spreadsheet 249
    "7": plain(*CLASSES, "sadness", "fear"),  # 255
    "3": replace(valence("disgust", "repression"), without=NOT_IN_MEGC | SURPRISE_SINCE_2019),  # MEGC's: 88, 32, 25
    **OBJECTIVE,
}

LAYOUT = Layout(
    dataset=NAME,
    title="CASME II",
    fps=200,
    sheet="^casme2-coding",
    columns=COLUMNS,
    optional={"objective": "Objective Classes"},
    prefix="sub",
    digits=2,
    file="CASME2-coding-20140508.xlsx",
    example="Cropped/sub01/EP02_01f/reg_img46.jpg",
    frame=r"img(\d+)$",
    spelling={"other": "others"},
)
