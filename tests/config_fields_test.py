"""Every field that configs have outside of a family's own is proved by a test that is named here.

The fields of `config.model` and `config.sampling` are walked by `tests/families/census_test.py`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from genjax.configs.recipes import common, pipelines

ROOT = Path(__file__).parents[1]
REPLAY, LOADER, OPTIM = "tests/training/replay_test.py", "tests/data/loader_test.py", "tests/training/optim_test.py"
ADAM, STEP = f"{OPTIM}::test_adam_by_hand_with_settings_away_from_their_defaults", "tests/training/step_test.py"
CHAIN, SHARDING = "tests/integration/chain_test.py", "tests/sharding_test.py"
CENSUS = "tests/families/census_test.py"
MOCKED = "tests/pipelines/chain_test.py"
MEMBERS = f"{MOCKED}::test_members_are_checked_trained_and_written_in_their_order_then_drawn"
TOKENIZERS = "tests/data/tokenizers_test.py"
METRICS = f"{REPLAY}::test_metrics_are_means_of_the_steps_since_the_last_report"
GRIDS = f"{REPLAY}::test_grids_show_a_class_a_column_by_the_averaged_weights"
EVALUATION = f"{REPLAY}::test_evaluation_is_of_the_whole_held_out_split_by_the_averaged_weights"
BASE = {
    "family": "tests/training/workdir_test.py::test_a_claimed_workdir_gives_its_config_back",
    "seed": f"{REPLAY}::test_another_seed_is_another_run",
    "init_from": "tests/integration/init_from_test.py::test_init_from_takes_the_averages_and_is_not_requested_twice",
    "stages": f"{CHAIN}::test_a_trained_prior_keeps_to_its_tokenizer",
    "model": CENSUS,
    "sampling": CENSUS,
    "optimizer": f"{OPTIM}::test_each_player_has_the_optimizer_of_its_name",
    "data.name": f"{LOADER}::test_describe",
    "data.data_dir": "tests/data/loader_test.py::test_describe",
    "data.split": f"{LOADER}::test_arrays_of_a_whole_split",
    "data.eval_split": EVALUATION,
    "data.image_size": f"{LOADER}::test_describe",
    "data.channels": f"{LOADER}::test_describe",
    "data.crop": f"{LOADER}::test_crops_flips_and_captions_change_from_epoch_to_epoch",
    "data.flip": f"{LOADER}::test_flip_is_off_unless_requested",
    "data.batch_size": f"{LOADER}::test_the_global_batch_is_the_same_for_any_number_of_processes",
    "data.num_workers": f"{LOADER}::test_worker_processes_give_the_same_batches_and_end",
    "data.read_threads": f"{LOADER}::test_reading_ahead_is_by_as_many_threads_as_the_settings_say",
    "data.tokenizer": f"{LOADER}::test_captions_become_tokens_in_every_way_of_reading",
    "data.encoded": "tests/data/encoded_test.py::test_the_loader_gives_codes_instead_of_images",
    "data.keep_images": "tests/data/encoded_test.py::test_images_can_be_kept_with_their_codes",
    "data.max_broken": "tests/data/broken_test.py",
    "training.num_steps": METRICS,
    "training.microbatches": f"{STEP}::test_pieces_of_a_batch_have_keys_of_their_own_and_every_nth_example",
    "training.on_nonfinite": "tests/training/runs_test.py::"
    "test_a_run_that_ends_badly_names_the_way_out_and_it_works",
    "training.max_nonfinite": "tests/training/runs_test.py::test_updates_are_left_out_up_to_a_number_in_a_row",
    "training.attention": "tests/training/kernels_test.py::test_the_field_attention_says_what_a_run_may_use",
    "training.ema.decay": EVALUATION,
    "training.ema.warmup": f"{STEP}::test_ema_warms_up",
    "mesh.data": "tests/integration/devices_test.py::"
    "test_eight_devices_give_the_same_curve_and_their_checkpoint_restores_on_one",
    "mesh.fsdp": "tests/integration/devices_test.py::"
    "test_eight_devices_give_the_same_curve_and_their_checkpoint_restores_on_one",
    "mesh.tensor": f"{SHARDING}::test_batches_are_cut_over_data_and_fsdp_together_and_tensor_sees_all",
    "checkpoint.every": f"{REPLAY}::test_checkpoints_hold_the_state_of_their_step",
    "checkpoint.keep": "tests/training/checkpoint_test.py::test_keeps_the_newest",
    "log.every": METRICS,
    "log.sample_every": GRIDS,
    "log.eval_every": EVALUATION,
    "log.num_samples": GRIDS,
}  # fmt: skip
"""Field of `configs.recipes.common.base()` -> the test that fails when its value goes nowhere."""

OPTIMIZER = {
    "name": f"{OPTIM}::test_refusals",
    "learning_rate": f"{OPTIM}::test_learning_rate",
    "schedule": f"{OPTIM}::test_learning_rate",
    "end_factor": f"{OPTIM}::test_learning_rate",
    "decay_steps": f"{OPTIM}::test_learning_rate",
    "warmup_steps": f"{OPTIM}::test_learning_rate",
    "b1": ADAM,
    "b2": ADAM,
    "eps": ADAM,
    "momentum": f"{OPTIM}::test_sgd_by_hand_with_momentum",
    "weight_decay": ADAM,
    "clip_norm": ADAM,
    "layer_decay": f"{OPTIM}::test_lower_layers_learn_slower",
}
"""Field of `configs.recipes.common.adam()` -> its test."""

TOKENIZER = {
    "name": f"{TOKENIZERS}::test_wrong_settings_are_one_clear_line",
    "length": f"{TOKENIZERS}::test_words_that_do_not_fit_are_named_and_cut",
    "vocab_size": f"{TOKENIZERS}::test_a_trained_vocabulary_knows_its_captions",
    "file": f"{TOKENIZERS}::test_what_is_saved_reads_the_same",
    "dropout": f"{TOKENIZERS}::test_dropout_leaves_out_the_share_of_merges_that_it_says",
}
"""Field of `config.data.tokenizer` -> its test."""

OF_CHAINS = {
    "stages": MEMBERS,
    "order": f"{MOCKED}::test_refusals",
    "encode": MEMBERS,
    "samples": MEMBERS,
    "sampling": f"{MOCKED}::test_a_chain_that_draws_nothing_and_one_of_a_cascade_say_so",
    "cascade": f"{MOCKED}::test_a_chain_that_draws_nothing_and_one_of_a_cascade_say_so",
}
"""Field of a chain's config -> its test."""


def leaves(config: Mapping, prefix: str = "") -> Iterator[str]:
    """The names of all fields, as "data.name"; an empty mapping is one."""
    for name, value in config.items():
        if isinstance(value, Mapping) or (hasattr(value, "items") and len(value)):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize(("config", "proofs"), [
    (common.base(), BASE),
    (common.adam(1e-3), OPTIMIZER),
    (common.bpe(), TOKENIZER),
    (dict.fromkeys(pipelines.chain({}).keys()), OF_CHAINS),
], ids=["base", "optimizer", "tokenizer", "chain"])  # fmt: skip
def test_every_field_names_its_proof(config, proofs):
    assert set(leaves(config)) == proofs.keys()
    for field, test in proofs.items():
        if test == CENSUS:
            continue
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text()
        assert f"def {name}" in source, f"{test} proves {field}, and is not there"
        assert field.rpartition(".")[2] in source, f"{test} doesn't speak of {field}"
