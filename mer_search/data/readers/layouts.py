"""Datasets that are a spreadsheet and folders of frames, declared by what differs, from the files themselves."""

from dataclasses import replace

from mer_search.data.dataset import NUMERALS, OBJECTIVE, THREE, Task, plain, valence
from mer_search.data.readers.annotation import COLUMNS, Layout, without_zeros

CLASSES = ("happiness", "repression", "disgust", "surprise", "others")  # CASME II's
# CASME II's two clips without a movement from onset to apex, both disgust: apex "/" and apex = onset. By the table
# alone there are 90 negative clips; MEGC 2019's list has 88, and lacks just these (compared subject by subject with the
# copy of its list in HTNet's public code, combined_3_class2_for_optical_flow.csv).
NOT_IN_MEGC = frozenset({"sub04/ep12_01f", "sub05/ep09_05f"})
# Sadness in 2014's spreadsheet and surprise in 2019's. MEGC 2019 follows 2014's.
SURPRISE_SINCE_2019 = frozenset({"sub24/ep07_01", "sub24/ep07_04f", "sub24/ep10_03"})


def _subjects(*numbers: int) -> tuple[str, ...]:
    return tuple(f"sub{number:02d}" for number in numbers)


# Header spellings carry stray spaces; of several spreadsheets the last in order of name is read: 2019's before 2014's.
# Frames: Cropped/sub01/EP02_01f/reg_img46.jpg, CASME2_RAW_selected/sub01/EP02_01f/img46.jpg,
# Cropped-updated/Cropped/17/EP.../... or denoised_masked/sub13/EP02_03/md_reg_img26.jpg.
# Source: Yan et al., "CASME II", PLoS ONE 2014; the lists of subjects: TM-MMNET's public code.
CASME2 = Layout(
    name="casme2", title="CASME II", fps=200, prefix="sub", digits=2,
    file="CASME2-coding-20140508.xlsx", sheet="^casme2-coding",
    columns=COLUMNS, optional={"objective": "Objective Classes"}, spelling={"other": "others"},
    frame=r"img(\d+)$", example="Cropped/sub01/EP02_01f/reg_img46.jpg",
    tasks={
        "5": plain(*CLASSES),  # 246 clips, by 2019's spreadsheet 249
        "7": plain(*CLASSES, "sadness", "fear"),  # 255
        "3": replace(valence("disgust", "repression"), without=NOT_IN_MEGC | SURPRISE_SINCE_2019),  # 88, 32, 25
        **OBJECTIVE,
    },
    hardest=_subjects(5, 16, 7, 3, 6, 17, 20, 13, 26, 1),
    lists={  # what `hardest_7` leaves, in three parts
        "h7-balance1": _subjects(1, 2, 4, 8, 9, 10, 11),
        "h7-balance2": _subjects(12, 13, 14, 15, 18, 19),
        "h7-balance3": _subjects(21, 22, 23, 24, 25, 26),
    },
)  # fmt: skip

# The titles stand below a page of notes; of subjects a spreadsheet program drops the zeros in front.
# Source: Davison et al., "SAMM", IEEE Transactions on Affective Computing 2018.
SAMM = Layout(
    name="samm", title="SAMM", fps=200, prefix="", digits=3,
    file="SAMM_Micro_FACS_Codes_v2.xlsx", sheet="^samm.*micro.*facs", tab="MICRO_ONLY",
    columns=COLUMNS | {"onset": "Onset Frame", "apex": "Apex Frame", "offset": "Offset Frame"},
    optional={"objective": "Objective Classes"},
    spelling={"others": "other", **{str(number): name.lower() for number, name in enumerate(NUMERALS, 1)}},
    key=without_zeros, example="006/006_1_2/006_05562.jpg",
    tasks={
        "5": plain("anger", "happiness", "other", "surprise", "contempt"),  # 136 clips
        "3": valence("anger", "contempt", "disgust", "fear", "sadness"),  # MEGC 2019's: 92, 26, 15
        **OBJECTIVE,
    },
)  # fmt: skip

