"""Writes the report of a reproduction: findings, tables and figures, as Markdown and as HTML.

It needs only numbers and pictures, so that it can be written again without a network.
"""

import base64
import html
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

from colorjax.pictures import image_io
from colorjax.studies.claims import (
    LATER_CLAIMS,
    METRICS,
    NO_BREAK,
    OUR_CLAIMS,
    PAPER_CLAIMS,
    TRUE,
    Metrics,
    Results,
    heading,
    is_about,
    judge,
    number,
)
from colorjax.studies.tables import table
from colorjax.weights.runs import write_text

METRICS_EXPLAINED = """\
Arrows show the better direction. **Loss**: the loss that the run was trained on, comparable only \
between runs with the same objective, space and kind of bins. **L_reg**: squared error of U and \
V. **Acc.U**, **Acc.V**: share of pixels whose U or V is in the right one of 50 bins. \
**Sat. diff**: difference of the summed HSV saturations, as a share of the photograph's. \
**Colorfulness**: Hasler and \
Suesstrunk's M3; Δ is its distance from the photographs'. **CF**, **ΔCF**: the variant with \
absolute values that later papers report. **AuC**: area under the curve of the share of pixels \
within a distance in a\\*b\\*; rebalanced, every colour class has the same weight. \
**Saturation**: mean HSV saturation; Δ is its distance from the photographs', as a share of \
theirs. Each run is measured at its best checkpoint, the one with the lowest hold-out loss, on the \
test set if there is one, else on the hold-out set. L_reg and the accuracies are computed in \
CIELUV, whatever space a run predicts in.
"""
DATA_COLUMNS = {
    "source": "Data set",
    "found": "Found",
    "train": "Training",
    "holdout": "Hold-out",
    "test": "Test",
    "unreadable": "Unreadable",
    "near_gray": "Near gray",
    "copies": "Copies",
    "clipped": "Pixels outside ±100",
}
FEW = 100  # with fewer measured photographs, verdicts carry a warning


class Content(NamedTuple):
    """The content of a report."""

    summary: str  # what was run on what, a paragraph
    data: Sequence[dict[str, Any]]  # one row per data set, with the keys of DATA_COLUMNS
    # One row per experiment: `run`, `settings`, `outcome` ("step 80 of 100", "failed: ..."),
    # `minutes` and `parameters` (None if unknown), `metrics` (empty unless finished).
    rows: Sequence[dict[str, Any]]
    baseline: Metrics  # of the constant bin; empty if nothing was measured
    decodings: Sequence[dict[str, Any]]  # `run`, `decoding`, `metrics`
    pictures: dict[str, tuple[Any, str]]  # name -> (uint8 [h, w, 3], caption)
    provenance: dict[str, str]  # heading -> preformatted text


def write(workdir: Path, content: Content) -> None:
    """Writes `report.md`, `report.html` and `figures/NAME.png` into `workdir`."""
    (workdir / "figures").mkdir(parents=True, exist_ok=True)
    for name, (picture, _) in content.pictures.items():
        image_io.write(workdir / "figures" / f"{name}.png", picture)
    text = markdown(content)
    write_text(workdir / "report.md", text)
    write_text(workdir / "report.html", to_html(text, workdir))


def markdown(content: Content) -> str:
    """Returns the report as Markdown."""
    results = results_of(content)
    pictures = [
        f"![{name}](figures/{name}.png)\n\n*{caption}*"
        for name, (_, caption) in content.pictures.items()
    ]
    sections = {
        "Data": data_table(content.data),
        "Findings": findings(
            results,
            [row["run"] for row in content.rows],
            [row.get("test", row["holdout"]) for row in content.data],
        ),
        "All experiments": runs_table(content.rows) + "\n" + metrics_table(content),
        "Decodings": decodings_table(content.decodings),
        "Figures": "\n\n".join(pictures) or "Nothing has been measured yet.",
        "How it was run": "\n\n".join(
            f"{heading}:\n\n```\n{text}\n```" for heading, text in content.provenance.items()
        ),
    }
    body = "".join(f"\n## {title}\n\n{text}\n" for title, text in sections.items())
    return (
        f"# Colorization: regression, classification and their alternatives\n\n"
        f"{content.summary}\n{body}"
    )


