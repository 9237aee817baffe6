"""Models by name."""

from __future__ import annotations

from typing import Any

from lrd_jax import plugins
from lrd_jax.config.schema import Config
from lrd_jax.data.batch import from_host
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.intervals import dft_decay, flat_decay, interval_histograms
from lrd_jax.models.lrd import RelationClassifier
from lrd_jax.models.relational import RelationalModel
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.models.simple import item_knn, popularity
from lrd_jax.models.system import RelationalSystem, System


def build_system(config: Config, corpus: Corpus, *, has_triples: bool) -> System:
    """The system that config.model names, sized for the corpus.

    Args:
      config: all options.
      corpus: the dataset.
      has_triples: whether the sampler found triples to draw; without them there is no knowledge-graph loss.

    Raises:
      UserError: the model is another package's and cannot be loaded, or two packages use its name.
    """
    config.model.check_name()
    if config.model.is_sequence:
        return _build_sequence(config, corpus)
    if config.model.name == "popularity":
        return popularity(corpus)
    if config.model.name == "item_knn":
        return item_knn(corpus, config.model.num_neighbours)
    return _build_relational(config, corpus, has_triples)


def sequence_model(name: str) -> Any:
    """The class of a sequence model (`SequenceModel`), ours or another package's.

    Raises:
      UserError: see `plugins.load`.
    """
    return plugins.load(plugins.MODELS, name)


def _build_sequence(config: Config, corpus: Corpus) -> SequenceSystem:
    return SequenceSystem(
        encoder=sequence_model(config.model.name).from_config(config),
        num_users=corpus.num_users,
        num_items=corpus.num_items,
        embedding_dim=config.model.embedding_dim,
        history_length=config.data.history_length,
        rec_objective=config.loss.rec_objective,
        calibration=config.loss.calibration,
        precision=config.model.precision,
    )


def _build_relational(config: Config, corpus: Corpus, has_triples: bool) -> RelationalSystem:
    model, loss = config.model, config.loss
    uses_lrd, temporal = model.discovers_relations, model.name.startswith("kda")
    num_latent = model.num_latent_relations if uses_lrd else 0
    num_relations = corpus.num_defined_relations + num_latent
    num_frequencies = model.num_dft_points // 2 + 1
    decay = None
    if temporal and model.decay_init == "flat":
        decay = flat_decay(num_relations, num_frequencies)
    elif temporal and model.decay_init == "dft":
        histograms = interval_histograms(corpus, config.data.history_length, model.num_dft_points)
        decay = dft_decay(histograms[[*range(len(histograms)), *[0] * num_latent]])
    scorer = RelationalModel(
        num_users=corpus.num_users,
        num_items=corpus.num_items,
        num_entities=corpus.num_entities,
        num_item_relations=len(corpus.item_relations),
        num_attributes=len(corpus.attributes),
        num_latent_relations=num_latent,
        temporal=temporal,
        num_frequencies=num_frequencies,
        embedding_dim=model.embedding_dim,
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        dropout=model.dropout,
        pooling=model.pooling,
        attention_dim=model.attention_dim,
        include_value=model.include_value,
        precision=model.precision,
    )
    num_interactions = len(corpus.sequence_items)
    weights = {"rec": 1.0}
    kg_weight = corpus.num_stored_triples / num_interactions if loss.kg_weight == "auto" else loss.kg_weight
    if kg_weight > 0 and has_triples:
        weights["kg"] = kg_weight
    if uses_lrd and loss.lrd_weight > 0:
        weights["lrd"] = loss.lrd_weight
    return RelationalSystem(
        scorer=scorer,
        classifier=RelationClassifier(num_relations, model.embedding_dim) if config.uses_classifier else None,
        classifier_input=model.classifier_input,
        relation_prior=model.relation_prior if uses_lrd else "none",
        loss_weights=weights,
        lrd_objective=loss.lrd_objective,
        entropy_weight=loss.entropy_weight,
        drop_virtual=temporal,  # The published KDA_LRD leaves the virtual relation out, its RCF_LRD does not.
        decay=decay and (from_host(decay[0]), from_host(decay[1])),
    )
