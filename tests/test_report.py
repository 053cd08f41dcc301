import re

import numpy as np
import pytest

from colorjax.studies import claims, report
from colorjax.studies.claims import Claim, judge
from colorjax.studies.report import Content
from configs import reproduce

CLAIM = Claim("one is better", [("psnr", "one", ">", "two"), ("l_reg", "one", "<", "two")])
METRICS = {"loss": 7.25, "psnr": 20.0, "colorfulness": 30.0, "colorfulness_true": 40.0}


def row(run, outcome="step 4 of 4", metrics=METRICS, **settings):
    return {
        "run": run,
        "settings": settings,
        "outcome": outcome,
        "minutes": 0.5,
        "parameters": 1234,
        "metrics": metrics,
    }


def content(**changes):
    empty = Content("Nothing was run.", [], [], {}, [], {}, {"Command": "python"})
    return empty._replace(**changes)


@pytest.mark.parametrize(
    "psnr, l_reg, verdict",
    [(19.0, 500, "held"), (21.0, 500, "did not hold"), (19.0, 300, "did not hold")],
)
def test_a_claim_holds_if_all_its_comparisons_do(psnr, l_reg, verdict):
    finding = judge(
        CLAIM, {"one": {"psnr": 20.0, "l_reg": 400}, "two": {"psnr": psnr, "l_reg": l_reg}}
    )
    assert finding.verdict == verdict
    assert finding.numbers == (
        f"PSNR, dB: `one` 20.00, `two` {psnr:.2f}; L_reg: `one` 400, `two` {l_reg}"
    )


def test_a_claim_does_not_hold_for_equal_numbers():
    same = {"psnr": 20.0, "l_reg": 400}
    assert judge(CLAIM, {"one": same, "two": same}).verdict == "did not hold"


@pytest.mark.parametrize(
    "results",
    [{}, {"one": {"psnr": 1.0, "l_reg": 1}}, {"one": {"psnr": 1.0}, "two": {"psnr": 1.0}}],
)
def test_a_claim_with_missing_numbers_counts_as_not_run(results):
    assert judge(CLAIM, results).verdict == "not run"


def test_a_difference_as_small_as_between_two_seeds_is_marked():
    claim = Claim("", [("psnr", "one", ">", "two")])
    results = {"one": {"psnr": 20.0}, "two": {"psnr": 19.0}, "classification": {"psnr": 18.0}}
    assert judge(claim, results).beyond_seeds
    assert judge(claim, results | {"another_seed": {"psnr": 18.5}}).beyond_seeds
    assert not judge(claim, results | {"another_seed": {"psnr": 16.5}}).beyond_seeds


def test_the_photographs_colorfulness_is_shown_beside_the_predictions():
    results = {"one": METRICS, "two": {**METRICS, "colorfulness": 50.0}}
    claim = Claim("", [("colorfulness", "one", "<", "two")], shown=("psnr",))
    assert judge(claim, results).numbers == (
        "Colorfulness: `one` 30.0, `two` 50.0, photographs 40.0; PSNR, dB: `one` 20.00, `two` 20.00"
    )


def test_the_papers_first_claim_is_judged_by_saturation_and_colorfulness():
    dull = {"colorfulness": 20.0, "sat_diff": 0.5}
    vivid = {"colorfulness": 30.0, "sat_diff": 0.3}
    claim = claims.PAPER_CLAIMS[0]
    assert judge(claim, {"regression": dull, "classification": vivid}).verdict == "held"
    assert judge(claim, {"regression": vivid, "classification": dull}).verdict == "did not hold"


def claim_of(sentence):
    everything = (*claims.PAPER_CLAIMS, *claims.OUR_CLAIMS, *claims.LATER_CLAIMS)
    (claim,) = (claim for claim in everything if claim.sentence == sentence)
    return claim


def test_the_paper_claims_that_huber_is_better_than_l2():
    claim = claim_of("Huber's loss does better than l2")
    assert claim in claims.PAPER_CLAIMS
    better, worse = {"l_reg": 430.0}, {"l_reg": 480.0}
    assert judge(claim, {"regression_huber": better, "regression": worse}).verdict == "held"
    assert judge(claim, {"regression_huber": worse, "regression": better}).verdict == (
        "did not hold"
    )


