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


def _memory_positions(value: Any, config: Any) -> bool:
    return not _is_on(value) or config.extra.get("use_memory") is False


_PRE_NORM = _off("normalizes before each sub-layer, XLM after it")
_ACTIVATION = Meaning("is another activation than gelu_activation says", _activation)

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
    "hidden_act": _ACTIVATION,
    "hidden_activation": _ACTIVATION,
    "activation_function": _ACTIVATION,
    "position_embedding_type": Meaning("is another kind of positions", _positions),
    "intermediate_size": _size("emb_dim", 4),
    "ffn_dim": _size("emb_dim", 4),
    "encoder_ffn_dim": _size("emb_dim", 4),
    "d_ff": _size("emb_dim", 4),
    "n_inner": _size("emb_dim", 4),
    "dim_feedforward": _size("emb_dim", 4),
    "hidden_dim": _size("emb_dim", 4),
    "d_model": _size("emb_dim"),
    "n_embd": _size("emb_dim"),
    "embedding_size": _size("emb_dim"),
    "n_layer": _size("n_layers"),
    "num_layers": _size("n_layers"),
    "encoder_attention_heads": _size("n_heads"),
    "n_head": _size("n_heads"),
    "num_heads": _size("n_heads"),
    "num_key_value_heads": _size("n_heads"),
    "head_dim": _size("head_dim"),
    "layer_norm_epsilon": _same("layer_norm_eps"),
    "layernorm_epsilon": _same("layer_norm_eps"),
    "norm_eps": _same("layer_norm_eps"),
    "rms_norm_eps": _off("normalizes by the root mean square"),
    "scale_embedding": _off("scales the embeddings"),
    "embedding_multiplier": Meaning(
        "scales the embeddings", lambda value, config: value in (None, 1)
    ),
    "rope_theta": _off("turns queries and keys by their positions"),
    "rope_scaling": _off("turns queries and keys by their positions"),
    "rope_parameters": _off("turns queries and keys by their positions"),
    "rotary_dim": _off("turns queries and keys by their positions"),
    "alibi": _off("biases attention by distance"),
    "relative_attention": _off("attends by relative positions"),
    "sliding_window": _off("attends within a window"),
    "attention_window": _off("attends within a window"),
    "parallel_attention": _off("runs attention and feed-forward side by side"),
    "use_parallel_residual": _off("runs attention and feed-forward side by side"),
    "final_logit_softcapping": _off("bounds the logits"),
    "logits_scaling": Meaning("scales the logits", lambda value, config: value in (None, 1)),
    "logit_scale": Meaning("scales the logits", lambda value, config: value in (None, 1)),
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
    "hidden_dropout_prob": _same("dropout"),
    "hidden_dropout": _same("dropout"),
    "attention_probs_dropout_prob": _same("attention_dropout"),
    "classifier_dropout": _same("dropout"),
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
    return [
        f"{name}={config.extra[name]!r:.60}: it {meaning.what}"
        for name, meaning in meanings.items()
        if name in config.extra and not meaning.agrees(config.extra[name], config)
    ]


def _meant(name: str, known: Iterable[str], similarity: float = 0.7) -> str:
    hint = nearest(name, known, similarity).strip()
    return f" ({hint[0].lower()}{hint[1:]})" if hint else ""
