"""A run: what it writes, how it goes on, when it stops."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lexiseg.core.errors import InputError
from lexiseg.data import stepwise
from lexiseg.engine.checkpoint import checkpoint_steps
from lexiseg.engine.log import read_log
from lexiseg.engine.loop import train
from lexiseg.engine.seeding import seed_all
from lexiseg.engine.training_state import TrainingState
from lexiseg.engine.watch import DivergedError
from toy_trainable import ToySettings, contrast_recipe, counts_recipe, toy_data
from toy_training import StoppedError, run


def test_a_run_leaves_log_times_checkpoints_and_weights(tmp_path):
    run(contrast_recipe(), tmp_path)
    lines = read_log(tmp_path)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines if "evaluation" in line] == [6, 12]
    assert lines[0].keys() == {"step", "loss", "terms", "observed", "lr", "grad_norm"}
    first = lines[0]
    assert first["loss"] == pytest.approx(sum(first["terms"].values()) / 2)
    assert lines[0]["lr"] == 0.0
    assert lines[1]["lr"] == pytest.approx(0.01)
    assert "images_per_second" in (tmp_path / "timing.jsonl").read_text()
    assert checkpoint_steps(tmp_path) == [8, 12]
    assert lines[-1]["evaluation"]["held_out_loss"] < lines[-2]["loss"] + 1


def test_training_lowers_the_loss(tmp_path):
    run(contrast_recipe(), tmp_path, num_steps=150, log_every=150, save_every=150)
    lines = [line["loss"] for line in read_log(tmp_path) if "loss" in line]
    assert lines[-1] < 0.75 * lines[0]


@pytest.mark.exhaustive("stop_after", "sub_batch_size")
@pytest.mark.parametrize("stop_after", [1, 4, 7, 11])
@pytest.mark.parametrize("sub_batch_size", [None, 3])
def test_stopped_anywhere_and_resumed_the_weights_and_the_log_are_bit_identical(
    tmp_path, stop_after, sub_batch_size
):
    whole = run(contrast_recipe(), tmp_path / "whole", sub_batch_size=sub_batch_size)
    with pytest.raises(StoppedError):
        run(contrast_recipe(), tmp_path / "two", stop_after=stop_after, sub_batch_size=sub_batch_size)
    two = run(contrast_recipe(), tmp_path / "two", resume=True, sub_batch_size=sub_batch_size)
    assert all(torch.equal(whole[name], two[name]) for name in whole | two)
    assert (tmp_path / "whole/log.jsonl").read_bytes() == (tmp_path / "two/log.jsonl").read_bytes()


@pytest.mark.exhaustive("optimizer", "precision")
@pytest.mark.parametrize("optimizer", ["adamw", "lars"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_every_precision_and_optimizer_resumes_alike(tmp_path, optimizer, precision):
    recipe = contrast_recipe()
    recipe = replace(recipe, optim=replace(recipe.optim, optimizer=optimizer))
    whole = run(recipe, tmp_path / "whole", precision=precision)
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "two", stop_after=7, precision=precision)
    two = run(recipe, tmp_path / "two", resume=True, precision=precision)
    assert all(torch.equal(whole[name], two[name]) for name in whole | two)
    assert all(tensor.dtype == torch.float32 for tensor in whole.values())


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    before = run(contrast_recipe(), tmp_path)
    log = (tmp_path / "log.jsonl").read_bytes()
    after = run(contrast_recipe(), tmp_path, resume=True)
    assert all(torch.equal(before[name], after[name]) for name in before | after)
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_worker_processes_change_no_bit_in_parts_of_any_size(tmp_path, monkeypatch):
    here = run(counts_recipe(), tmp_path / "here", num_steps=2)
    row = counts_recipe().build_data()
    (batch,) = row.batches(start_step=0, stop_step=1)
    monkeypatch.setattr(stepwise, "MOST_AHEAD", 3 * 2 * batch.part(0, 1).num_bytes)  # three rows a part
    there = run(counts_recipe(), tmp_path / "there", num_steps=2, num_workers=1)
    assert all(torch.equal(here[name], there[name]) for name in here)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_writes_a_checkpoint_and_the_run_goes_on_from_there(tmp_path, monkeypatch, name):
    if not hasattr(signal, name):
        pytest.skip(f"no {name} here")
    whole = run(contrast_recipe(), tmp_path / "whole")
    update = TrainingState.update

    def interrupted(state, batch):
        if state.step == 4:
            os.kill(os.getpid(), getattr(signal, name))
        return update(state, batch)

    before = signal.getsignal(getattr(signal, name))
    with monkeypatch.context() as patched:
        patched.setattr(TrainingState, "update", interrupted)
        with pytest.raises(FileNotFoundError):  # there are no final weights yet
            run(contrast_recipe(), tmp_path / "two", save_every=100)
    assert checkpoint_steps(tmp_path / "two") == [5]
    assert signal.getsignal(getattr(signal, name)) == before
    two = run(contrast_recipe(), tmp_path / "two", resume=True, save_every=100)
    assert all(torch.equal(whole[key], two[key]) for key in whole | two)


def test_checkpoints_come_by_time_too(tmp_path):
    run(contrast_recipe(), tmp_path, num_steps=3, save_every=100, save_minutes=1e-9, keep_checkpoints=9)
    assert checkpoint_steps(tmp_path) == [1, 2, 3]


def test_frozen_weights_are_saved_and_stay(tmp_path):
    recipe = counts_recipe()
    seed_all(0, "weights")
    teacher = recipe.build_model().teacher.weight.detach().clone()
    assert torch.equal(run(recipe, tmp_path)["teacher.weight"], teacher)


def test_the_running_mean_is_what_is_left_and_what_is_scored(tmp_path):
    recipe = contrast_recipe()
    last = replace(recipe, optim=replace(recipe.optim, ema_decay=None))
    average, plain = run(recipe, tmp_path / "average"), run(last, tmp_path / "last")
    checkpoint = tmp_path / "average/checkpoints/step-000012"
    assert torch.equal(load_file(checkpoint / "model.safetensors")["stem.weight"], plain["stem.weight"])
    assert torch.equal(load_file(checkpoint / "average.safetensors")["stem.weight"], average["stem.weight"])
    assert not torch.equal(average["stem.weight"], plain["stem.weight"])
    lines = {kind: read_log(tmp_path / kind) for kind in ("average", "last")}
    assert lines["average"][-2] == lines["last"][-2]
    assert lines["average"][-1] != lines["last"][-1]


@pytest.mark.parametrize("sub_batch_size", [None, 3])
def test_a_nan_stops_and_names_the_term_the_step_and_the_batch_and_keeps_the_last_good_checkpoint(
    tmp_path, sub_batch_size
):
    # In parts, the comparison is made twice a step.
    call = 6 if sub_batch_size is None else 11
    recipe = replace(contrast_recipe(), method=ToySettings(nan_from_step=call))
    with pytest.raises(DivergedError) as caught:
        run(recipe, tmp_path, sub_batch_size=sub_batch_size)
    message = str(caught.value)
    assert "training, step 6: found text = nan on the batch of step 5 row 0, step 5 row 1" in message
    assert "and 4 more" in message
    assert "expected a finite number" in message
    assert "optim.lr" in caught.value.fix
    assert checkpoint_steps(tmp_path) == [4]
    weights = load_file(tmp_path / "checkpoints/step-000004/model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 4]


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    run(counts_recipe(), tmp_path, num_steps=1)
    with pytest.raises(InputError, match=r"checkpoint of step 1; expected an empty folder.*--resume"):
        run(counts_recipe(), tmp_path, num_steps=1)


def test_data_of_another_batch_size_are_refused(tmp_path):
    recipe = counts_recipe()
    with pytest.raises(InputError, match="batches of 4; expected batches of 8"):
        train(recipe.build_model(), toy_data(4), optim=recipe.optim, run=recipe.run, out=tmp_path, quiet=True)


def test_progress_goes_to_the_error_stream_in_plain_lines(tmp_path, capsys):
    recipe = counts_recipe()
    train(recipe.build_model(), recipe.build_data(), optim=recipe.optim, run=recipe.run, out=tmp_path)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "step 12/12  loss " in printed.err
    assert "images/s" in printed.err
