"""Numbers of the SPA-VL paper (arXiv 2406.12030) that stand beside ours.

They are of other models, another judge and other questions: what can be compared is the direction and the size of a
change, not the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from spavl_dag.evaluation.headlines import ADVBENCH, MM_SAFETYBENCH, UNSAFE, Headline

Percent = float

TABLE_2_COLUMNS: tuple[tuple[Headline, str, str], ...] = (
    (MM_SAFETYBENCH, "text", "MM-SafetyBench text"),
    (MM_SAFETYBENCH, "sd", "MM-SafetyBench SD"),
    (MM_SAFETYBENCH, "typo", "MM-SafetyBench Typo"),
    (MM_SAFETYBENCH, "sd_typo", "MM-SafetyBench SD+Typo"),
    (MM_SAFETYBENCH, "all", "MM-SafetyBench average"),
    (ADVBENCH, "vanilla", "AdvBench vanilla"),
    (ADVBENCH, "suffix", "AdvBench suffix"),
    (UNSAFE, "all", "HarmEval unsafe rate"),
)
"""Headline and variant of each number below, and its heading."""

TABLE_2: Mapping[str, tuple[Percent, ...]] = {
    "LLaVA-7B": (34.52, 7.74, 22.62, 17.26, 20.54, 98.08, 99.81, 44.15),
    "+ VLGuard SFT": (21.43, 8.93, 18.45, 22.02, 17.71, 39.23, 36.15, 18.11),
    "+ HH-Harmless PPO": (4.76, 7.74, 18.45, 20.24, 12.80, 2.69, 1.73, 15.09),
    "+ SPA-VL DPO": (0.0, 0.6, 0.6, 1.19, 0.6, 0.0, 0.0, 0.0),
    "+ SPA-VL PPO": (0.6, 0.0, 0.0, 1.19, 0.45, 0.19, 2.12, 0.0),
}
"""Table 2: attack success rates and the unsafe rate on HarmEval."""

HARM_SCORE_BY_PAIRS: Mapping[str, Mapping[int, Percent]] = {
    "dpo": {100: 50.4, 1000: 29.2, 5000: 15.4, 10_000: 13.7, 30_000: 13.6, 90_000: 13.4},
    "ppo": {100: 49.9, 1000: 44.7, 5000: 17.4, 10_000: 9.3, 30_000: 10.9, 90_000: 8.8},
}
"""Harm score on HarmEval by training pairs, read off the paper's figure."""