def test_the_papers_claims_compare_only_batches_of_4_and_6():
    assert claim_of("Batches of 6 do better than those of 4") in claims.PAPER_CLAIMS
    of_paper = {other for claim in claims.PAPER_CLAIMS for *_, other in claim.comparisons}
    assert "batch_4" in of_paper and not of_paper & {"batch_8", "batch_12"}


def test_claims_that_the_paper_does_not_make_are_listed_as_ours():
    rows = [row(name) for name, _ in (*reproduce.MODELS, *reproduce.ALTERNATIVES)]
    text = report.markdown(content(rows=rows))
    text = text.partition("## All experiments")[0]
    paper, ours, later = re.split(r"^### .*\n", text, flags=re.MULTILINE)[1:]
    assert "### Our own, of the paper's models" in text
    for sentence in (
        "Regression has the lower L_reg",
        "Classification has the higher accuracies",
        "Batches of 6 do better than those of 8 and 12",
    ):
        assert sentence in ours and sentence not in paper + later


def test_an_empty_report_has_every_section():
    text = report.markdown(content())
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == [
        "Data",
        "Findings",
        "All experiments",
        "Decodings",
        "Figures",
        "How it was run",
    ]
    assert "✓" not in text


def test_a_claim_is_listed_if_its_runs_are_even_without_numbers():
    row_of = {"regression": row("regression", "failed: x", metrics={}), "other": row("other")}
    first = "Regression has the lower L_reg"
    text = report.markdown(content(rows=[row_of["regression"], row("classification")]))
    assert f"| {first} | – not run" in text
    text = report.markdown(content(rows=[row_of["other"], row("classification")]))
    assert first not in text and "### Our own" not in text


def test_the_table_shows_failures_the_baseline_and_unknown_metrics():
    rows = [
        row("good", metrics={**METRICS, "novel": 0.5}),
        row("bad", "failed: a | b", metrics={}, space="lab"),
    ]
    text = report.markdown(content(rows=rows, baseline=METRICS))
    assert "| **bad** | `space=lab` | failed: a \\| b | 1,234 | 0.5 |" in text
    assert "| **bad** | *failed* |  |  |  |" in text
    assert "| **good** | 7.25 | 30.0 | 20.00 | 0.5 |" in text
    assert "| constant bin |  | 30.0 | 20.00 |  |" in text  # a constant has no cross-entropy
    assert "| photographs |  | 40.0 |  |  |" in text


def test_decodings_have_rows_and_count_for_claims():
    decodings = [
        {"run": "classification", "decoding": name, "metrics": {**METRICS, "psnr": psnr}}
        for name, psnr in (("argmax", 19.0), ("mean", 21.0))
    ]
    filled = content(decodings=decodings)
    assert "| **classification** | mean | 30.0 | 21.00 |" in report.markdown(filled)
    assert report.results_of(filled)["classification, mean"]["psnr"] == 21.0


@pytest.mark.parametrize("holdout, warned", [(4, True), (400, False)])
def test_verdicts_from_few_photographs_come_with_a_warning(holdout, warned):
    data = [{"source": "sample", "train": 8, "holdout": holdout, "clipped": 0.0312}]
    text = report.markdown(content(data=data))
    assert (f"Only {holdout} photographs" in text) == warned
    assert "| 3.1% |" in text


def test_the_page_is_self_contained_and_escapes_markup(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    rows = [row("<script>alert(1)</script>")]
    report.write(tmp_path, content(rows=rows, pictures={"dark": (picture, "Nothing to see.")}))
    page = (tmp_path / "report.html").read_text()
    assert (tmp_path / "figures" / "dark.png").exists()
    assert "![dark](figures/dark.png)" in (tmp_path / "report.md").read_text()
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(references) == 1 and references[0].startswith("data:image/png;base64,")
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<td" in page and "url(" not in page
