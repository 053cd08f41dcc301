"""Claims about the models, their verdicts from measured metrics, and the format of metrics."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

Metrics = dict[str, float]
Results = dict[str, Metrics]  # name of a finished run, or "run, decoding" -> metrics

# Heading and format of each metric; an arrow shows the better direction. Other metrics are shown by
# their key.
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
NO_BREAK = "\u00a0"  # no-break space
TRUE = "_true"  # suffix of a metric of the photographs themselves
SEEDS = ("classification", "another_seed")  # two runs that differ only in their seed


class Claim(NamedTuple):
    """A sentence that holds if all its comparisons hold: (metric, run, "<" or ">", other run)."""

    sentence: str
    comparisons: Sequence[tuple[str, str, str, str]]
    shown: Sequence[str] = ()  # further metrics to report of the first comparison's runs


class Finding(NamedTuple):
    """The verdict on a claim."""

    verdict: str  # held, did not hold, not run
    numbers: str
    beyond_seeds: bool = True  # every difference exceeds that between two seeds


def choice_beats(sentence: str, metric: str, sign: str, *others: str) -> Claim:
    """Returns the claim that the paper's choice is better than each of `others`, all else equal."""
    return Claim(sentence, [(metric, "classification", sign, other) for other in others])


# What the paper claims, in our words. It gives few numbers, so we chose the metrics.
PAPER_CLAIMS = (
    # On the results of the two models (the paper, section 5.3).
    Claim(
        "Regression is less saturated than classification",
        [
            ("colorfulness", "regression", "<", "classification"),
            ("sat_diff", "regression", ">", "classification"),
        ],
    ),
    Claim(
        "Regression with Huber's loss is less saturated too",
        [
            ("colorfulness", "regression_huber", "<", "classification"),
            ("sat_diff", "regression_huber", ">", "classification"),
        ],
    ),
    Claim(
        "Regression with Huber's loss is less saturated with another seed too",
        [
            ("colorfulness", "regression_huber_another_seed", "<", "another_seed"),
            ("sat_diff", "regression_huber_another_seed", ">", "another_seed"),
        ],
    ),
    # On the regression loss: first l2, later Huber's, called "ideal" (the paper, section 3.5).
    Claim("Huber's loss does better than l2", [("l_reg", "regression_huber", "<", "regression")]),
    # On the alternatives that were tried (the paper, section 5.2). It says that HSV made pictures
    # noisy, but not for which model.
    Claim(
        "Regression does better in LUV than in HSV",
        [("l_reg", "regression", "<", "regression_hsv")],
    ),
    choice_beats("Joining the maps (concat) does better than their sum", "loss", "<", "merge_sum"),
    choice_beats("Residual units do better than plain max-pools", "loss", "<", "pools"),
    choice_beats(
        "Three final convolutions do better than one or two", "loss", "<", "final_1", "final_2"
    ),
    Claim(
        "Classification does better in LUV than in HSV",
        [
            ("l_reg", "classification", "<", "hsv"),
            ("acc_u", "classification", ">", "hsv"),
            ("acc_v", "classification", ">", "hsv"),
        ],
    ),
    choice_beats("Batches of 6 do better than those of 4", "loss", "<", "batch_4"),
    choice_beats("Adam's b2 of 0.999 does better than 0.99", "loss", "<", "adam_b2_0.99"),
    choice_beats("Adam does better than Nesterov's momentum", "loss", "<", "nesterov"),
)
# What one would expect of the paper's models, although the text that we have does not claim it: the
# authors had too little memory to train the final model on batches of 8 or 12.
OUR_CLAIMS = (
    Claim("Regression has the lower L_reg", [("l_reg", "regression", "<", "classification")]),
    Claim(
        "Classification has the higher accuracies",
        [
            ("acc_u", "classification", ">", "regression"),
            ("acc_v", "classification", ">", "regression"),
        ],
    ),
    choice_beats(
        "Batches of 6 do better than those of 8 and 12", "loss", "<", "batch_8", "batch_12"
    ),
)
LATER_CLAIMS = (
    Claim(
        "Rebalancing raises colorfulness towards the photographs'",
        [
            ("colorfulness", "channels_rebalanced", ">", "classification"),
            ("delta_colorfulness", "channels_rebalanced", "<", "classification"),
        ],
        shown=("psnr",),
    ),
    Claim(
        "Rebalancing also does so with soft targets and joint bins (Zhang et al. 2016)",
        [("colorfulness", "zhang", ">", "joint"), ("delta_colorfulness", "zhang", "<", "joint")],
        shown=("psnr",),
    ),
    Claim(
        "The annealed mean raises colorfulness from the mean's towards the photographs'",
        [
            ("colorfulness", "classification, annealed 0.38", ">", "classification, mean"),
            ("delta_colorfulness", "classification, annealed 0.38", "<", "classification, mean"),
        ],
        shown=("psnr",),
    ),
    Claim(
        "The mean has a higher PSNR than argmax, but less colorfulness",
        [
            ("psnr", "classification, mean", ">", "classification, argmax"),
            ("colorfulness", "classification, mean", "<", "classification, argmax"),
        ],
    ),
)


def is_about(claim: Claim, runs: Collection[str]) -> bool:
    """Returns whether all runs that a claim compares are in `runs`, whatever their decoding."""
    compared = {name for _, run, _, other in claim.comparisons for name in (run, other)}
    return all(name.partition(",")[0] in runs for name in compared)


def judge(claim: Claim, results: Results) -> Finding:
    """Checks a claim against the results; `not run` if a run or one of its metrics is missing."""
    holds, beyond_seeds = True, True
    spread = seed_spread(results)
    compared: dict[str, Metrics] = {}  # metric -> {run: value}
    for metric, run, sign, other in claim.comparisons:
        for name in (run, other):
            if metric not in results.get(name, {}):
                return Finding("not run", f"`{name}` has no numbers")
            compared.setdefault(metric, {})[name] = results[name][metric]
        a, b = results[run][metric], results[other][metric]
        holds &= a < b if sign == "<" else a > b
        beyond_seeds &= not abs(a - b) <= spread.get(metric, 0.0)
    _, run, _, other = claim.comparisons[0]
    for metric in claim.shown:
        compared[metric] = {n: results[n][metric] for n in (run, other) if metric in results[n]}
    numbers = [format_values(metric, values, results[run]) for metric, values in compared.items()]
    return Finding("held" if holds else "did not hold", "; ".join(numbers), beyond_seeds)


def format_values(metric: str, values: Metrics, photographs: Metrics) -> str:
    """Formats a metric of runs: "Colorfulness: `mean` 21.3, `argmax` 40.1, photographs 38.2"."""
    named = {f"`{name}`": value for name, value in values.items()}
    if metric + TRUE in photographs:
        named["photographs"] = photographs[metric + TRUE]
    name = heading(metric).rstrip(f"{NO_BREAK}↑↓")
    return f"{name}: " + ", ".join(f"{k} {number(metric, v)}" for k, v in named.items())


def seed_spread(results: Results) -> Metrics:
    """Returns how much each metric differs between the runs of SEEDS; empty unless both exist."""
    one, two = (results.get(name, {}) for name in SEEDS)
    return {metric: abs(one[metric] - two[metric]) for metric in one.keys() & two.keys()}


def heading(metric: str) -> str:
    name, _ = METRICS.get(metric, (metric, ""))
    return name.replace(" ↑", f"{NO_BREAK}↑").replace(" ↓", f"{NO_BREAK}↓")


def number(metric: str, value: float | None) -> str:
    return "" if value is None else format(value, METRICS.get(metric, ("", ".4g"))[1])
