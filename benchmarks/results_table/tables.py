"""The tables of the pages, each a function of the stored runs; TABLES names them as the pages' markers do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from benchmarks.results_table.markdown import cells, figure, markdown, signed
from benchmarks.results_table.rows import ABLATION, DATASETS, FULL, PUBLISHED, SEARCH, SLICED, TABLE_3, TITLES, VARIANTS
from benchmarks.results_table.store import FOLDER, Store, find_evaluation, find_run, read_outcomes, target_popularity
from lrd_jax.study.cells import Variant
from lrd_jax.study.outcomes import Outcome, compare, correct, spread
from lrd_jax.study.paper_results import METRICS, paper_metrics
from lrd_jax.study.popularity import by_popularity


def table_3(store: Store, dataset: str) -> str:
    """Each system on test beside the paper's, whose figures stand in the first row of a system."""
    rows, shown = [], set()
    for label, (study, variant) in TABLE_3.items():
        if found := _figures(store, study, dataset, variant):
            paper = None if found["system"] in shown else paper_metrics(dataset, found["system"])
            shown.add(found["system"])
            beside = [figure(paper[metric]) if paper else "" for metric in METRICS]
            rows.append([label, found["seeds"], *cells(found["test"], METRICS), *beside])
    return markdown(["", "seeds", *METRICS, f"paper: {METRICS[0]}", *METRICS[1:]], rows)


def lrd(store: Store, dataset: str) -> str:
    """Dev NDCG@5 and test of every row of the study `lrd`."""
    rows = []
    for variant, title in TITLES.items():
        if found := _figures(store, "lrd", dataset, variant):
            rows.append([title, found["seeds"], *cells(found["dev"], ["NDCG@5"]), *cells(found["test"], METRICS)])
    return markdown(["", "seeds", "dev NDCG@5", f"test {METRICS[0]}", *METRICS[1:]], rows)


def search(store: Store) -> str:
    """The small search of KDA's settings; the best on dev is bold."""
    found = {}
    for name in SEARCH:
        for dataset in DATASETS:
            found[name, dataset] = _figures(store, "search", dataset, name) or {}
    best = {d: max(SEARCH, key=lambda name: found[name, d]["dev"]["NDCG@5"]["mean"]) for d in DATASETS}
    rows = []
    for name, settings in SEARCH.items():
        row = [name, *settings]
        for dataset in DATASETS:
            dev, test = (cells(found[name, dataset][split], ["NDCG@5"])[0] for split in ("dev", "test"))
            row += [f"**{dev}**" if best[dataset] == name else dev, test]
        rows.append(row)
    header = [part for title in ("MovieLens", "Office") for part in (f"{title}: dev NDCG@5", "test")]
    return markdown(["", "negatives", "weight of the KG loss", *header], rows)


def paired(store: Store) -> str:
    """NDCG@5 of each variant of the study `lrd` against its base, p-values corrected over all rows and metrics."""
    comparisons, failures = compare(_outcomes(store, DATASETS))
    assert not failures, failures
    correct(comparisons)
    rows = []
    for comparison in comparisons:
        metric = comparison["metrics"]["NDCG@5"]
        p_values = [f"{metric[f'{test}_p']:.2g} ({metric[f'{test}_p_holm']:.2g})" for test in ("t_test", "wilcoxon")]
        title = f"{DATASETS[comparison['dataset']]}: {TITLES[comparison['variant']]}"
        figures = [figure(metric["base_value"]), figure(metric["value"]), f"{metric['improvement_percent']:+.2f}%"]
        rows.append([title, ", ".join(map(str, comparison["seeds"])), *figures, signed(metric["interval"]), *p_values])
    header = ["seeds", "base", "variant", "change", "95% interval", "t-test p (Holm)", "Wilcoxon p (Holm)"]
    return markdown(["NDCG@5, over users", *header], rows)


def slices(store: Store, dataset: str) -> str:
    """NDCG@5 by how often the target was in training, means over the seeds."""
    outcomes = [outcome for outcome in _outcomes(store, [dataset]) if outcome.cell.variant in SLICED]
    outcomes.sort(key=lambda outcome: SLICED.index(outcome.cell.variant))
    found = by_popularity(outcomes, partial(target_popularity, store))
    bins: dict[tuple[str, int], list[str]] = {}
    for row in found["slices"]:
        if row["test"]:
            bins.setdefault((row["bin"], row["rows"]), []).append(figure(row["test"]["NDCG@5"]["mean"]))
    names = [outcome.cell.variant for outcome in outcomes]
    return markdown([DATASETS[dataset], "rows", *names], [[name, str(n), *row] for (name, n), row in bins.items()])


def ablation(store: Store) -> str:
    """Figure 2 on Office, seed 0."""
    runs = {label: find_run(store, "lrd", "office", variant) for label, variant in ABLATION.items()}
    return markdown(["", *METRICS], [[label, *_of_run(run, "test", METRICS)] for label, run in runs.items()])


def language_model(store: Store) -> str:
    """Another encoder on Office, seed 0."""
    runs = {"wordllama": ("lrd", "office", "released"), "all-MiniLM-L6-v2": ("minilm", "office", "minilm")}
    rows = []
    for label, named in runs.items():
        run = find_run(store, *named)
        rows.append([label, *_of_run(run, "dev", ["NDCG@5"]), *_of_run(run, "test", METRICS)])
    return markdown(["", "dev NDCG@5", f"test {METRICS[0]}", *METRICS[1:]], rows)


