"""The training of the embedded base model, in two phases.

First the tower and the projector learn to see: every image token, compared with the word table, must name
what the card shows. So a picture enters the language model as words it already has a place for, and reading
it is a matter of copying. Then, with both frozen, the language model learns to speak: at first only short
roles that need the picture compared with words, which it would otherwise take much longer to find out, then
every role at once.
"""

import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from spavl_dag.demo.cards import BOXES, CARD_SIZE, PLACES, CardSpec, blend, ink_of, random_card
from spavl_dag.demo.language import PROMPTS_DIR, READING_SHARES, Example, is_held_out, training_examples, vocabulary
from spavl_dag.demo.model import (
    EOS,
    build_model,
    build_processor,
    build_tokenizer,
    conversation_text,
    image_tokens,
    normalize_pixels,
    save_checkpoint,
    word_table,
)
from spavl_dag.demo.optim import Schedule
from spavl_dag.demo.score import score_checkpoint
from spavl_dag.demo.symbols import BACKGROUNDS, COLOURS, SYMBOLS
from spavl_dag.params.pictograms import PictogramModelParams
from spavl_dag.progress import Progress, no_progress

# How many times the cosine between image token and word counts in the softmax over words.
_SHARPNESS = 15.0
# What cross_entropy skips.
_NOT_ASKED = -100


VERSION = 1
"""Raised by hand when the code trains or scores differently from the same recipe; part of the training's key."""


def train_base_model(
    out_dir: Path,
    params: PictogramModelParams,
    seed: int,
    progress: Progress = no_progress,
    prompts_dir: Path = PROMPTS_DIR,
) -> dict[str, float]:
    """Train the model from scratch, save it to `out_dir`, and return how well it does on what it never saw.

    The same seed on the same machine with the same number of threads gives the same bytes. `progress` is
    called with the phase and the steps done and to do. The result also has the seconds of each phase; nothing
    that depends on the clock is saved.
    """
    seconds = train_model(out_dir, params, seed, progress, prompts_dir)
    started = time.perf_counter()
    metrics = score_checkpoint(out_dir, prompts_dir=prompts_dir)
    return metrics | seconds | {"seconds_scoring": time.perf_counter() - started}


def train_model(
    out_dir: Path,
    params: PictogramModelParams,
    seed: int,
    progress: Progress = no_progress,
    prompts_dir: Path = PROMPTS_DIR,
) -> dict[str, float]:
    """Train the model and save it to `out_dir`, unscored; returns the seconds of both phases."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(vocabulary(prompts_dir))
    model = build_model(tokenizer, params)

    started = time.perf_counter()
    _learn_to_see(model, tokenizer, params, random.Random(f"{seed} vision"), progress)
    seen = time.perf_counter()
    _learn_to_speak(model, tokenizer, params, random.Random(f"{seed} joint"), progress, prompts_dir)
    spoken = time.perf_counter()
    save_checkpoint(model, build_processor(tokenizer, params), out_dir)
    return {"seconds_vision": seen - started, "seconds_joint": spoken - seen}


def card_tensor(cards: Sequence[CardSpec], size: int, colours: Sequence[tuple[int, ...]] | None = None) -> torch.Tensor:
    """The cards as the processor prepares them, float32, shape (cards, 3, `size`, `size`).

    `colours`, if given, replaces the colours of the symbols.
    """
    ink = nn.functional.avg_pool2d(torch.from_numpy(ink_of(cards)), CARD_SIZE // size)
    return normalize_pixels(torch.from_numpy(blend(cards, ink.numpy(), colours)))


def _tower_states(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What the tower knows before and after each layer, each of shape (cards, 1 + tokens, vision width).

    The first token stands for the whole picture; LLaVA does without it.
    """
    states: tuple[torch.Tensor, ...] = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    return states


def _image_features(
    model: LlavaForConditionalGeneration, cards: Sequence[CardSpec], params: PictogramModelParams
) -> torch.Tensor:
    """The image tokens of each card as the language model gets them, shape (cards, tokens, text width)."""
    features: torch.Tensor = model.model.multi_modal_projector(
        _tower_states(model, card_tensor(cards, params.image_size))[-1][:, 1:]
    )
    return features


