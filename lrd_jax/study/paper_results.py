"""Test metrics from the paper's Table 3."""

METRICS = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")

TABLE_3 = {
    "ml-100k": {
        "caser": (0.5217, 0.6872, 0.3571, 0.4107),
        "gru4rec": (0.5101, 0.6723, 0.3451, 0.3976),
        "sasrec": (0.5186, 0.6829, 0.3712, 0.4242),
        "tisasrec": (0.5313, 0.6882, 0.3812, 0.4322),
        "rcf": (0.5101, 0.6660, 0.3635, 0.4137),
        "rcf_lrd": (0.5398, 0.6882, 0.3886, 0.4365),
        "kda": (0.5748, 0.7381, 0.4182, 0.4711),
        "kda_lrd": (0.6066, 0.7434, 0.4420, 0.4867),
    },
    "office": {
        "caser": (0.3095, 0.4762, 0.1993, 0.2530),
        "gru4rec": (0.3295, 0.4856, 0.2164, 0.2670),
        "sasrec": (0.4027, 0.5439, 0.2751, 0.3210),
        "tisasrec": (0.4014, 0.5433, 0.2745, 0.3209),
        "rcf": (0.4145, 0.5696, 0.2911, 0.3413),
        "rcf_lrd": (0.4381, 0.5761, 0.3127, 0.3573),
        "kda": (0.4453, 0.6145, 0.3127, 0.3676),
        "kda_lrd": (0.4826, 0.6302, 0.3403, 0.3881),
    },
    "electronics": {
        "caser": (0.4620, 0.5865, 0.3435, 0.3838),
        "gru4rec": (0.4699, 0.5994, 0.3487, 0.3906),
        "sasrec": (0.4805, 0.6083, 0.3587, 0.4000),
        "tisasrec": (0.5114, 0.6329, 0.3860, 0.4253),
        "rcf": (0.5790, 0.7004, 0.4475, 0.4868),
        "rcf_lrd": (0.5828, 0.7035, 0.4510, 0.4901),
        "kda": (0.6008, 0.7194, 0.4665, 0.5049),
        "kda_lrd": (0.6111, 0.7295, 0.4760, 0.5143),
    },
}
"""{dataset: {system: the values of METRICS}}"""


def paper_metrics(dataset: str, system: str) -> dict[str, float] | None:
    """The paper's test metrics of a system; None if it has none. Source: Table 3."""
    values = TABLE_3.get(dataset, {}).get(system)
    return None if values is None else dict(zip(METRICS, values, strict=True))
