"""AdamW on bfloat16 weights with float32 masters: its formula, its masters, its resuming."""

import copy
import io

import pytest
import torch
from torch.nn import Parameter

from chattpl.training import compiling, optimizer
from chattpl.training.optimizer import MasterAdamW, master_of

SETTINGS = {"lr": 1e-3, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}


def start(shape=(8, 16), seed=0) -> torch.Tensor:
    """Numbers that bfloat16 holds exactly."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


def train(made: torch.optim.Optimizer, parameters: list[Parameter], steps: range) -> None:
    """The gradients are the same in every precision, and none where a parameter requires none."""
    for step in steps:
        for place, parameter in enumerate(parameters):
            if parameter.requires_grad:
                parameter.grad = start(parameter.shape, seed=1000 * place + step + 1).to(parameter.dtype)
        made.step()
        made.zero_grad()


def masters_of(made: MasterAdamW) -> list[torch.Tensor]:
    return [master_of(parameter, made) for group in made.param_groups for parameter in group["params"]]


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.0}, {"lr": 1e-5}, {"betas": (0.9, 0.999), "eps": 1e-8}])
def test_masters_go_where_pytorchs_adamw_takes_float32_weights(changes):
    ours, theirs = Parameter(start().bfloat16()), Parameter(start())
    settings = {**SETTINGS, **changes}
    made = MasterAdamW([ours], **settings)
    train(made, [ours], range(50))
    train(torch.optim.AdamW([theirs], **settings), [theirs], range(50))
    expected, moved = theirs.detach() - start(), master_of(ours, made) - start()
    assert (moved - expected).norm() < 0.02 * expected.norm()  # the first moment is kept in eight significant bits


def test_float32_weights_among_them_are_updated_as_by_pytorch():
    ours, theirs = Parameter(start()), Parameter(start())
    train(MasterAdamW([ours], **SETTINGS), [ours], range(20))
    train(torch.optim.AdamW([theirs], **SETTINGS), [theirs], range(20))
    torch.testing.assert_close(ours, theirs)


def test_an_update_below_bfloat16s_resolution_is_kept():
    ours = Parameter(torch.ones(4, dtype=torch.bfloat16))
    made = MasterAdamW([ours], lr=1e-5, weight_decay=0.0)
    for _ in range(100):
        ours.grad = torch.ones_like(ours)
        made.step()
    assert ours.equal(torch.ones(4, dtype=torch.bfloat16))
    torch.testing.assert_close(master_of(ours, made), torch.full((4,), 1 - 1e-3))


def test_a_weight_is_its_master_rounded():
    ours = Parameter(start((64, 64)).bfloat16())
    made = MasterAdamW([ours], **SETTINGS)
    train(made, [ours], range(10))
    master = master_of(ours, made)
    assert (master != ours).any()
    halfway = (master.view(torch.int32) & 0xFFFF) == 0x8000  # where PyTorch rounds to even
    assert master.bfloat16()[~halfway].equal(ours[~halfway])


@pytest.mark.parametrize("pattern", ["any", "halfway"])
def test_splitting_a_float32_number_and_joining_it_is_exact(pattern):
    bits = torch.randint(-(2**31), 2**31, (100_000,), generator=torch.Generator().manual_seed(0), dtype=torch.int64)
    if pattern == "halfway":
        bits = (bits & ~0xFFFF) | 0x8000
    number = bits.to(torch.int32).view(torch.float32)
    number = number[number.abs() < 3.3e38]  # neither infinite nor NaN, nor rounded to infinity
    upper = torch.empty(len(number), dtype=torch.int16)
    rest = torch.empty_like(upper)
    optimizer._split(number, upper, rest)
    assert optimizer._join(upper, rest).equal(number)


def test_a_parameter_in_pieces_is_updated_like_one_in_whole(monkeypatch):
    whole, pieces = (Parameter(start((7, 11)).bfloat16()) for _ in range(2))
    one, two = (MasterAdamW([each], **SETTINGS) for each in (whole, pieces))
    train(one, [whole], range(5))
    monkeypatch.setitem(optimizer.CHUNKS, "cpu", 10)
    train(two, [pieces], range(5))
    assert master_of(whole, one).equal(master_of(pieces, two))


def test_a_resumed_optimizer_goes_on_to_the_bit():
    weights = [Parameter(start(seed=7).bfloat16()), Parameter(start((5,), seed=8))]
    made = MasterAdamW(weights, **SETTINGS)
    train(made, weights, range(5))
    file = io.BytesIO()
    torch.save(made.state_dict(), file)
    copies = copy.deepcopy(weights)
    resumed = MasterAdamW(copies, **{**SETTINGS, "lr": 1.0})
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert all(a.equal(b) for a, b in zip(masters_of(made), masters_of(resumed), strict=True))
    train(made, weights, range(5, 10))
    train(resumed, copies, range(5, 10))
    assert all(a.equal(b) for a, b in zip(masters_of(made), masters_of(resumed), strict=True))


def test_state_of_other_groups_is_refused():
    made, other = (MasterAdamW([Parameter(start().bfloat16()) for _ in range(count)]) for count in (1, 2))
    with pytest.raises(ValueError, match="doesn't match the size"):
        made.load_state_dict(other.state_dict())


def test_a_parameter_without_gradient_stays_and_has_no_state():
    frozen, used = Parameter(start().bfloat16(), requires_grad=False), Parameter(start().bfloat16())
    made = MasterAdamW([frozen, used], **SETTINGS)
    train(made, [frozen, used], range(3))
    assert frozen.equal(start().bfloat16())
    assert frozen not in made.state
    assert master_of(frozen, made).equal(start())


def test_each_group_has_its_own_weight_decay():
    one, two = (Parameter(start().bfloat16()) for _ in range(2))
    made = MasterAdamW([{"params": [one], "weight_decay": 0.5}, {"params": [two], "weight_decay": 0.0}], lr=0.01)
    for each in (one, two):
        each.grad = torch.zeros_like(each)
    made.step()
    torch.testing.assert_close(master_of(one, made), start() * (1 - 0.005))
    assert master_of(two, made).equal(start())


def test_it_takes_twelve_bytes_a_parameter_with_the_gradient():
    weight = Parameter(start((100, 100)).bfloat16())
    made = MasterAdamW([weight])
    weight.grad = torch.zeros_like(weight)
    made.step()
    tensors = [weight, weight.grad, *(each for each in made.state[weight].values() if torch.is_tensor(each))]
    assert sum(each.numel() * each.element_size() for each in tensors) == 12 * weight.numel()


def test_float16_weights_are_refused():
    with pytest.raises(ValueError, match="float16"):
        MasterAdamW([Parameter(torch.zeros(2, dtype=torch.float16))])


def test_where_nothing_can_be_compiled_the_update_is_done_without_and_says_so(monkeypatch, caplog):
    def broken(function, **_):
        raise RuntimeError

    monkeypatch.setattr(torch, "compile", broken)
    compiling._works.cache_clear()
    compiling.compiled.cache_clear()
    assert compiling.compiled(optimizer._split_adamw, "cuda") is optimizer._split_adamw
    assert "nothing is compiled" in caplog.text
    compiling._works.cache_clear()
    compiling.compiled.cache_clear()