# No apexes and no action units. A frame's number is the spreadsheet's, or counts the clip's frames; clips' names are
# written with and without zeros. Of a row with several expressions (Onset2F, Onset3F) the first is taken. SMIC-VIS and
# SMIC-NIR have clips of the same names. Source: Li et al., "A Spontaneous Micro-expression Database", FG 2013.
SMIC = Layout(
    name="smic", title="SMIC-HS", fps=100, prefix="s", digits=2,
    file="SMIC-HS-E_annotation.xlsx", sheet="^smic[-_ ]hs.*annotation", tab="HS",
    columns={"subject": "Subject", "name": "Filename", "onset": "OnsetF", "offset": "OffsetF", "emotion": "Emotion"},
    optional={"again": "Onset2F"},
    key=without_zeros, frame=r"(\d+)\D*$", renumbered=True, skip=r"(?<![a-z])(?:vis|nir)(?![a-z])",
    example="SMIC_all_cropped/HS/s01/micro/negative/s1_ne_01/reg_image00123.bmp",
    tasks={"3": plain(*THREE)},  # 70, 51, 43 expressions
)  # fmt: skip

# Frames are numbered from 1 in each clip and lie in folders of emotions; macro-expressions have a folder of their own.
# Source: Ben et al., "Video-based Facial Micro-Expression Analysis", IEEE Transactions on Pattern Analysis and Machine
# Intelligence 2022, and its spreadsheet's columns.
MMEW = Layout(
    name="mmew", title="MMEW", fps=90, prefix="mmew", digits=2,
    file="MMEW_Micro_Exp.xlsx", sheet="^mmew.*micro", columns=COLUMNS, spelling={"other": "others"},
    folder="{name}", skip="macro", example="Micro_Expression/happiness/S01-01-001/15.jpg",
    tasks={
        "6": plain("happiness", "surprise", "disgust", "fear", "sadness", "anger"),
        "4": plain("happiness", "surprise", "disgust", "others"),
        "7": plain("happiness", "surprise", "disgust", "fear", "sadness", "anger", "others"),  # 300 clips
        "3": valence("disgust", "fear", "sadness", "anger"),
    },
)  # fmt: skip

# Frames of whole films, spNO.1/b/color/175.jpg, or of an expression, Part_A_ME_clip/frame/spNO.1_b_166/175.jpg. In 55
# rows the apex is the onset. Source: Li et al., "CAS(ME)^3", IEEE Transactions on Pattern Analysis and Machine
# Intelligence 2023, and its spreadsheet's columns.
CASME3 = Layout(
    name="casme3", title="CAS(ME)^3 part A", fps=30, prefix="spNO.", digits=3, padded=False,
    file="cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", sheet=r"^cas\(?me\)?\^?3.*part_?a_me",
    columns=COLUMNS | {"onset": "Onset", "apex": "Apex", "offset": "Offset", "units": "AU", "emotion": "emotion"},
    optional={"objective": "Objective class"},
    spelling={"sad": "sadness", "happy": "happiness", "other": "others"},
    several=True, folder="{subject}_{name}_{onset}", inside="color", skip="^(?:color|depth)$",
    example="spNO.1/b/color/175.jpg",
    tasks={
        "7": plain("disgust", "fear", "surprise", "anger", "sadness", "happiness", "others"),  # 860 clips
        "4": Task((*THREE, "others"), {**valence("disgust", "fear", "anger", "sadness").table, "others": "others"}),
        "3": valence("disgust", "fear", "anger", "sadness"),
        **OBJECTIVE,
    },
)  # fmt: skip

# Source: Zhao et al., "DFME: A New Benchmark for Dynamic Facial Micro-expression Recognition", IEEE Transactions on
# Affective Computing 2024, and its spreadsheet's columns.
DFME = Layout(
    name="dfme", title="DFME", fps=500, prefix="sub", digits=4,  # fps: where the cell is empty
    file="training_full_with_AU.xlsx", sheet="^dfme|^(?:training|test_[ab])_full_with_au",
    columns=COLUMNS | {"units": "AU", "emotion": "Emotion", "fps": "Fps"},
    folder="{name}", example="DFME_train/sub0003_01/00109.png",
    tasks={
        "7": plain("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
        "3": valence("anger", "contempt", "disgust", "fear", "sadness"),
    },
)  # fmt: skip

LAYOUTS = {layout.name: layout for layout in (CASME2, SAMM, SMIC, MMEW, CASME3, DFME)}
