"""A table of folds that nobody trained: probabilities made from a known quality of each configuration."""

import fold_table
import numpy as np

from mer_search.search import space

EPOCHS = 16  # of the study, which trains for fewer


def write(path, configurations=30, seeds=2):
    """A table of `demo` whose quality depends on the learning rate alone, best in the middle: M configurations, R
    seeds, 10 subjects of 8 clips, 5 classes; the study's file."""
    subjects, epochs, clips, classes = 10, EPOCHS, 8, 5
    random = np.random.default_rng(0)
    text = fold_table.study_of(fold_table.shipped("demo"), "demo").text
    file = space.parse(text.replace('"train.epochs" = 10', f'"train.epochs" = {epochs}'), "demo")
    values = fold_table.drawn(file, configurations)
    rates = np.log([each["train.lr"] for each in values])
    low, high = np.log(next(axis.values for axis in file.axes if axis.key == "train.lr"))
    quality = 1 - np.abs((rates - low) / (high - low) - 0.5) * 2  # (M,) 0 to 1
    labels = random.integers(classes, size=subjects * clips)
    owner = np.repeat(np.arange(subjects), clips)
    hardness = random.normal(0, 0.7, subjects)[owner]
    evidence = np.eye(classes)[labels]  # (N, K)
    learnt = 1 - np.exp(-np.arange(1, epochs + 1) / (epochs / 4))  # (E,)
    noise = random.normal(0, 1, (configurations, seeds, 1, len(labels), classes))
    jitter = random.normal(0, 0.3, (configurations, seeds, epochs, len(labels), classes))
    gain = (0.5 + 2 * quality[:, None, None, None]) * learnt[:, None]  # (M, 1, E, 1)
    logits = (gain - hardness)[..., None] * evidence + noise + jitter
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    fold_table.pack(path, values, labels, owner, chances)
    path.with_suffix(".toml").write_text(file.text)
    return file
