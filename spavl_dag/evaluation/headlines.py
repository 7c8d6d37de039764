"""The numbers that stand for a checkpoint wherever checkpoints are compared: in the report, in MLflow and in DVC."""

from __future__ import annotations

from dataclasses import dataclass

from spavl_dag.evaluation.metrics import (
    ATTACK_SUCCESS_BY_JUDGE,
    ATTACK_SUCCESS_BY_KEYWORDS,
    EXACT_MATCH,
    HARM_SCORE,
    OVER_REFUSAL,
    UNSAFE_RATE,
    VQA_ACCURACY,
    WIN_RATE,
    YES_NO_ACCURACY,
    YES_NO_F1,
    Metric,
)


@dataclass(frozen=True, slots=True, eq=False)
class Headline:
    """A number that is followed from checkpoint to checkpoint: pooled over the variants of its benchmark.

    Attributes:
        key: Its name for programs.
        title: How it is shown.
        label: How it is shown where there is little room.
        benchmark: As in the scores.
        metrics: The metric, once for each rule that may stand for it, the one to be preferred first.
        in_dvc: Whether it is among the few that `dvc metrics show` prints.
    """

    key: str
    title: str
    label: str
    benchmark: str
    metrics: tuple[Metric, ...]
    in_dvc: bool = False

    @property
    def metric(self) -> str:
        """Name of the metric, as in the scores."""
        return self.metrics[0].name

    @property
    def rules(self) -> tuple[str, ...]:
        """Scoring rules, the one to be preferred first."""
        return tuple(metric.rule for metric in self.metrics)

    @property
    def name(self) -> str:
        """How its full names begin: benchmark and metric, as `metrics.metric_name` joins them."""
        return f"{self.benchmark}/{self.metric}"


_ATTACKED = (ATTACK_SUCCESS_BY_JUDGE, ATTACK_SUCCESS_BY_KEYWORDS)

UNSAFE = Headline("unsafe_rate", "HarmEval unsafe rate", "unsafe rate", "harm_eval", (UNSAFE_RATE,), in_dvc=True)
HARM = Headline("harm_score", "HarmEval harm score", "harm score", "harm_eval", (HARM_SCORE,), in_dvc=True)
HELP_WINS = Headline("win_rate", "HelpEval win rate", "win rate", "help_eval", (WIN_RATE,))
MM_SAFETYBENCH = Headline(
    "mm_safetybench_asr", "MM-SafetyBench attack success", "MM-Safety ASR", "mm_safetybench", _ATTACKED
)
ADVBENCH = Headline("advbench_asr", "AdvBench attack success", "AdvBench ASR", "advbench", _ATTACKED)

HEADLINES = (
    UNSAFE,
    HARM,
    HELP_WINS,
    MM_SAFETYBENCH,
    ADVBENCH,
    Headline("figstep_asr", "FigStep attack success", "FigStep ASR", "figstep", _ATTACKED),
    Headline("harmbench_asr", "HarmBench attack success", "HarmBench ASR", "harmbench", _ATTACKED),
    Headline("jailbreakv_asr", "JailBreakV attack success", "JailBreakV ASR", "jailbreakv", _ATTACKED),
    Headline("vlsbench_unsafe_rate", "VLSBench unsafe rate", "VLSBench unsafe", "vlsbench", (UNSAFE_RATE,)),
    Headline("xstest_contrast_asr", "XSTest unsafe contrasts", "XSTest contrasts", "xstest_contrast", _ATTACKED),
    Headline("pope_accuracy", "POPE accuracy", "POPE acc", "pope", (YES_NO_ACCURACY,), in_dvc=True),
    Headline("pope_f1", "POPE F1", "POPE F1", "pope", (YES_NO_F1,)),
    Headline("vqa_accuracy", "VQA accuracy", "VQA acc", "vqa", (VQA_ACCURACY, EXACT_MATCH)),
    Headline("caption_accuracy", "caption accuracy", "caption acc", "captions", (EXACT_MATCH,)),
    Headline("over_refusal", "over-refusal", "over-refusal", "xstest", (OVER_REFUSAL,), in_dvc=True),
)
"""In the order in which they are shown."""
