"""Which rows the tables of docs/results.md have, in the page's order, and what they are called there."""

from __future__ import annotations

import tomllib

from benchmarks.results_table.store import FOLDER
from lrd_jax.study.cells import read_variants

DATASETS = {"ml-100k": "MovieLens-100k", "office": "Office"}
VARIANTS = read_variants(FOLDER.parent / "lrd_variants.toml")
PUBLISHED = tomllib.loads((FOLDER / "published.toml").read_text())
"""Figures of runs with the published settings, whose run folders are gone."""

TITLES = {
    "kda": "KDA",
    "released": "KDA_LRD, `released`, λ 10",
    "weight-1": "KDA_LRD, `released`, λ 1",
    "paper": "KDA_LRD, `paper` (Eq. 14), λ 1",
    "more-relations": "KDA with as many more relations, no text, no LRD loss",
    "latent-12": "KDA_LRD, `released`, λ 10, 12 latent relations",
    "text-times-10": "KDA_LRD, `released`, λ 10, text embeddings of length 10",
    "paper-prior": "KDA_LRD, `paper`, λ 1, log q as a prior in the scorer",
    "ids": "KDA_LRD, `released`, λ 10, ids in the text's place",
    "without-kg": "KDA_LRD, `released`, λ 10, no KG loss",
    "kda-random-decay": "KDA, decays that start `random`",
    "random-decay": "KDA_LRD, `released`, λ 10, decays that start `random`",
    "rcf": "RCF",
    "rcf_lrd": "RCF_LRD, `released`, λ 10",
    "rcf_lrd-paper": "RCF_LRD, `paper`, λ 1",
}
"""The rows of the study `lrd`, in the page's order."""

TABLE_3 = {  # label: (where its figures are, system of the paper's)
    "Popularity": ("published", "popularity"),
    "ItemKNN": ("published", "item_knn"),
    "Caser": ("published", "caser"),
    "GRU4Rec": ("published", "gru4rec"),
    "GRU4Rec, tuned": ("search", "neg4-l2"),
    "SASRec": ("published", "sasrec"),
    "TiSASRec": ("published", "tisasrec"),
    "RCF": ("published", "rcf"),
    "RCF, tuned": ("lrd", "rcf"),
    "RCF_LRD, tuned": ("lrd", "rcf_lrd"),
    "RCF_LRD, `paper`, λ 1, tuned": ("lrd", "rcf_lrd-paper"),
    "KDA": ("published", "kda"),
    "KDA, tuned": ("lrd", "kda"),
    "KDA_LRD": ("published", "kda_lrd"),
    "KDA_LRD, tuned": ("lrd", "released"),
    "KDA_LRD, Eq. 14 (`paper`), λ 1": ("published", "kda_lrd-paper"),
    "KDA_LRD, `paper`, λ 1, tuned": ("lrd", "paper"),
}
"""Of each row, the study and its variant."""

FULL = {
    "ml-100k": {
        **{label: TABLE_3[label] for label in ("Caser", "GRU4Rec", "SASRec", "KDA", "KDA_LRD", "KDA, tuned")},
        "KDA_LRD, tuned": ("lrd", "released"),
        "KDA_LRD, `paper`, tuned": ("lrd", "paper"),
        "RCF, tuned": ("lrd", "rcf"),
        "RCF_LRD, tuned": ("lrd", "rcf_lrd"),
        "Popularity": ("published", "popularity"),
        "ItemKNN": ("published", "item_knn"),
        "TiSASRec, trained again on the Xeon": ("published", "tisasrec-again"),
        "RCF, trained again on the Xeon": ("published-again", "rcf"),
    },
    "office": {
        **{label: TABLE_3[label] for label in ("Popularity", "ItemKNN", "Caser", "GRU4Rec", "SASRec", "TiSASRec")},
        **{label: TABLE_3[label] for label in ("KDA", "KDA_LRD", "KDA, tuned", "KDA_LRD, tuned")},
        "KDA_LRD, `paper`, tuned": ("lrd", "paper"),
    },
}
"""{dataset: {label: (study, variant)}} of the rankings of all items."""

SEARCH = {
    "lr2": ("1", "auto (.04 and 1.14)"),
    "lr2-neg4": ("4", "auto"),
    "lr2-neg4-kg5": ("4", "5"),
}
"""Of each variant of the small search: negatives, weight of the KG loss."""

SLICED = (
    *("kda", "released", "weight-1", "paper", "more-relations", "latent-12", "text-times-10", "paper-prior"),
    *("ids", "without-kg"),
)
"""The columns of the tables by popularity."""

ABLATION = {
    "KDA_LRD": "released",
    "w/o LLM (ids in the text's place)": "ids",
    "w/o KGE": "without-kg",
    "w/o LRD (KDA)": "kda",
}
