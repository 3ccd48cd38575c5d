"""A small transformer that learns the characters of a text, on the ranks of a gang.

    wattline submit --nodes 2 --torchrun -- examples/training/char_transformer.py --steps 2000
    python examples/training/char_transformer.py --steps 200

The first rank saves when `task.should_checkpoint()` says so, and every `--save-every` steps where
that is given. A new attempt resumes behind the newest intact checkpoint: the batch of a step
depends on its number alone, so that the weights at the end do not depend on interruptions.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from wattline import task
from wattline_runtime.train.gang import Gang, join_gang

TEXT = Path(__file__).with_name("alice.txt")
CONTEXT_CHARS, BATCH = 32, 8


class CharTransformer(nn.Module):
    """Predicts the next character from the ones before it."""

    def __init__(self, symbols: int, width: int, layers: int) -> None:
        super().__init__()
        self.symbol = nn.Embedding(symbols, width)
        self.place = nn.Embedding(CONTEXT_CHARS, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, symbols)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT_CHARS))

    def forward(self, text: Tensor) -> Tensor:
        """Scores of each next character."""
        hidden = self.symbol(text) + self.place(torch.arange(text.shape[1], device=text.device))
        scores: Tensor = self.head(self.layers(hidden, mask=self.mask, is_causal=True))
        return scores


class Training:
    """Model, optimizer and text of one rank; `step` steps are done."""

    def __init__(self, gang: Gang, options: argparse.Namespace) -> None:
        self.gang, self.seed = gang, options.seed
        text = options.text.read_text(encoding="utf-8")
        symbols = sorted(set(text))
        number = {symbol: at for at, symbol in enumerate(symbols)}
        self.text = torch.tensor([number[symbol] for symbol in text], device=gang.device)
        torch.manual_seed(options.seed)
        self.net = CharTransformer(len(symbols), options.width, options.layers).to(gang.device)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3)
        self.step = 0
        self._resume()
        self.parallel = gang.parallel(self.net)

    def _resume(self) -> None:
        found = task.latest() if self.gang.is_first else None
        state = torch.load(found.path, weights_only=True) if found else None
        if (state := self.gang.from_first(state)) is not None:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            print(f"resumes behind step {self.step}", flush=True)

    def run_step(self) -> float:
        """One batch of this rank; returns its loss."""
        place = self.step * self.gang.world_size + self.gang.rank
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + place)
        starts = torch.randint(len(self.text) - CONTEXT_CHARS - 1, (BATCH,), generator=draw)
        windows = torch.stack([self.text[at : at + CONTEXT_CHARS + 1] for at in starts.tolist()])
        self.optimizer.zero_grad()
        scores = self.parallel(windows[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())

    def save(self) -> None:
        """Save a checkpoint behind this step; for the first rank only."""
        parts = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        task.save(self.step, lambda path: torch.save({**parts, "step": self.step}, path))


def train(gang: Gang, options: argparse.Namespace) -> None:
    """To the last step, or to a stop notice, after which everything is saved."""
    training = Training(gang, options)
    while training.step < options.steps:
        loss = training.run_step()
        task.progress(training.step / options.steps, step=training.step, loss=loss)
        is_stopping = gang.any(task.stop_requested())
        if gang.is_first and (
            is_stopping
            or training.step == options.steps
            or (options.save_every and training.step % options.save_every == 0)
            or task.should_checkpoint()
        ):
            training.save()
        if is_stopping:
            return


def main() -> None:
    """Options; then train as one rank of the gang."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--save-every", type=int, default=0, help="steps; 0 = when Wattline asks")
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began_s = time.monotonic()
    with task.stoppable(), join_gang() as gang:
        task.metric(rendezvous_s=time.monotonic() - began_s)
        train(gang, options)


if __name__ == "__main__":
    main()