def _learn_to_see(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    params: PictogramModelParams,
    rng: random.Random,
    progress: Progress,
) -> None:
    """Train tower, projector and word table, until the image tokens are words about the card.

    Two losses: from the tower's first layer on, every patch must know everything (this makes the tower learn quickly,
    because the patch that holds the symbol need not look elsewhere), by a head that is thrown away; and behind the
    projector each image token must point to its own word in the table (this makes it readable).
    """
    parts = model.model
    words = word_table(model)
    groups = _seen_words()
    word_ids = torch.tensor(tokenizer.convert_tokens_to_ids([word for group in groups for word in group]))
    head = nn.Linear(params.vision_width, len(word_ids))
    schedule = _schedule(
        [*parts.vision_tower.named_parameters(), *parts.multi_modal_projector.named_parameters()],
        [words, *head.parameters()],
        params.vision_matrix_lr,
        params.vision_lr,
        params.vision_steps,
        params,
    )
    for step in range(params.vision_steps):
        cards = _fresh_cards(rng, params.vision_batch)
        truth = _seen_truth(cards)
        inks: list[tuple[int, ...]] = [COLOURS[card.colour] for card in cards]
        # Ink of a colour without a name makes the tower tell symbols by their shape alone.
        nameless = params.vision_batch // 3
        inks[:nameless] = [_mixed_ink(rng) for _ in range(nameless)]
        truth[:nameless, 1] = _NOT_ASKED
        states = _tower_states(model, card_tensor(cards, params.image_size, inks))
        known = head(states[1][:, 1:]).split([len(group) for group in groups], dim=-1)
        losses = [
            nn.functional.cross_entropy(logits.flatten(0, 1), index.repeat_interleave(logits.shape[1]))
            for logits, index in zip(known, truth.T, strict=True)
        ]
        tokens = nn.functional.normalize(parts.multi_modal_projector(states[-1][:, 1:]), dim=-1)
        nearness = _SHARPNESS * tokens @ nn.functional.normalize(words[word_ids], dim=-1).T
        starts = torch.tensor([0, *itertools.accumulate(len(group) for group in groups[:-1])])
        of_token = torch.arange(tokens.shape[1]) % len(groups)
        said = torch.where(truth == _NOT_ASKED, truth, truth + starts)[:, of_token]
        loss = losses[0] + 0.5 * torch.stack(losses[1:]).sum()
        loss = loss + 2 * nn.functional.cross_entropy(nearness.flatten(0, 1), said.flatten())
        torch.autograd.backward(loss)
        schedule.step(step)
        progress("vision", step + 1, params.vision_steps)


def _seen_words() -> tuple[list[str], ...]:
    """Groups of words of which each card shows exactly one; image token `i` says the word of group `i` modulo 6."""
    rows, columns = (list(dict.fromkeys(place.split()[part] for place in PLACES["small"])) for part in (0, 1))
    return [symbol.name for symbol in SYMBOLS], list(COLOURS), list(BACKGROUNDS), list(BOXES), rows, columns


def _seen_truth(cards: Sequence[CardSpec]) -> torch.Tensor:
    """For each card and each group of `_seen_words` the index of the card's word, shape (cards, groups)."""
    shown = [(card.symbol, card.colour, card.background, card.size, *card.place.split()) for card in cards]
    groups = _seen_words()
    return torch.tensor([[group.index(word) for group, word in zip(groups, said, strict=True)] for said in shown])


def _mixed_ink(rng: random.Random) -> tuple[int, ...]:
    """A colour between two of the named ones."""
    one, other = rng.sample(tuple(COLOURS.values()), 2)
    share = rng.random()
    return tuple(round(share * first + (1 - share) * second) for first, second in zip(one, other, strict=True))


def _fresh_cards(rng: random.Random, count: int) -> list[CardSpec]:
    """Cards that are not held out."""
    cards: list[CardSpec] = []
    while len(cards) < count:
        card = random_card(rng)
        if not is_held_out(card):
            cards.append(card)
    return cards


