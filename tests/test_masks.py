"""Which tokens carry the loss, down to the gradient that one training step makes."""

import pytest
import torch
from known_tokenizers import changeable, chat, known, raw
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from chattpl.basemodel import EMBEDDED
from chattpl.errors import UserError
from chattpl.tasks import Sample
from chattpl.training.data import IGNORED, grpo_dataset, loss_mask, sft_dataset

SHORT = Sample("What is 7 plus 5?", "7 + 5 = 12\n#### 12", "12")
LONG = Sample("Rosa has 3 boxes with 4 eggs in each. How many eggs has she?", "3 * 4 = 12 eggs\n#### 12", "12")
SAMPLES = [SHORT, LONG, Sample("8 - 1?", "#### 7", "7")]
FORMATS = {"chat": chat, "raw": raw}
every_format = pytest.mark.parametrize("kind", FORMATS)


@pytest.fixture
def tokenizer():
    """Pads with the token that ends a chat answer, so that masking by id would unlearn the end."""
    tokenizer = changeable("tiny")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def make_trainer(tokenizer, kind, masking, samples, folder, batch=None):
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    arguments = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=batch or len(samples),
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        dataloader_pin_memory=False,
    )
    dataset = sft_dataset(samples, FORMATS[kind](tokenizer), masking, 512).dataset
    return SFTTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer)


# --- masks


@every_format
def test_answer_masking_trains_the_answer_and_its_end_token_alone(kind):
    example = FORMATS[kind](known("tiny")).example(SHORT.question, SHORT.answer)
    mask = loss_mask(example, "answer")
    assert [token for token, learnt in zip(example.token_ids, mask, strict=True) if learnt] == example.answer_ids
    assert known("tiny").decode(example.answer_ids).strip() == SHORT.answer + FORMATS[kind](known("tiny")).end_token


@every_format
def test_full_masking_trains_everything(kind):
    example = FORMATS[kind](known("tiny")).example(SHORT.question, SHORT.answer)
    assert loss_mask(example, "full") == [1] * len(example.token_ids)


@every_format
@pytest.mark.parametrize("masking", ["answer", "full"])
def test_labels_are_the_tokens_under_the_mask(kind, masking):
    form = FORMATS[kind](known("tiny"))
    dataset = sft_dataset(SAMPLES, form, masking, None).dataset
    for sample, row in zip(SAMPLES, dataset, strict=True):
        example = form.example(sample.question, sample.answer)
        unlearnt = len(example.prompt_ids) if masking == "answer" else 0
        assert row["input_ids"] == example.token_ids
        assert row["labels"] == [IGNORED] * unlearnt + example.token_ids[unlearnt:]


def test_the_end_token_is_trained_where_it_also_pads(tokenizer):
    form = chat(tokenizer)
    assert form.end_token_id == tokenizer.pad_token_id
    assert all(row["labels"][-1] == form.end_token_id for row in sft_dataset(SAMPLES, form, "answer", None).dataset)


# --- length


def test_a_sample_that_does_not_fit_is_dropped_whole_and_counted():
    form = raw(known("tiny"))
    length = len(form.example(SHORT.question, SHORT.answer).token_ids)
    prepared = sft_dataset([SHORT, LONG], form, "answer", length)
    assert (len(prepared.dataset), prepared.dropped) == (1, 1)
    assert prepared.dataset[0]["input_ids"] == form.example(SHORT.question, SHORT.answer).token_ids


def test_a_training_set_of_which_nothing_fits_is_an_error():
    with pytest.raises(UserError, match=r"sft.max_length=5: none of the 3 training samples fits"):
        sft_dataset(SAMPLES, raw(known("tiny")), "answer", 5)


def test_without_a_limit_every_sample_is_kept():
    assert sft_dataset(SAMPLES, raw(known("tiny")), "answer", None).dropped == 0


def test_a_prompt_that_leaves_no_room_for_a_completion_is_dropped_and_counted():
    form = raw(known("tiny"))
    longest = len(form.prompt_ids(SHORT.question))
    prepared = grpo_dataset([SHORT, LONG], form, longest)
    assert (prepared.dataset["prompt"][:], prepared.dropped) == ([form.prompt_ids(SHORT.question)], 1)


def test_prompts_of_which_none_fits_are_an_error():
    with pytest.raises(UserError, match=r"grpo.max_completion_length leaves 3 tokens for a prompt: none of the 3"):
        grpo_dataset(SAMPLES, raw(known("tiny")), 3)


def test_a_sample_that_cannot_be_encoded_is_named():
    broken = Sample("What is \ud83d?", "1", "1")
    with pytest.raises(UserError, match="train sample 1: a sample holds"):
        sft_dataset([SHORT, broken], raw(known("tiny")), "answer", None)
    with pytest.raises(UserError, match="train sample 1: a sample holds"):
        grpo_dataset([SHORT, broken], raw(known("tiny")), 100)


# --- what the trainer makes of it


@every_format
@pytest.mark.parametrize("masking", ["answer", "full"])
def test_the_trainer_pads_by_length_and_never_by_id(tokenizer, kind, masking, tmp_path):
    trainer = make_trainer(tokenizer, kind, masking, SAMPLES, tmp_path)
    rows = list(trainer.train_dataset)
    batch = trainer.data_collator(rows)
    for place, row in enumerate(rows):
        length = len(row["input_ids"])
        assert batch["input_ids"][place, :length].tolist() == row["input_ids"]
        assert batch["labels"][place, :length].tolist() == row["labels"]
        assert set(batch["labels"][place, length:].tolist()) <= {IGNORED}
        assert batch["attention_mask"][place].tolist() == [1] * length + [0] * (batch["input_ids"].shape[1] - length)


def reference_loss(model, tokenizer, kind, masking, samples):
    """Mean of -log p(token | everything before it) over the trained tokens, one sequence at a time."""
    total, count = 0.0, 0
    for sample in samples:
        if kind == "chat":
            turns = [{"role": "user", "content": sample.question}]
            prompt = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
            text = prompt + sample.answer + "<|im_end|>"
        else:
            prompt = f"Question: {sample.question}\nAnswer:"
            text = f"{prompt} {sample.answer}<|endoftext|>"
        ids = tokenizer(text).input_ids
        first = len(tokenizer(prompt).input_ids) if masking == "answer" else 1
        logprobs = log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
        for place in range(first, len(ids)):
            total = total - logprobs[place - 1, ids[place]]
            count += 1
    return total / count


@every_format
@pytest.mark.parametrize("masking", ["answer", "full"])
@pytest.mark.parametrize(
    ("samples", "batch"), [(SAMPLES, 3), ([LONG], 1), (SAMPLES, 1)], ids=["padded", "unpadded", "accumulated"]
)
def test_a_training_step_makes_the_gradient_of_the_loss_written_by_hand(
    tokenizer, kind, masking, samples, batch, tmp_path
):
    trainer = make_trainer(tokenizer, kind, masking, samples, tmp_path, batch)
    batches = iter(trainer.get_train_dataloader())
    batches, count = trainer.get_batch_samples(batches, len(samples) // batch, torch.device("cpu"))
    loss = sum(trainer.training_step(trainer.model, each, count).item() for each in batches)

    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    expected = reference_loss(model, tokenizer, kind, masking, samples)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5, abs=2e-6)  # logits of 20 in float32 are no finer
    own = dict(trainer.model.named_parameters())
    for name, parameter in model.named_parameters():
        difference = (own[name].grad - parameter.grad).norm() / parameter.grad.norm()
        assert difference < 3e-5, name  # rounding, which differs by processor
