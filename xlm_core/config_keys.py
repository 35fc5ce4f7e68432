"""Keys of a configuration that are no field of `XLMConfig`: which of them change what is computed.

Files carry more keys than a model has settings: every option of the training that made them, every
attribute that transformers gives to each of its configurations. Most change nothing. Those that
change the computation are refused where they say anything but what XLM computes: a model opened
without them would give other numbers, in silence. Any other key is named in one warning.

Source: the options of the original (train.py, xlm/model/memory) and of its forks: FlauBERT, MASS,
XNLG, RELM, TransCoder and CodeGen, SymbolicMathematics; PretrainedConfig, XLMConfig and
FlaubertConfig of transformers 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xlm_core.errors import ConfigError, nearest, warn


@dataclass(frozen=True)
class Meaning:
    """What a key that is no field asks for.

    Attributes:
        what: In words, to follow "it".
        agrees: Whether a value, beside the fields of a configuration, asks for what XLM computes.
    """

    what: str
    agrees: Callable[[Any, Any], bool]


def _off(what: str) -> Meaning:
    """A switch that XLM has off: false, null, 0 or empty."""
    return Meaning(what, lambda value, config: not _is_on(value))


def _is_on(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "off", "0", "none", "null")
    if isinstance(value, (bool, int, float, list, tuple, dict, set)):
        return bool(value)
    return value is not None


def _size(field: str, factor: int = 1) -> Meaning:
    """Another name for a size; 0 and -1 leave it to the field."""
    return Meaning(
        f"is another size than {field}" + (f" times {factor}" if factor > 1 else ""),
        lambda value, config: value in (None, 0, -1, factor * getattr(config, field)),
    )


def _same(field: str) -> Meaning:
    """Another name for a field."""
    return Meaning(
        f"contradicts {field}", lambda value, config: value in (None, getattr(config, field))
    )


def _activation(value: Any, config: Any) -> bool:
    names = ("gelu", "gelu_python") if config.gelu_activation else ("relu",)
    return value is None or str(value).lower() in names


def _positions(value: Any, config: Any) -> bool:
    kinds = ("absolute", "sinusoidal" if config.sinusoidal_embeddings else "learned")
    return value is None or str(value).lower() in kinds


def _one_of(what: str, *values: Any) -> Meaning:
    """A setting that XLM has at one of these values."""
    return Meaning(what, lambda value, config: value is None or value in values)


def _is_learned(value: Any, config: Any) -> bool:
    return value is None or _is_on(value) != config.sinusoidal_embeddings


def _memory_positions(value: Any, config: Any) -> bool:
    return not _is_on(value) or config.extra.get("use_memory") is False


_PRE_NORM = _off("normalizes before each sub-layer, XLM after it")
_ACTIVATION = Meaning("is another activation than gelu_activation says", _activation)
_ROTARY = _off("turns queries and keys by their positions")
_RELATIVE = Meaning(
    "attends by relative positions", lambda value, config: value == -1 or not _is_on(value)
)
_WINDOW = _off("attends within a window")
_NO_BIASES = _one_of("leaves biases out", True)
_SOFT_CAP = _off("bounds the logits")
_GATED = _off("gates the feed-forward layers")
_EXPERTS = _one_of("chooses among several feed-forward layers", 0, 1)

# Refused where they disagree.
COMPUTING: dict[str, Meaning] = {
    # The original.
    "use_memory": _off("puts product-key memories in place of feed-forward layers"),
    "mem_enc_positions": Meaning(
        "puts product-key memories in place of feed-forward layers", _memory_positions
    ),
    # FlauBERT, and the names that others have for the same.
    "pre_norm": _PRE_NORM,
    "normalize_before": _PRE_NORM,
    "encoder_normalize_before": _PRE_NORM,
    "do_layer_norm_before": _PRE_NORM,
    # MASS, XNLG, SymbolicMathematics; TransCoder and CodeGen; RELM.
    "english_only": _off("leaves the embeddings of languages out"),
    "n_enc_layers": _size("n_layers"),
    "n_layers_encoder": _size("n_layers"),
    "emb_dim_encoder": _size("emb_dim"),
    "cape_embeddings": _off("makes positions continuous and augments them"),
    "spans_emb_encoder": _off("adds embeddings of spans"),
    "tokenization_mode": Meaning(
        "embeds positions as RoBERTa does", lambda value, config: value != "roberta"
    ),
    "use_adapters": _off("puts adapters between the sub-layers"),
    # What configurations of other models in transformers call what XLM decides otherwise.
    "quantization_config": _off("says that the weights are quantized"),
    **dict.fromkeys(
        (
            *("pre_layer_norm", "pre_layernorm", "pre_lnorm", "prenorm", "norm_first"),
            "layer_norm_first",
        ),
        _PRE_NORM,
    ),
    **dict.fromkeys(
        (
            *("hidden_act", "hidden_activation", "activation_function", "activation"),
            *("activation_fn", "afn", "dense_act_fn", "ff_activation"),
        ),
        _ACTIVATION,
    ),
    "position_embedding_type": Meaning("is another kind of positions", _positions),
    "encoder_learned_pos": Meaning("is another kind of positions", _is_learned),
    "no_token_positional_embeddings": _off("leaves the positions out"),
    **dict.fromkeys(
        (
            *("intermediate_size", "ffn_dim", "encoder_ffn_dim", "d_ff", "dff", "d_inner"),
            *("n_inner", "dim_feedforward", "hidden_dim", "feed_forward_size"),
            *("ffn_embed_dim", "encoder_ffn_embed_dim"),
        ),
        _size("emb_dim", 4),
    ),
    **dict.fromkeys(
        (
            *("d_model", "n_embd", "embedding_size", "dim", "embed_dim", "d_embed"),
            *("encoder_embed_dim", "input_embedding_size", "word_embed_proj_dim"),
        ),
        _size("emb_dim"),
    ),
    **dict.fromkeys(("n_layer", "num_layers", "num_encoder_layers"), _size("n_layers")),
    **dict.fromkeys(
        (
            *("encoder_attention_heads", "n_head", "num_heads", "attention_heads"),
            "num_key_value_heads",
        ),
        _size("n_heads"),
    ),
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "attention_head_size"), _size("head_dim")),
    **dict.fromkeys(("n_positions", "n_ctx"), _size("max_position_embeddings")),
    "num_hidden_groups": Meaning(
        "gives several layers the same weights",
        lambda value, config: value in (None, config.n_layers),
    ),
    **dict.fromkeys(
        ("layer_norm_epsilon", "layernorm_epsilon", "norm_eps"), _same("layer_norm_eps")
    ),
    "rms_norm_eps": _off("normalizes by the root mean square"),
    "layernorm_embedding": _one_of("leaves the norm of the embeddings out", True),
    "add_final_layer_norm": _off("normalizes the last layer once more"),
    "apply_residual_connection_post_layernorm": _off("adds what was normalized"),
    "type_vocab_size": _off("adds embeddings of token types from a table of their own"),
    "scale_embedding": _off("scales the embeddings"),
    "rescale_embeddings": _off("scales the embeddings"),
    "no_scale_embedding": _one_of("scales the embeddings", True),
    "embedding_multiplier": _one_of("scales the embeddings", 1),
    "residual_multiplier": _one_of("scales what is added to the residual", 1),
    "token_dropout": _off("scales the embeddings by the share of masked tokens"),
    **dict.fromkeys(
        (
            *("rope_theta", "rope_scaling", "rope_parameters", "rotary", "rotary_dim"),
            *("rotary_pct", "rotary_value", "rotary_emb_base", "partial_rotary_factor"),
            *("global_rope_theta", "local_rope_theta"),
        ),
        _ROTARY,
    ),
    "alibi": _off("biases attention by distance"),
    **dict.fromkeys(
        (
            *("relative_attention", "relative_attention_num_buckets", "pos_att_type"),
            *("max_relative_position", "max_relative_positions"),
        ),
        _RELATIVE,
    ),
    **dict.fromkeys(
        (
            *("sliding_window", "attention_window", "window_size", "local_attention"),
            *("attention_types", "attention_layers", "attn_layers"),
        ),
        _WINDOW,
    ),
    "attention_type": _one_of("attends in another way", "full", "original_full"),
    "scale_attn_weights": _one_of("leaves the scale of attention out", True),
    "scale_attn_by_inverse_layer_idx": _off("scales attention by the layer"),
    **dict.fromkeys(("attention_bias", "use_bias", "enable_bias", "qkv_bias"), _NO_BIASES),
    "parallel_attention": _off("runs attention and feed-forward side by side"),
    "use_parallel_residual": _off("runs attention and feed-forward side by side"),
    **dict.fromkeys(("is_gated_act", "gated_act", "use_gated_mlp"), _GATED),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), _EXPERTS),
    **dict.fromkeys(
        ("final_logit_softcapping", "attn_logit_softcapping", "logit_softcap"), _SOFT_CAP
    ),
    "logits_scaling": _one_of("scales the logits", 1),
    "logit_scale": _one_of("scales the logits", 1),
}

# Named in the warning where they disagree: what is computed from a text is right without them.
_TRAINING = "drops layers in training, which is not done here"
_DECODER = "is about a decoder: the encoder is right without it"
WITHOUT_EFFECT: dict[str, Meaning] = {
    "layerdrop": _off(_TRAINING),
    "layer_dropout": _off(_TRAINING),
    "encoder_layerdrop": _off(_TRAINING),
    "decoder_layerdrop": _off(_DECODER),
    "mem_dec_positions": Meaning(_DECODER, _memory_positions),
    "n_dec_layers": Meaning(_DECODER, _size("n_layers").agrees),
    "n_layers_decoder": Meaning(_DECODER, _size("n_layers").agrees),
    "emb_dim_decoder": Meaning(_DECODER, _size("emb_dim").agrees),
    "separate_decoders": _off(_DECODER),
    "n_share_dec": _off(_DECODER),
    "attention_setting": Meaning(_DECODER, lambda value, config: value in (None, "v1")),
    **dict.fromkeys(
        ("num_decoder_layers", "decoder_layers"), Meaning(_DECODER, _size("n_layers").agrees)
    ),
    "decoder_attention_heads": Meaning(_DECODER, _size("n_heads").agrees),
    "decoder_ffn_dim": Meaning(_DECODER, _size("emb_dim", 4).agrees),
    **dict.fromkeys(
        (
            *("hidden_dropout_prob", "hidden_dropout", "dropout_rate", "resid_pdrop"),
            *("embd_pdrop", "classifier_dropout", "classifier_dropout_prob"),
        ),
        _same("dropout"),
    ),
    **dict.fromkeys(
        ("attention_probs_dropout_prob", "attn_pdrop", "attention_probs_dropout"),
        _same("attention_dropout"),
    ),
    "activation_dropout": _off("drops activations in training, which is not done here"),
    "auto_map": _off("names code of a repository, which is never run"),
}

# What every configuration of transformers has, with its default there. Values that a file or a
# caller gives are kept; these can be read without having been given.
PUBLISHED_DEFAULTS: dict[str, Any] = {
    "is_decoder": False,
    "cross_attention_hidden_size": None,
    "add_cross_attention": False,
    "tie_encoder_decoder": False,
    "torchscript": False,
    "finetuning_task": None,
    "task_specific_params": None,
    "tokenizer_class": None,
    "prefix": None,
    "sep_token_id": None,
    "decoder_start_token_id": None,
    "tf_legacy_loss": False,
    "use_bfloat16": False,
    "transformers_version": None,
    # Of generation, which older versions kept here.
    "max_length": 20,
    "min_length": 0,
    "do_sample": False,
    "early_stopping": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "num_return_sequences": 1,
    "output_scores": False,
    "return_dict_in_generate": False,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "remove_invalid_values": False,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}

_FURTHER_OF_TRANSFORMERS = """
attn_implementation gradient_checkpointing initializer_range output_past use_cache use_return_dict
xla_device max_new_tokens min_new_tokens num_assistant_tokens experts_implementation is_composition
transformers_weights trust_remote_code
"""
# Of the original and its forks: how a model was trained, on what, where, and from what.
_OF_TRAINING = """
accumulate_gradients adapter_size ae_steps amp attention_dropout_prob batch_size beam_early_stopping
beam_eval beam_length_penalty beam_size bmt_steps bpe_path bptt bt_max_len bt_sample_temperature
bt_src_langs bt_steps clip_grad_norm clm_steps command context_size cpu cut_dataset data_path
dataset_dir debug debug_slurm debug_train decode_vocab_sizes decode_with_vocab direction
discrete_cape_max cape_global_shift cape_local_shift cape_global_scaling ds_name dump_path
efficient_attn encoder_only env_base_seed env_name epoch_size eval_bleu eval_bleu_test_only
eval_computation eval_directions eval_only eval_temperature eval_verbose eval_verbose_print exp_id
exp_name export_data extend finetune_layers fixed_embeddings fixed_lang_embeddings
fixed_position_embeddings fixed_task_embeddings fp16 gen_tpb_multiplier generate_hypothesis
global_rank group_by_size has_sentences_ids hyp_path increase_vocab_by increase_vocab_for_lang
increase_vocab_from_lang is_master is_slurm_job job_id job_name keep_comments lambda_ae lambda_bmt
lambda_bt lambda_clm lambda_mass lambda_mlm lambda_mt lambda_pc lambda_s2slm lambda_span lambda_tae
langs lg_sampling_factor lgs local_rank mask_scores mass_steps master_addr master_port
max_batch_size max_dec_len max_epoch max_len max_len_a max_len_e max_len_q max_vocab min_count
min_layers min_len mlm_eval_steps mlm_steps model_dir model_path mono_dataset mono_list mono_probs
mt_steps multi_gpu multi_node n_epochs n_gpu_per_node n_indices n_nodes no_init node_id num_workers
number_samples optimizer optimizer_e optimizer_p out_dir out_features output_path para_dataset
para_list para_probs pc_steps pred_probs ref_paths reload_checkpoint reload_data reload_emb
reload_model reload_size retry_mistmatching_types s2slm_steps same_enc_dec same_nb_ops_per_batch
sample_alpha save_all_checkpoints save_periodic share_inout_emb split_data split_data_accross_gpu
src_id src_lang stopping_criterion tasks tgt_id tgt_lang time_limit train_scores tokens_per_batch
train_directions train_layers train_model_names transfer_tasks trunc_len use_apex
use_pretrained_lang_emb use_rouge validation_metrics vocab_path weighted_training word_blank
word_dropout word_keep word_mask word_mask_keep_rand word_mass word_pred word_rand word_shuffle
world_size do_lowercase_and_remove_accent best_metrics best_stopping_criterion
"""
HARMLESS = frozenset(
    (*PUBLISHED_DEFAULTS, *_FURTHER_OF_TRANSFORMERS.split(), *_OF_TRAINING.split())
)
# The fork of FlauBERT writes these; since 2020 its layer_norm_eps is another where params are mute.
FLAUBERT = ("pre_norm", "layerdrop", "use_apex", "time_limit")


def is_known(name: str) -> bool:
    """Whether a key that is no field has a meaning, or is known to have none."""
    return (
        name in HARMLESS
        or name in COMPUTING
        or name in WITHOUT_EFFECT
        # Details of memories, which use_memory switches; what transformers keeps for itself.
        or name.startswith(("mem_", "_"))
    )


def is_readable(name: str) -> bool:
    """Whether a key that is no field may be given by a caller who opens a file."""
    return name in PUBLISHED_DEFAULTS or name in COMPUTING or name in WITHOUT_EFFECT


def refuse_other_computation(config: Any) -> None:
    """Refuse keys by which a model would compute something else than XLM.

    Args:
        config: An `XLMConfig`; its `extra` holds the keys that are no field.

    Raises:
        ConfigError: Naming each of them, its value and what it asks for.
    """
    found = _disagreeing(config, COMPUTING)
    if found:
        raise ConfigError(
            f"{'; '.join(found)}. XLM computes something else, and would give other numbers in "
            "silence: open this model with the code that made it, or correct the key if the model "
            "was made without it."
        )


def warn_of_keys(config: Any, fields: Iterable[str]) -> None:
    """Warn once of all keys of a file that are not known, and of those without effect here.

    Args:
        config: The `XLMConfig`; its `extra` holds the keys that are no field.
        fields: Names of its fields and their aliases, for the nearest to an unknown one.
    """
    unknown = sorted(name for name in config.extra if not is_known(name))
    said = []
    if unknown:
        known = [*fields, *COMPUTING, *HARMLESS]
        named = [f"{name!r:.60}{_meant(name, known)}" for name in unknown[:20]]
        more = f" and {len(unknown) - 20} more" if len(unknown) > 20 else ""
        said.append(
            f"{', '.join(named)}{more}: no field of XLMConfig, and no key that is known; kept and "
            "not followed"
        )
    _warn([*said, *_disagreeing(config, WITHOUT_EFFECT)])


def warn_of_typos(config: Any, fields: Iterable[str]) -> None:
    """Warn once of keys that a caller gave and that are nearly fields, or without effect here.

    Others are the caller's own: they are kept, and written back.
    """
    unknown = [name for name in config.extra if not is_known(name)]
    typos = [f"{name!r:.60}{hint}" for name in unknown if (hint := _meant(name, fields, 0.85))]
    said = [f"{', '.join(typos)}: no field of XLMConfig; kept and not followed"] if typos else []
    _warn([*said, *_disagreeing(config, WITHOUT_EFFECT)])


def _warn(said: list[str]) -> None:
    if said:
        warn(f"The configuration has keys without effect here: {'; '.join(said)}.")


def _disagreeing(config: Any, meanings: Mapping[str, Meaning]) -> list[str]:
    given = dict(config.extra)
    if not config.is_encoder_decoder and config.decoder_layers is not None:
        given["decoder_layers"] = config.decoder_layers
    return [
        f"{name}={given[name]!r:.60}: it {meaning.what}"
        for name, meaning in meanings.items()
        if name in given and not meaning.agrees(given[name], config)
    ]


def _meant(name: str, known: Iterable[str], similarity: float = 0.7) -> str:
    hint = nearest(name, known, similarity).strip()
    return f" ({hint[0].lower()}{hint[1:]})" if hint else ""