def results_of(content: Content) -> Results:
    """Returns the metrics of every run and decoding, by which claims are judged."""
    runs = {row["run"]: row["metrics"] for row in content.rows if row["metrics"]}
    decoded = {f"{row['run']}, {row['decoding']}": row["metrics"] for row in content.decodings}
    return runs | decoded


def findings(results: Results, runs: Collection[str], photo_counts: Sequence[int] = ()) -> str:
    """Returns the verdicts on all claims about `runs`, one table for each part of CLAIMS.

    `photo_counts` has the number of measured photographs of each data set.
    """
    text = (
        "Each comparison is between single training runs. A verdict is marked *within the seeds' "
        "spread* if two trainings of the classification model that differ only in their seeds are "
        "at least as far apart as the compared runs.\n"
    )
    if photo_counts and min(photo_counts) < FEW:
        text += (
            f"\n**Only {min(photo_counts)} photographs are measured**: the verdicts show that the "
            "experiments run, but say little about larger data sets.\n"
        )
    for title, claims in CLAIMS.items():
        lines = []
        for claim in (claim for claim in claims if is_about(claim, runs)):
            finding = judge(claim, results)
            doubt = "" if finding.beyond_seeds else ", within the seeds' spread"
            verdict = f"{MARKS[finding.verdict]} {finding.verdict}{doubt}"
            lines.append([claim.sentence, verdict, finding.numbers])
        if lines:
            text += f"\n### {title}\n\n" + table(["Claim", "Verdict", "Numbers"], lines)
    return text


CLAIMS = {
    "The paper": PAPER_CLAIMS,
    "Our own, of the paper's models": OUR_CLAIMS,
    "After the paper": LATER_CLAIMS,
}
MARKS = {"held": "✓", "did not hold": "✗", "not run": "–"}


def data_table(data: Sequence[dict[str, Any]]) -> str:
    """Returns the paper's Table 1, with the numbers of photographs that were left out."""
    if not data:
        return "No run has opened its data yet."
    present = dict.fromkeys(key for row in data for key in row)
    columns = [c for c in DATA_COLUMNS if c in present] + [
        c for c in present if c not in DATA_COLUMNS
    ]
    lines = [
        [f"{x:.1%}" if isinstance(x, float) else str(x) for x in (row.get(c, "") for c in columns)]
        for row in data
    ]
    return table([DATA_COLUMNS.get(key, key) for key in columns], lines) + (
        "\nUnreadable and near-gray photographs are left out, and copies of hold-out and test "
        "photographs. The last column is the share of the training pixels whose U or V lies "
        "outside the bins' [-100, 100].\n"
    )


def metric_columns(rows: Sequence[Metrics]) -> list[str]:
    """Returns the metrics that any row has, in the order of METRICS, unknown ones last."""
    present = dict.fromkeys(name for row in rows for name in row if not name.endswith(TRUE))
    return [name for name in METRICS if name in present] + [n for n in present if n not in METRICS]


