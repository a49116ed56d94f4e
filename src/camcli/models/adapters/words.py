"""Networks of transformers' that take words with a picture: they answer questions about it, or write what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Tokens of a question or caption, at most: longer questions are refused, captions end there.
LONGEST = 40
_EXAMPLE = "what is it"
# Marks of tokens that begin a word, of byte-level BPE and of SentencePiece. WordPiece marks the others instead.
_BEGINS = ("Ġ", "▁")
CONTINUES = "##"


class Answers(nn.Module):
    """Scores of the answers (N, K) to questions about pictures (N, 3, H, W), of a network that reads both together."""

    task = "answer"

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self._tokenizer = tokenizer
        self._longest = min(LONGEST, int(model.config.max_position_embeddings))  # type: ignore[union-attr, arg-type]
        self.takes: Mapping[str, Any] = {"question": _EXAMPLE}

    def encode(self, question: str) -> tuple[Tensor, Tensor]:
        """(the ids of the question's tokens, filled up, and which of them are the question's) (L,) each.

        Raises: ValueError: it is longer than the network takes.
        """
        ids = self._tokenizer(question)["input_ids"]
        if len(ids) > self._longest:
            raise ValueError(f"a question of {len(ids)} tokens, and at most {self._longest} are taken")
        filled = self._tokenizer(question, padding="max_length", max_length=self._longest, return_tensors="pt")
        return filled["input_ids"][0], filled["attention_mask"][0]

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        with _InOrder():
            scores: Tensor = self.model(pixel_values=images, input_ids=ids, attention_mask=mask).logits
        return scores


class _InOrder(TorchFunctionMode):
    """Makes a draw of all of several the draw that leaves them in their order.

    ViLT shuffles the patches of each picture, after each has got its position. The order is nothing to its blocks, but
    a map needs it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.multinomial and len(args) == 2 and args[0].ndim == 1 and len(args[0]) == args[1]:
            return torch.arange(args[1], device=args[0].device)
        return func(*args, **(kwargs or {}))


class Captions(nn.Module):
    """Scores of the tokens of captions (N, T, V), each given the picture and the tokens before it.

    start, end: the ids of the token that a caption begins after, and of the one that ends it. given: the name by which
    the model takes tokens.
    """

    task = "caption"

    def __init__(self, model: nn.Module, tokenizer: Any, start: int, end: int, vocabulary: int, given: str) -> None:
        super().__init__()
        self.model = model
        self.start, self.end = start, end
        self.labels = _pieces(tokenizer, vocabulary)
        self.takes: Mapping[str, Any] = {"caption": _EXAMPLE}
        self._tokenizer, self._given = tokenizer, given

    def encode(self, caption: str) -> Tensor:
        """The ids of its tokens, then `end` up to the longest (T,). Raises: ValueError: it is longer, or empty."""
        ids = self._tokenizer(caption, add_special_tokens=False)["input_ids"]
        if not 0 < len(ids) < LONGEST:
            raise ValueError(f"a caption of {len(ids)} tokens, and 1 to {LONGEST - 1} are taken")
        return torch.tensor(ids + [self.end] * (LONGEST - len(ids)))

    def generate(self, images: Tensor) -> Tensor:
        """The likeliest token after those before, one after the other, then `end` (N, T)."""
        write: Any = self.model.generate
        made = write(pixel_values=images, max_new_tokens=LONGEST - 1, do_sample=False, num_beams=1)
        # What the model is started with comes first, once or twice.
        begun = int((made == self.start).all(0).long().cumprod(0).sum())
        tokens = torch.full((len(images), LONGEST), self.end, device=images.device)
        written = made[:, begun : begun + LONGEST - 1]
        tokens[:, : written.shape[1]] = written
        over = (tokens == self.end).cumsum(1) > 0
        return tokens.masked_fill(over, self.end)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(tokens[:, :1], self.start), tokens[:, :-1]], dim=1)
        scores: Tensor = self.model(pixel_values=images, **{self._given: before}).logits
        return scores[:, -tokens.shape[1] :]


def _pieces(tokenizer: Any, count: int) -> tuple[str, ...]:
    """The tokens' texts by id; one that goes on the word before it has the mark of that before it."""
    known: Sequence[str | None] = tokenizer.convert_ids_to_tokens(range(min(count, len(tokenizer))))
    begins = next((mark for mark in _BEGINS if any(token and token.startswith(mark) for token in known)), None)
    texts = []
    for number in range(count):
        token = known[number] if number < len(known) else None
        if token is None:
            texts.append(f"token {number}")
            continue
        text = token if begins is None else tokenizer.convert_tokens_to_string([token]).strip()
        texts.append(f"{CONTINUES}{text}" if begins is not None and not token.startswith(begins) else text)
    return tuple(texts)
