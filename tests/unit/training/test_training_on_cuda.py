"""Training on a GPU: what a CPU computes, in halves where asked, compiled and on the device."""

from dataclasses import replace

import pytest
import torch

from ganray.degradation.recipe import Recipe, degrade, read_recipe
from ganray.training.compilation import compiled
from ganray.training.config import AdversarialConfig, LoopConfig
from ganray.training.loop import Hooks, keep_gradients, train
from ganray.training.state import TrainingState, new_state
from ganray.training.steps import Batch, discriminator_step, generator_step
from ganray.training.stopwatch import Stopwatch
from tests.unit.training.players import (
    gradients,
    make_batch,
    make_objective,
    make_state,
    make_tools,
    play_of,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")


def on_cuda(batch: Batch) -> Batch:
    return replace(batch, degraded=batch.degraded.to(CUDA), reference=batch.reference.to(CUDA))


def moved(state: TrainingState) -> TrainingState:
    return new_state(state.generator.to(CUDA), state.discriminator.to(CUDA))


def test_steps_on_a_gpu_have_the_gradients_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    play = play_of(AdversarialConfig(gamma=1.0, weight=0.5))
    here, there = make_state(), moved(make_state())
    for step in (discriminator_step, generator_step):
        step(here, [make_batch()], play, make_tools(here))
        tools = make_tools(there, watch=Stopwatch(CUDA))
        step(there, [on_cuda(make_batch())], play, tools)
        for name in ("generator", "discriminator"):
            pairs = zip(
                gradients(getattr(here, name)), gradients(getattr(there, name)), strict=True
            )
            for one, other in pairs:
                if one is not None and other is not None:
                    torch.testing.assert_close(other.cpu(), one, atol=1e-4, rtol=1e-3)


def test_a_training_in_halves_and_compiled_runs_through_all_stages() -> None:
    config = LoopConfig.model_validate(
        {
            "stages": {name: {"steps": 3} for name in ("fidelity", "warmup", "adversarial")},
            "batch_size": 2,
            "log_every": 1,
        }
    )
    lines: list[dict] = []
    hooks = Hooks(
        average_gradients=keep_gradients,
        average_values=lambda losses: {name: float(value) for name, value in losses.items()},
        validate=lambda generator: {},
        log=lines.append,
        checkpoint=lambda state: None,
    )
    state = moved(make_state())
    batches = (on_cuda(make_batch(range(2 * step, 2 * step + 2))) for step in range(9))
    train(state, batches, config, hooks, make_objective())
    assert [line["step"] for line in lines] == list(range(1, 10))
    shares = [value for name, value in lines[-1].items() if name.startswith("time_")]
    assert sum(shares) == pytest.approx(1)


def test_a_compiled_generator_has_the_gradients_of_the_network() -> None:
    state = moved(make_state())
    batch = on_cuda(make_batch())
    found = []
    for call in (state.generator, compiled(state.generator, "always", CUDA)):
        state.generator.zero_grad()
        call(batch.degraded).square().mean().backward()
        found.append([p.grad.clone() for p in state.generator.parameters() if p.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("name", ["photo", "film", "inpaint", "surveillance"])
def test_degradation_on_a_gpu_is_that_of_its_sample_alone(name: str) -> None:
    recipe = Recipe.model_validate(read_recipe(name))
    references = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(CUDA)
    seeds = [(0, index) for index in range(5)]
    together = degrade(references, recipe, scale=2, seeds=seeds).pixels
    assert together.device.type == "cuda" and together.shape == (5, 3, 32, 32)
    alone = degrade(references[3:4], recipe, scale=2, seeds=seeds[3:4]).pixels
    # A last bit can flip a rounding of JPEG or to 8 bits.
    assert float((together[3:4] - alone).abs().gt(2 / 255).float().mean()) < 0.05
