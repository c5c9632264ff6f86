"""Sampling by steps: what it draws, and what it says about it."""

import pytest
import torch

from s4core import TaskShape, build
from s4core.generate import generate

SHAPE = TaskShape(d_input=6, d_output=6, length=24, tokens=True, target="step_class")
BLOCK = {"name": "sashimi", "d_model": 8, "n_layers": 1, "d_state": 4, "pool": [2]}


def make(block=BLOCK, shape=SHAPE):
    torch.manual_seed(0)
    return build(block, shape).eval()


def draw(model, prefix, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return generate(model, prefix, generator=generator, **options)


@pytest.mark.parametrize("block", [BLOCK, {"name": "s4", "d_model": 8, "n_layers": 1}])
def test_the_likelihood_of_a_sample_is_that_of_one_forward_pass(block):
    model = make(block)
    prefix = torch.tensor([[1, 2, 3], [4, 5, 0]])
    samples = draw(model, prefix, length=10, top_p=0.9, temperature=1.3)
    assert samples.tokens.shape == (2, 13)
    assert torch.equal(samples.tokens[:, :3], prefix)
    log_p = torch.log_softmax(model(samples.tokens)[:, 2:-1], -1)
    expected = log_p.gather(2, samples.tokens[:, 3:, None]).sum((1, 2))
    assert torch.allclose(samples.log_prob, expected, atol=1e-4)


def test_the_same_seed_draws_the_same_and_temperature_zero_needs_none():
    model, prefix = make(), torch.tensor([[1]])
    assert torch.equal(draw(model, prefix, length=8).tokens, draw(model, prefix, length=8).tokens)
    cold = [draw(model, prefix, seed, length=8, temperature=0.0).tokens for seed in (1, 2)]
    assert torch.equal(*cold)
    narrow = [draw(model, prefix, seed, length=8, top_p=1e-6).tokens for seed in (1, 2)]
    assert torch.equal(cold[0], narrow[0])
    assert torch.equal(cold[0], narrow[1])


def test_a_model_in_training_generates_as_in_eval_mode_and_stays_as_it_is():
    model = make({"name": "s4d", "d_model": 8, "dropout": 0.5, "norm": "batch"}).train()
    model(torch.randint(6, (4, 24)))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    one, other = (draw(model, torch.tensor([[1, 2]]), length=4) for _ in range(2))
    assert torch.equal(one.log_prob, other.log_prob)
    assert model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_draws_follow_the_models_probabilities_cut_at_top_p():
    model = make()
    prefix = torch.full((4000, 1), 3)
    p = torch.softmax(model(prefix[:1])[0, 0], -1)
    order = p.argsort(descending=True)
    kept = order[: int((p[order].cumsum(0) < 0.6).sum()) + 1]
    drawn = draw(model, prefix, length=1, top_p=0.6).tokens[:, 1]
    counts = torch.bincount(drawn, minlength=6) / 4000
    expected = torch.zeros(6)
    expected[kept] = p[kept] / p[kept].sum()
    # Four standard errors of a frequency of 4000 draws.
    assert (counts - expected).abs().max() < 4 * 0.5 / 4000**0.5


@pytest.mark.parametrize(
    ("shape", "prefix", "options", "text"),
    [
        ({"target": "class"}, [[1]], {}, "next token generates.*got tokens=True, target='class'"),
        ({"d_output": 5}, [[1]], {}, "only a model of the next token generates"),
        ({}, [[]], {}, "want a prefix of"),
        ({}, [[1]], {"temperature": -1.0}, "need temperature >= 0"),
        ({}, [[1]], {"top_p": 0.0}, "0 < top_p <= 1"),
    ],
)
def test_what_cannot_be_continued_is_refused(shape, prefix, options, text):
    task = {"d_input": 6, "d_output": 6, "length": 24, "tokens": True, "target": "step_class"}
    model = make(shape=TaskShape(**{**task, **shape}))
    with pytest.raises(ValueError, match=text):
        generate(model, torch.tensor(prefix, dtype=torch.int64), length=2, **options)