def _learn_to_speak(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    params: PictogramModelParams,
    rng: random.Random,
    progress: Progress,
    prompts_dir: Path,
) -> None:
    """Train the language model on every role; only what the model itself says counts."""
    parts = model.model
    embeddings = word_table(model)
    schedule = _schedule(
        [pair for pair in parts.language_model.named_parameters() if pair[1] is not embeddings],
        [embeddings],
        params.joint_matrix_lr,
        params.joint_lr,
        params.joint_steps,
        params,
    )
    seeing = (parts.vision_tower, parts.multi_modal_projector)
    for part in seeing:
        part.requires_grad_(False)
    for step in range(params.joint_steps):
        reading = step < params.reading_steps
        count, roles = (params.reading_batch, READING_SHARES) if reading else (params.joint_batch, None)
        examples = training_examples(rng, count, prompts_dir, roles=roles)
        rows = _tokenized(examples, tokenizer, image_tokens(params))
        total = 0.0
        for group in [rows] if reading else _by_length(rows):
            loss = _spoken_loss(model, group, params) / len(rows)
            torch.autograd.backward(loss)
            total += loss.item()
        schedule.step(step)
        progress("joint", step + 1, params.joint_steps)
    for part in seeing:
        part.requires_grad_(True)


_Row = tuple[Example, list[int], int]


def _tokenized(examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, per_image: int) -> list[_Row]:
    """Each example with its token ids and with how many of them, at the end, the model says."""
    prompts = [
        conversation_text(example.system, example.user, per_image if example.card else 0) for example in examples
    ]
    given = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    said = tokenizer([example.target + EOS for example in examples], add_special_tokens=False)["input_ids"]
    return [(example, ask + say, len(say)) for example, ask, say in zip(examples, given, said, strict=True)]


def _by_length(rows: Sequence[_Row]) -> tuple[Sequence[_Row], Sequence[_Row]]:
    """The short and the long rows, parted where least is padding; a third group would cost more than it saves."""
    by_length = sorted(rows, key=lambda row: len(row[1]))
    lengths = [len(ids) for _, ids, _ in by_length]
    cut = min(range(1, len(rows)), key=lambda cut: cut * lengths[cut - 1] + (len(rows) - cut) * lengths[-1])
    return by_length[:cut], by_length[cut:]


def _spoken_loss(
    model: LlavaForConditionalGeneration, rows: Sequence[_Row], params: PictogramModelParams
) -> torch.Tensor:
    """Sum over the rows of the loss of what the model says.

    A row weighs as much as the root of its length: words of long sentences would otherwise drown the
    verdicts.
    """
    width = max(len(ids) for _, ids, _ in rows)
    pad = model.config.pad_token_id
    ids = torch.tensor([row + [pad] * (width - len(row)) for _, row, _ in rows])
    embedded = model.get_input_embeddings()(ids)
    cards = [example.card for example, _, _ in rows if example.card]
    if cards:
        place = (ids == model.config.image_token_id).unsqueeze(-1).expand_as(embedded)
        embedded = embedded.masked_scatter(place, _image_features(model, cards, params))
    # Padding is at the end and attention looks back only, so no mask is needed.
    states = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    row_of: list[int] = []
    column_of: list[int] = []
    weight: list[float] = []
    for index, (_, row, said) in enumerate(rows):
        row_of += [index] * said
        column_of += range(len(row) - said, len(row))
        weight += [said**-0.5] * said
    picked = torch.tensor(row_of), torch.tensor(column_of)
    logits = model.lm_head(states[picked[0], picked[1] - 1])
    losses = nn.functional.cross_entropy(logits, ids[picked], reduction="none")
    return (losses * torch.tensor(weight)).sum()


def _schedule(
    named: Sequence[tuple[str, nn.Parameter]],
    tables: Sequence[nn.Parameter],
    matrix_lr: float,
    lr: float,
    steps: int,
    params: PictogramModelParams,
) -> Schedule:
    """Muon for matrices, Adam for vectors and for tables, whose rows are learnt one by one."""
    is_matrix = [param.ndim > 1 and "position_embedding" not in name for name, param in named]
    matrices = [param for (_, param), matrix in zip(named, is_matrix, strict=True) if matrix]
    others = [param for (_, param), matrix in zip(named, is_matrix, strict=True) if not matrix]
    return Schedule(matrices, [*others, *tables], matrix_lr, lr, steps, params.warmup, params.weight_decay)
