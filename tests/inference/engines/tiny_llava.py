"""A random tiny LLaVA as a real checkpoint, and requests to it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from spavl_dag.inference.request import ImageRef, Message, Request, single_turn

WORDS = [f"word{number}" for number in range(240)] + ["USER:", "ASSISTANT:", "SYSTEM:", "poison"]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | upper }}: "
    "{% if message['content'] is string %}{{ message['content'] }} {% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def build_checkpoint(folder: Path, *, seed: int = 0, context: int = 192, hidden: int = 48, layers: int = 2) -> Path:
    """Save a random LLaVA of the given size: 48 px images in 16 patches, word-level vocabulary."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": 48, "width": 48}, crop_size={"height": 48, "width": 48}, do_center_crop=False
        ),
        tokenizer=tokenizer,
        patch_size=12,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=hidden,
                intermediate_size=2 * hidden,
                num_hidden_layers=layers,
                num_attention_heads=4,
                image_size=48,
                patch_size=12,
                initializer_factor=20.0,
            ),
            text_config=LlamaConfig(
                vocab_size=len(vocabulary),
                hidden_size=hidden,
                intermediate_size=2 * hidden,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=context,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=0,
                initializer_range=0.3,
            ),
            image_token_index=vocabulary["<image>"],
            vision_feature_layer=-1,
            projector_hidden_act="gelu",
        )
    )
    with torch.no_grad():  # random models hardly ever stop by themselves and hardly see
        model.lm_head.weight[2] *= 2.5
        model.model.multi_modal_projector.linear_2.weight *= 20
    # Stray settings of a checkpoint, which must not matter (saving them needs do_sample).
    model.generation_config.update(do_sample=True, temperature=0.01, top_p=0.1, top_k=1, max_length=20)
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(seed: int, size: tuple[int, int] = (60, 40)) -> ImageRef:
    """A picture that differs with the seed."""
    image = Image.effect_mandelbrot(size, (-2.0 + seed / 50, -1.5, 1.0 + seed / 70, 1.5), 20 + seed % 50)
    buffer = io.BytesIO()
    image.convert("RGB").rotate(seed * 7).save(buffer, "PNG")
    return bytes_ref(buffer.getvalue())


def bytes_ref(data: bytes) -> ImageRef:
    """A reference to bytes."""
    read: Callable[[], bytes] = lambda: data  # noqa: E731
    return ImageRef(sha256=hashlib.sha256(data).hexdigest(), read=read)


def file_ref(path: Path) -> ImageRef:
    """A reference to an image file as it is now."""
    return ImageRef.of_file(path, hashlib.sha256(path.read_bytes()).hexdigest())


def request(
    prompt: str = "word1 word2",
    *,
    image: ImageRef | None = None,
    system: str | None = None,
    seed: int | None = None,
) -> Request:
    """A request whose key comes from everything it says, and whose seed comes from the key."""
    return conversation(*single_turn(prompt, image, system), seed=seed)


def conversation(*messages: Message, seed: int | None = None) -> Request:
    """A request of any shape, with key and seed like `request`."""
    said = [[role, [part.sha256 if isinstance(part, ImageRef) else part for part in parts]] for role, parts in messages]
    key = hashlib.blake2b(repr((said, seed)).encode(), digest_size=16).digest()
    return Request(key, messages, int.from_bytes(key[:8], "big") if seed is None else seed)
