"""Training by CUDA graphs: rows at fixed addresses hold the same sequences; on a GPU, a step has the same gradient."""

import pytest
import torch
from known_tokenizers import changeable, raw
from transformers import AutoModelForCausalLM

from chattpl.basemodel import EMBEDDED
from chattpl.tasks.arithmetic import Arithmetic
from chattpl.training import packing
from chattpl.training.data import sft_dataset
from chattpl.training.graphs import graphed_layers
from chattpl.training.optimizer import MasterAdamW
from chattpl.training.packing import packed_row
from chattpl.training.sft import step_batch
from chattpl.training.static_row import Shape, StaticRow, rounded_tokens

KEYS = ("input_ids", "position_ids", "cu_seq_lens_q")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


@pytest.fixture(scope="module")
def batch():
    return step_batch(list(sft_dataset(Arithmetic().load_train()[:24], raw(changeable("tiny")), "answer", 512).dataset))


def row_of(batch, device="cpu"):
    return packed_row(batch["lengths"], batch["input_ids"].to(device))


def model(dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=dtype, attn_implementation=packing.NAME)


def shape_of(row):
    return Shape.of(row["input_ids"].shape[1], len(row["cu_seq_lens_q"]) - 1, row["max_length_q"])


@pytest.mark.parametrize("tokens", [1, 511, 512, 513, 5000, 100_000])
def test_tokens_are_rounded_up_by_an_eighth_at_most_once_they_are_many(tokens):
    rounded = rounded_tokens(tokens)
    assert tokens <= rounded <= max(tokens * 1.125 + 1, tokens + 511)


@pytest.mark.parametrize(
    ("tokens", "sequences", "longest"), [(512, 1, 512), (3300, 16, 400), (3300, 15, 700), (9000, 1, 9000)]
)
def test_a_shape_has_room_for_the_sequences_and_for_what_fills_it_up(tokens, sequences, longest):
    shape = Shape.of(tokens, sequences, longest)
    assert shape.tokens >= tokens
    assert shape.longest >= longest
    assert (shape.sequences - sequences) * shape.longest >= shape.tokens - tokens


def test_a_filled_row_ends_every_sequence_within_it(batch):
    row = row_of(batch)
    shape = shape_of(row)
    static = StaticRow(shape, torch.device("cpu"))
    static.fill(row["input_ids"], row["position_ids"], row["cu_seq_lens_q"])
    lengths = static.inputs["cu_seq_lens_q"].diff()
    assert lengths.min() >= 0
    assert lengths.max() <= shape.longest
    assert static.inputs["cu_seq_lens_q"][-1] == shape.tokens


def test_sequences_in_a_filled_row_are_computed_as_without_what_fills_it(batch):
    row, layers = row_of(batch), model().base_model
    static = StaticRow(shape_of(row), torch.device("cpu"))
    static.fill(*(row[name].flip(-1) if name == "input_ids" else row[name] for name in KEYS))  # used once before
    static.fill(*(row[name] for name in KEYS))
    with torch.no_grad():
        expected = layers(**row).last_hidden_state
        hidden = layers(**static.inputs).last_hidden_state[:, : expected.shape[1]]
    torch.testing.assert_close(hidden, expected)


def gradient_and_loss(model, batch):
    model.zero_grad()
    loss = model(**row_of(batch, "cuda"), labels=batch["labels"].cuda()).loss
    loss.backward()
    return torch.cat([each.grad.flatten().float() for each in model.parameters()]), float(loss)


@on_a_gpu
def test_a_graph_gives_the_gradient_of_the_layers_without_one(batch, caplog):
    trained = model(torch.bfloat16).cuda().train()
    expected, loss = gradient_and_loss(trained, batch)
    with graphed_layers(trained, 4096):
        for _ in range(3):
            gradient, again = gradient_and_loss(trained, batch)
            assert again == pytest.approx(loss, rel=1e-2)
            assert torch.nn.functional.cosine_similarity(gradient, expected, dim=0) > 0.999
    assert "without a CUDA graph" not in caplog.text


@on_a_gpu
def test_micro_batches_add_their_gradients(batch):
    trained = model(torch.bfloat16).cuda().train()
    once, _ = gradient_and_loss(trained, batch)
    with graphed_layers(trained, 4096):
        trained.zero_grad()
        for _ in range(2):
            trained(**row_of(batch, "cuda"), labels=batch["labels"].cuda()).loss.backward()
    twice = torch.cat([each.grad.flatten().float() for each in trained.parameters()])
    assert float(twice.norm() / once.norm()) == pytest.approx(2, rel=0.01)


@on_a_gpu
def test_the_optimizers_graph_updates_as_it_does_without():
    def updated(same_places):
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(300, 7, device="cuda").bfloat16()) for _ in range(3)]
        gradients = [torch.zeros_like(each) for each in weights]
        optimizer = MasterAdamW(weights, lr=1e-3)
        for step in range(6):
            for weight, gradient in zip(weights, gradients, strict=True):
                new = torch.randn(300, 7, device="cuda", generator=torch.Generator("cuda").manual_seed(step)).bfloat16()
                weight.grad = gradient.copy_(new) if same_places else new
            optimizer.step()
        return torch.cat([each.detach().flatten() for each in weights])

    assert torch.equal(updated(True), updated(False))