def published_paired(store: Store) -> str:
    """Comparisons of runs that are gone, as they were."""
    rows = [
        [
            test["rows"],
            ", ".join(map(str, test["seeds"])),
            test["metric"],
            figure(test["base"]),
            figure(test["variant"]),
        ]
        + [test["change"], test["interval"], *(f"{test[name]:.2g}" for name in ("t_test_p", "wilcoxon_p"))]
        for test in PUBLISHED["tests"]
    ]
    header = ["seeds", "metric", "base", "variant", "change", "95% interval", "t-test p", "Wilcoxon p"]
    return markdown(["test, over users", *header], rows)


def full(store: Store) -> str:
    """Rankings of all items beside those of the given negatives, seed 0."""
    rows = []
    for dataset, labels in FULL.items():
        for label, (study, variant) in labels.items():
            if study == "published":
                held = PUBLISHED[dataset][variant]
                values = [*held["full"], *held.get("test_seed0", held["test"])]
                row = list(map(figure, values))
            else:
                ranked = find_evaluation(store, study, dataset, variant, "full")
                row = [figure(ranked[metric]) for metric in METRICS]
                row += _of_run(find_run(store, study, dataset, variant), "test", METRICS)
            rows.append([DATASETS[dataset], label, *row])
    header = [f"full: {METRICS[0]}", *METRICS[1:], f"given: {METRICS[0]}", *METRICS[1:]]
    return markdown(["", "", *header], rows)


def none_entities(store: Store) -> str:
    """KDA and KDA_LRD before (the study `lrd`) and after "none" became an entity of each attribute (`none`)."""
    rows = []
    for dataset, title in DATASETS.items():
        for variant, label in (("kda", "KDA"), ("paper", "KDA_LRD")):
            (before,) = read_outcomes(store, "lrd", [dataset], [Variant(variant, variant)])
            if not (found := read_outcomes(store, "none", [dataset], [Variant(variant, variant)])):
                continue
            after = found[0]._replace(cell=dataclasses.replace(found[0].cell, variant="after", base=variant))
            (comparison,), failures = compare([before, after], ["NDCG@5"])
            assert not failures, failures
            metric = comparison["metrics"]["NDCG@5"]
            values = [
                ", ".join(figure(run["test"]["NDCG@5"]) for run in outcome.results.values())
                for outcome in (before, after)
            ]
            p_values = [f"{metric[f'{test}_p']:.2g}" for test in ("t_test", "wilcoxon")]
            means = [figure(metric["base_value"]), figure(metric["value"])]
            rows.append([f"{title}: {label}", *values, *means, signed(metric["interval"]), *p_values])
    header = ["before, seeds 0, 1, 2", "after", "mean before", "after", "95% interval", "t-test p", "Wilcoxon p"]
    return markdown(["test NDCG@5", *header], rows)


def peers(store: Store) -> str:
    """RecBole's models beside ours: seconds and accuracy."""
    runs = json.loads((FOLDER / "peers.json").read_text())
    rows = []
    for title in ("SASRec", "GRU4Rec", "Caser"):
        ours, theirs = (run for run in runs if run["model"] == title.lower())
        for what, key, digits in (("training epoch", "epoch", 2), ("full ranking of dev", "ranking", 4)):
            seconds = [f"{run[f'{key}_p50']:.{digits}f}".removeprefix("0") for run in (ours, theirs)]
            rows.append([f"{title}, {what}, s", *seconds, f"{theirs[f'{key}_ratio']:.1f}"])
        accuracy = [f"{figure(run['dev_ndcg'])}, {figure(run['test_ndcg'])}" for run in (ours, theirs)]
        rows.append([f"{title}, NDCG@10 of dev and test", *accuracy, ""])
    return markdown(["", "ours", "RecBole", "ratio"], rows)


TABLES: Mapping[str, Callable[[Store], str]] = {
    **{f"table-3-{dataset}": partial(table_3, dataset=dataset) for dataset in DATASETS},
    "search": search,
    **{f"lrd-{dataset}": partial(lrd, dataset=dataset) for dataset in DATASETS},
    "lrd-paired": paired,
    **{f"lrd-popularity-{dataset}": partial(slices, dataset=dataset) for dataset in DATASETS},
    "ablation": ablation,
    "language-model": language_model,
    "published-paired": published_paired,
    "full": full,
    "none-entities": none_entities,
    "peers": peers,
}
"""By the names in the pages' markers."""


def _outcomes(store: Store, datasets: Iterable[str]) -> list[Outcome]:
    """The study `lrd`, in the page's order."""
    ordered = sorted(VARIANTS, key=lambda variant: list(TITLES).index(variant.name))
    return read_outcomes(store, "lrd", list(datasets), ordered)


def _figures(store: Store, study: str, dataset: str, variant: str) -> dict[str, Any] | None:
    """System, seeds, and mean and deviation of each metric of dev and test; None where it has not been run."""
    if study == "published":
        return _published(PUBLISHED[dataset].get(variant), variant.removesuffix("-paper"))
    if not (outcomes := read_outcomes(store, study, [dataset], [Variant(variant, variant)])):
        return None
    runs = outcomes[0].results
    seeds = ", ".join(map(str, runs))
    spreads = {split: spread([run[split] for run in runs.values()]) for split in ("dev", "test")}
    return {"system": outcomes[0].cell.config.model.name, "seeds": seeds, **spreads}


def _published(held: dict[str, Any] | None, system: str) -> dict[str, Any] | None:
    if held is None:
        return None
    deviations = held.get("std", [None] * len(METRICS))
    values = zip(METRICS, held["test"], deviations, strict=True)
    test = {metric: {"mean": mean, "std": deviation} for metric, mean, deviation in values}
    return {"system": system, "seeds": ", ".join(map(str, held["seeds"])), "test": test}


def _of_run(run: dict[str, Any], split: str, metrics: Iterable[str]) -> list[str]:
    return [figure(run[f"{split} {metric}"]) for metric in metrics]
