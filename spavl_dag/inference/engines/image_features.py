"""Images to model inputs, each image once: a cache of what the image processor made of it.

Many models and prompts ask about the same images, and preprocessing one costs more than a short answer of a
small model.  Processors of transformers take whole batches, so the cache stands in for their image processor;
whether that gives exactly what the processor itself gives is tried out when a model is loaded, and done
without where it doesn't.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature

from spavl_dag.inference.request import ImageRef
from spavl_dag.media.decode import decode_image

Features = dict[str, Any]
"""What an image processor returns for one image: tensors (first axis: images or patches) and lists."""

_KEY = "spavl_sha256"


class UnjoinableError(Exception):
    """Features of single images don't make up those of a batch (sizes differ and padding would be needed)."""


class FeatureCache:
    """The features used last, bounded by their size in bytes."""

    def __init__(self, max_bytes: int) -> None:
        """Start empty; `max_bytes` of 0 keeps nothing."""
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, Features] = OrderedDict()
        self.bytes = 0

    def get(self, sha256: str) -> Features | None:
        """Look up an image and mark it as used."""
        features = self._entries.get(sha256)
        if features is not None:
            self._entries.move_to_end(sha256)
        return features

    def put(self, sha256: str, features: Features) -> None:
        """Keep an image's features, and let go of those not used for longest."""
        self._entries[sha256] = features
        self.bytes += _size(features)
        while self.bytes > self._max_bytes and self._entries:
            _, dropped = self._entries.popitem(last=False)
            self.bytes -= _size(dropped)

    def clear(self) -> None:
        """Let go of everything."""
        self._entries.clear()
        self.bytes = 0


def join_features(parts: Sequence[Features]) -> Features:
    """Put the features of single images together to those of a batch, in the given order.

    Raises:
        UnjoinableError: They differ in more than the length of their first axis.
    """
    joined: Features = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if all(isinstance(value, torch.Tensor) for value in values):
            if len({(value.shape[1:], value.dtype) for value in values}) > 1:
                raise UnjoinableError(name)
            joined[name] = torch.cat(values)
        elif all(isinstance(value, list) for value in values):
            joined[name] = [item for value in values for item in value]
        else:
            raise UnjoinableError(name)
    return joined


class ImageInputs:
    """A processor whose images are decoded and preprocessed one by one, and remembered."""

    def __init__(self, processor: Any, probe_text: str, cache_bytes: int) -> None:
        """Try out whether remembered features can stand in for images.

        Args:
            processor: The model's processor; its `image_processor` is replaced if they can.
            probe_text: A rendered prompt with one image.
            cache_bytes: Bound of the cache.
        """
        self._processor = processor
        self._cache = FeatureCache(cache_bytes)
        self._stand_in = _StandIn(processor.image_processor)
        self._pictures: dict[str, Image.Image] = {}
        self.remembers = self._try_out(probe_text)

    def __call__(self, texts: list[str], images: Sequence[Sequence[ImageRef]], **kwargs: Any) -> Mapping[str, Any]:
        """Make the inputs of prompts with the images of each; every image must have passed `load`."""
        if self.remembers:
            try:
                return self._from_stand_ins(texts, [[image.sha256 for image in row] for row in images], **kwargs)
            except UnjoinableError:
                pass
        for row in images:
            for image in row:
                self._decode(image)
        inputs: Mapping[str, Any] = self._processor(
            text=texts, images=[[self._pictures[image.sha256] for image in row] for row in images], **kwargs
        )
        return inputs

    def load(self, image: ImageRef) -> None:
        """Decode an image and preprocess it, so that a bad one is found before it meets others.

        Raises:
            OSError: The bytes can't be read.
            ChangedImageError: They aren't the image's.
            UnreadableImageError: The bytes are no picture.
        """
        if not self.remembers:
            self._decode(image)
            return
        if image.sha256 in self._stand_in.ready:
            return
        features = self._cache.get(image.sha256)
        if features is None:
            features = self._stand_in.features_of(decode_image(image.read()))
            self._cache.put(image.sha256, features)
        self._stand_in.ready[image.sha256] = features

    def end_batch(self) -> None:
        """Let go of what only this batch needed."""
        self._stand_in.ready.clear()
        self._pictures.clear()

    def clear(self) -> None:
        """Let go of everything."""
        self.end_batch()
        self._cache.clear()

    def _decode(self, image: ImageRef) -> None:
        if image.sha256 not in self._pictures:
            self._pictures[image.sha256] = decode_image(image.read())

    def _from_stand_ins(self, texts: list[str], keys: Sequence[Sequence[str]], **kwargs: Any) -> Mapping[str, Any]:
        images = [[_marked(key) for key in row] for row in keys]
        inner = self._processor.image_processor
        self._processor.image_processor = self._stand_in
        try:
            inputs: Mapping[str, Any] = self._processor(text=texts, images=images, **kwargs)
        finally:
            self._processor.image_processor = inner
        return inputs

    def _try_out(self, probe_text: str) -> bool:
        pictures = {"wide": Image.linear_gradient("L").resize((90, 40)).convert("RGB")}
        pictures["high"] = Image.radial_gradient("L").resize((48, 64)).convert("RGB")
        kwargs: dict[str, Any] = {"return_tensors": "pt", "padding": True}
        texts = [probe_text] * len(pictures)
        plain = self._stand_in.watch(self._processor, texts, [[picture] for picture in pictures.values()], kwargs)
        try:
            for name, picture in pictures.items():
                self._stand_in.ready[name] = self._stand_in.features_of(picture)
            remembered = self._from_stand_ins(texts, [[name] for name in pictures], **kwargs)
            return _same(plain, remembered)
        except Exception:  # whatever a processor that needs the pixels themselves stumbles over
            return False
        finally:
            self.end_batch()


class _StandIn:
    """Takes the place of an image processor and looks up the features of marked images."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._kwargs: dict[str, Any] = {}
        self.ready: dict[str, Features] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, images: Any, **kwargs: Any) -> BatchFeature:
        return BatchFeature(join_features([self.ready[image.info[_KEY]] for image in _flat(images)]))

    def watch(self, processor: Any, texts: list[str], images: Any, kwargs: dict[str, Any]) -> Mapping[str, Any]:
        """Run a processor as it is and note with which arguments it calls its image processor."""
        stand_in = self

        class Watched:
            def __getattr__(self, name: str) -> Any:
                return getattr(stand_in._inner, name)

            def __call__(self, images: Any, **arguments: Any) -> Any:
                stand_in._kwargs = arguments
                return stand_in._inner(images, **arguments)

        processor.image_processor = Watched()
        try:
            inputs: Mapping[str, Any] = processor(text=texts, images=images, **kwargs)
        finally:
            processor.image_processor = self._inner
        return inputs

    def features_of(self, picture: Image.Image) -> Features:
        """Preprocess one picture with the arguments the processor uses."""
        return dict(self._inner([picture], **self._kwargs))


def _marked(key: str) -> Image.Image:
    image = Image.new("RGB", (1, 1))
    image.info[_KEY] = key
    return image


def _flat(images: Any) -> list[Image.Image]:
    return [leaf for item in images for leaf in _flat(item)] if isinstance(images, (list, tuple)) else [images]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if set(one) != set(other):
        return False
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            if not (isinstance(other[name], torch.Tensor) and torch.equal(value, other[name])):
                return False
        elif value != other[name]:
            return False
    return True


def _size(features: Features) -> int:
    return sum(value.nbytes for value in features.values() if isinstance(value, torch.Tensor))
