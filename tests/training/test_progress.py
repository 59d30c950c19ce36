"""Runs that go on after a kill."""

import torch

from training.progress import Average, Run


def run_of(folder, model, steps):
    return Run("line", folder, model.parameters(), steps=steps, rate=0.05, warmup=2, seed=3)


def loss_for(model):
    def loss_of(random):
        x = torch.rand((8, 2), generator=random)
        return (model(x) - x.sum(dim=1, keepdim=True)).square().mean()

    return loss_of


def fresh():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path):
    """Steps draw their randomness from their number, so a run in two parts gives the same weights."""
    whole = fresh()
    run_of(tmp_path / "whole", whole, 30).train(loss_for(whole))

    first = fresh()
    part = run_of(tmp_path / "parts", first, 30)
    for _ in range(11):
        part.advance(loss_for(first))
    part.save()
    second = torch.nn.Linear(2, 1)
    again = run_of(tmp_path / "parts", second, 30)
    assert again.step == 11
    again.train(loss_for(second))
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_average_is_what_a_finished_run_leaves(tmp_path):
    """And it is what the watcher sees, while training goes on with the live weights."""
    model = fresh()
    seen = []
    run = run_of(tmp_path, model, 20)
    run.train(loss_for(model), watch=lambda: seen.append(model.weight.detach().clone()))
    assert len(seen) == 1
    torch.testing.assert_close(model.weight.detach(), seen[0])
    torch.testing.assert_close(model.weight.detach(), run.average.values[0])


def test_the_rate_rises_and_falls():
    """Warm-up, then half a cosine to a fiftieth."""
    run = Run.__new__(Run)
    run.rate, run.warmup, run.steps = 1.0, 10, 110
    assert run.rate_at(0) == 0.1
    assert run.rate_at(10) == 1.0
    assert run.rate_at(60) == 0.51
    assert abs(run.rate_at(110) - 0.02) < 1e-9


def test_an_average_follows_slowly():
    """The later the slower, up to its decay."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    average = Average([parameter], 0.9)
    parameter.data.fill_(1.0)
    average.update(10**6)
    assert abs(float(average.values[0]) - 0.1) < 1e-6
