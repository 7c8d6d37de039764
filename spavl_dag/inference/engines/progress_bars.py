"""Progress bars of transformers and the hub."""

from huggingface_hub.utils.tqdm import enable_progress_bars
from transformers.utils.logging import disable_progress_bar


def hide_loading_bars() -> None:
    """Hide the bars of loading and saving, which would drown our own; downloads, which last, keep theirs."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    enable_progress_bars()