def runs_table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns a table of the runs: what each changes, and how it ended."""
    lines = []
    for row in rows:
        changes = ", ".join(f"`{name}={value}`" for name, value in row["settings"].items())
        parameters = "" if row["parameters"] is None else f"{row['parameters']:,}"
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.1f}"
        lines.append([f"**{row['run']}**", changes, row["outcome"], parameters, minutes])
    head = ["Run", "What it changes", "Best checkpoint", "Parameters", "Minutes"]
    return table(head, lines, right=3)


def metrics_table(content: Content) -> str:
    """Returns a table of metrics: each run, the constant bin, and the photographs themselves."""
    columns = metric_columns([*(row["metrics"] for row in content.rows), content.baseline])
    lines = []
    for row in content.rows:
        values = [number(name, row["metrics"].get(name)) for name in columns]
        if not row["metrics"] and columns:
            values[0] = f"*{row['outcome'].partition(':')[0]}*"
        lines.append([f"**{row['run']}**", *values])
    if content.baseline:
        # A constant without probabilities has no cross-entropy.
        constant = {name: x for name, x in content.baseline.items() if name != "loss"}
        lines.append(["constant bin", *(number(name, constant.get(name)) for name in columns)])
        truth = (number(name, constant.get(name + TRUE)) for name in columns)
        lines.append(["photographs", *truth])
    return table(["Run", *map(heading, columns)], lines, right=1) + "\n" + METRICS_EXPLAINED


def decodings_table(decodings: Sequence[dict[str, Any]]) -> str:
    """Returns a table of metrics of the same logits under several decodings."""
    if not decodings:
        return "No run has been decoded in several ways yet."
    columns = [c for c in metric_columns([row["metrics"] for row in decodings]) if c != "loss"]
    lines = [
        [
            f"**{row['run']}**",
            row["decoding"].replace(" ", NO_BREAK),
            *(number(c, row["metrics"].get(c)) for c in columns),
        ]
        for row in decodings
    ]
    truth = decodings[0]["metrics"]
    lines.append(["photographs", "", *(number(c, truth.get(c + TRUE)) for c in columns)])
    return table(["Run", "Decoding", *map(heading, columns)], lines, right=2) + (
        "\nAll decodings of a run use the same checkpoint. *annealed T* is the mean at the "
        "temperature T; *sample* is one draw.\n"
    )


def to_html(text: str, folder: Path) -> str:
    """Renders Markdown as a self-contained HTML page that embeds the pictures from `folder`.

    Raw HTML in `text` is escaped.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(text)
    for_each_image(tokens, lambda token: token.attrSet("src", data_uri(folder, token.attrs["src"])))
    title = text.partition("\n")[0].removeprefix("# ")
    body = parser.renderer.render(tokens, parser.options, {})
    return PAGE.format(title=html.escape(title), style=STYLE, body=body)


def for_each_image(tokens: Sequence[Any], change: Callable[[Any], None]) -> None:
    for token in tokens:
        if token.type == "image":
            change(token)
        for_each_image(token.children or [], change)


def data_uri(folder: Path, name: str) -> str:
    content = base64.b64encode((folder / name).read_bytes()).decode()
    return f"data:image/png;base64,{content}"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""
STYLE = """
body { margin: 0; color: #1c1c1c; background: #fff; font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
p, li { max-width: 46rem; }
h1 { font-size: 1.8rem; line-height: 1.2; }
h2 { margin-top: 2.75rem; padding-bottom: .25rem; border-bottom: 1px solid #ddd; }
.wide { overflow-x: auto; margin: 1rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums;
  min-width: 38rem; }
th, td { padding: .3rem .45rem; border-bottom: 1px solid #e4e4e4; text-align: left;
  vertical-align: top; }
th { vertical-align: bottom; }
tr { background: #fff; }
thead tr { background: #f4f4f4; }
tbody tr:hover { background: #f8f8f8; }
td:first-child, th:first-child { position: sticky; left: 0; background: inherit; }
p:has(> img) { max-width: none; overflow-x: auto; margin-bottom: 0; }
img { display: block; max-width: 100%; }
@media (max-width: 44rem) { img { max-width: none; width: 40rem; } }
code { font-size: .9em; background: #f4f4f4; padding: 0 .2em; border-radius: 3px; }
pre { overflow-x: auto; padding: .75rem; background: #f4f4f4; font-size: .85rem; }
pre code { padding: 0; background: none; }
"""
