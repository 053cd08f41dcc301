"""What was claimed of the models, whether the numbers bear it out, and how numbers are written."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

Metrics = dict[str, float]
Results = dict[str, Metrics]  # name of a finished run, or of "run, decoding" -> metrics

# How metrics are called, which way is better, and their format; others go by their own name.
METRICS = {
    "loss": ("Loss ↓", ".4g"),
    "l_reg": ("L_reg ↓", ".0f"),
    "acc_u": ("Acc.U ↑", ".3f"),
    "acc_v": ("Acc.V ↑", ".3f"),
    "sat_diff": ("Sat. diff ↓", ".3f"),
    "colorfulness": ("Colorfulness", ".1f"),
    "delta_colorfulness": ("Δ colorfulness ↓", ".1f"),
    "psnr": ("PSNR, dB ↑", ".2f"),
    "ssim": ("SSIM ↑", ".3f"),
    "colorfulness_absolute": ("CF", ".1f"),
    "delta_colorfulness_absolute": ("ΔCF ↓", ".1f"),
    "auc": ("AuC ↑", ".3f"),
    "auc_rebalanced": ("AuC reb. ↑", ".3f"),
    "saturation": ("Saturation", ".3f"),
    "delta_saturation": ("Δ saturation ↓", ".3f"),
}
NO_BREAK = "\u00a0"  # a space at which no line ends
TRUE = "_true"  # ends the name of what the photographs themselves have of a metric
SEEDS = ("classification", "another_seed")  # two runs that differ by their seed alone


class Claim(NamedTuple):
    """A sentence that holds if all its comparisons, (metric, run, "<" or ">", other run), do."""

    sentence: str
    comparisons: Sequence[tuple[str, str, str, str]]
    shown: Sequence[str] = ()  # metrics of the first comparison's runs to be told besides


class Finding(NamedTuple):
    verdict: str  # held, did not hold, not run
    numbers: str
    beyond_seeds: bool = True  # is every difference larger than that of two seeds?


def chosen(sentence: str, metric: str, sign: str, *others: str) -> Claim:
    """What the paper chose is better than each of the `others`, all else being the same."""
    return Claim(sentence, [(metric, "classification", sign, other) for other in others])


# What the paper says, in our words; most of it without a number, so the metrics are our choice.
PAPER_CLAIMS = (
    # Of the two models' results (the paper, section 5.3) ...
    Claim(
        "Regression comes out less saturated than classification",
        [
            ("colorfulness", "regression", "<", "classification"),
            ("sat_diff", "regression", ">", "classification"),
        ],
    ),
    Claim(
        "So it does by Huber's loss",
        [
            ("colorfulness", "regression_huber", "<", "classification"),
            ("sat_diff", "regression_huber", ">", "classification"),
        ],
    ),
    Claim(
        "And so with another seed of both",
        [
            ("colorfulness", "regression_huber_another_seed", "<", "another_seed"),
            ("sat_diff", "regression_huber_another_seed", ">", "another_seed"),
        ],
    ),
    # ... of the regression's loss: l2 first, later Huber's, "ideal" (the paper, section 3.5) ...
    Claim("Huber's loss does better than l2", [("l_reg", "regression_huber", "<", "regression")]),
    # ... and of the alternatives that were tried (the paper, section 5.2). HSV made pictures noisy,
    # of which model is not said.
    Claim(
        "Regression does better in LUV than in HSV",
        [("l_reg", "regression", "<", "regression_hsv")],
    ),
    chosen("Joining the maps (concat) does better than their sum", "loss", "<", "merge_sum"),
    chosen("Residual units do better than the max-pools as they are", "loss", "<", "pools"),
    chosen("Three final convolutions do better than one or two", "loss", "<", "final_1", "final_2"),
    Claim(
        "Classification does better in LUV than in HSV",
        [
            ("l_reg", "classification", "<", "hsv"),
            ("acc_u", "classification", ">", "hsv"),
            ("acc_v", "classification", ">", "hsv"),
        ],
    ),
    chosen("Batches of 6 do better than those of 4", "loss", "<", "batch_4"),
    chosen("Adam's b2 of 0.999 does better than 0.99", "loss", "<", "adam_b2_0.99"),
    chosen("Adam does better than Nesterov's momentum", "loss", "<", "nesterov"),
)
# What one would expect of the paper's models, but no part of its text that we have says: its memory
# was too small to train the final model on batches of 8 or 12.
OUR_CLAIMS = (
    Claim("Regression has the lower L_reg", [("l_reg", "regression", "<", "classification")]),
    Claim(
        "Classification has the higher accuracies",
        [
            ("acc_u", "classification", ">", "regression"),
            ("acc_v", "classification", ">", "regression"),
        ],
    ),
    chosen("Batches of 6 do better than those of 8 and 12", "loss", "<", "batch_8", "batch_12"),
)
LATER_CLAIMS = (
    Claim(
        "Rebalancing brings colorfulness up towards the photographs'",
        [
            ("colorfulness", "channels_rebalanced", ">", "classification"),
            ("delta_colorfulness", "channels_rebalanced", "<", "classification"),
        ],
        shown=("psnr",),
    ),
    Claim(
        "So it does with soft targets and joint bins (Zhang et al. 2016)",
        [("colorfulness", "zhang", ">", "joint"), ("delta_colorfulness", "zhang", "<", "joint")],
        shown=("psnr",),
    ),
    Claim(
        "The annealed mean brings colorfulness up towards the photographs', from the mean's",
        [
            ("colorfulness", "classification, annealed 0.38", ">", "classification, mean"),
            ("delta_colorfulness", "classification, annealed 0.38", "<", "classification, mean"),
        ],
        shown=("psnr",),
    ),
    Claim(
        "The mean has the higher PSNR than argmax, at less colorfulness",
        [
            ("psnr", "classification, mean", ">", "classification, argmax"),
            ("colorfulness", "classification, mean", "<", "classification, argmax"),
        ],
    ),
)


def is_about(claim: Claim, runs: Collection[str]) -> bool:
    """Whether all runs that a claim compares are among `runs`, however they are decoded."""
    compared = {name for _, run, _, other in claim.comparisons for name in (run, other)}
    return all(name.partition(",")[0] in runs for name in compared)


def judge(claim: Claim, results: Results) -> Finding:
    """Checks a claim against the numbers; `not run` if a run, or a metric of it, is missing."""
    holds, beyond = True, True
    spread = spread_of_seeds(results)
    told: dict[str, Metrics] = {}  # metric -> what each run has of it
    for metric, run, sign, other in claim.comparisons:
        for name in (run, other):
            if metric not in results.get(name, {}):
                return Finding("not run", f"`{name}` has no numbers")
            told.setdefault(metric, {})[name] = results[name][metric]
        a, b = results[run][metric], results[other][metric]
        holds &= a < b if sign == "<" else a > b
        beyond &= not abs(a - b) <= spread.get(metric, 0.0)
    _, run, _, other = claim.comparisons[0]
    for metric in claim.shown:
        told[metric] = {n: results[n][metric] for n in (run, other) if metric in results[n]}
    numbers = [in_words(metric, of_runs, results[run]) for metric, of_runs in told.items()]
    return Finding("held" if holds else "did not hold", "; ".join(numbers), beyond)


def in_words(metric: str, of_runs: Metrics, photographs: Metrics) -> str:
    """Such as "Colorfulness: `mean` 21.3, `argmax` 40.1, photographs 38.2"."""
    named = {f"`{name}`": value for name, value in of_runs.items()}
    if metric + TRUE in photographs:
        named["photographs"] = photographs[metric + TRUE]
    name = heading(metric).rstrip(f"{NO_BREAK}↑↓")
    return f"{name}: " + ", ".join(f"{k} {number(metric, v)}" for k, v in named.items())


def spread_of_seeds(results: Results) -> Metrics:
    """By how much each metric differs between the two runs of SEEDS; empty if not both were run."""
    one, two = (results.get(name, {}) for name in SEEDS)
    return {metric: abs(one[metric] - two[metric]) for metric in one.keys() & two.keys()}


def heading(metric: str) -> str:
    name, _ = METRICS.get(metric, (metric, ""))
    return name.replace(" ↑", f"{NO_BREAK}↑").replace(" ↓", f"{NO_BREAK}↓")


def number(metric: str, value: float | None) -> str:
    return "" if value is None else format(value, METRICS.get(metric, ("", ".4g"))[1])
