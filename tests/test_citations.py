"""Citations of the paper, in every .py and .md file, must name the section on their subject.

A citation has the form `(the paper, section 3.6)`. In README.md and docs/paper.md, whose tables
cite nothing else, `(3.6)` is one too. The words before a citation, back to the previous citation
or to the beginning of the sentence or comment, must mention the subject of the section.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from configs import classify

ROOT = Path(__file__).parent.parent
PATTERNS = (
    "*.md",
    *(
        f"{d}/**/*.{e}"
        for e in ("py", "md")
        for d in ("colorjax", "configs", "tests", "benchmarks", "docs", "launch")
    ),
)
SHORT_FORM = ("README.md", "docs/paper.md")

# Section -> its subject. 3 and 5 are left out, because their subsections are more specific.
SUBJECTS = {
    "2": r"petals?\b|related work|Dahl",
    "3.1": r"pipeline|luminance|U and V out",
    "3.2": r"VGG16|pretrained|transfer",
    "3.3": r"ReLU|rectified|activation",
    "3.4": r"batch norm",
    "3.5": r"huber|\bl2\b|regression|residual encoder|upscal",
    "3.6": r"\bbins?\b|cross-entrop|classification|concat|log-probability|1x1",
    "4": r"data sets?\b|preprocess",
    "5.1": r"metrics?\b|L_reg|\bAcc\.|Sat\. diff",
    "5.2": r"learning rates?|\bAdam\b|Nesterov|hold-out|holds? out|batches of|Xavier|Glorot|"
    r"\b270\b|alternative|by heart|\bHSV\b|max-pool|set-up",
    "5.3": r"results?\b|Fig\. 5|desaturated|saturated|compared|gray, prediction",
}
GAP = r"\s+(?:#\s*)?"  # space between two words, also across the lines of a comment
LONG = rf"the{GAP}paper,{GAP}section{GAP}(?P<long>\d[\d.]*\d|\d)"
SHORT = r"\((?P<short>[1-9](?:\.\d)*)(?=\)|, Fig)"
BOUNDARY = r'[.;]\s+(?=[A-Z`"*])|;\s|(?<!\S)\|\s|\n\s*\n|\n#|"""'
# Citations that name no paper, or this one in another form.
INCOMPLETE = rf"(?<!the paper, )\bsections?{GAP}\d|\(the{GAP}paper,{GAP}\d|\w \([2-5]\.[1-9]\)"
OTHER_AUTHORS = r"Zhang|Efros"  # sections of their papers may be cited as well


class Citation(NamedTuple):
    line: int
    section: str
    words: str  # the text before it


def citations(text: str, short_form: bool) -> list[Citation]:
    found, last = [], 0
    for match in re.finditer(f"{LONG}|{SHORT}" if short_form else LONG, text, re.IGNORECASE):
        before = text[last : match.start()]
        if re.search(r"\n[ \t]*#[^\n]*$", before):  # code before a comment does not count
            before = re.search(r"(?:\n[ \t]*#[^\n]*)+$", before)[0]
        ends = [m.end() for m in re.finditer(BOUNDARY, before)]
        section = match["long"] or match["short"]
        words = " ".join(before[ends[-1] if ends else 0 :].split())
        found.append(Citation(line_of(text, match.start()), section, words))
        last = match.end()
    return found


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def mentions_subject(section: str, words: str) -> bool:
    return bool(re.search(SUBJECTS[section], words, re.IGNORECASE))


def faults(name: str, text: str) -> list[str]:
    """Returns a message for each wrong citation in a file."""
    messages = []
    for line, section, words in citations(text, name in SHORT_FORM):
        if section not in SUBJECTS:
            messages.append(f"{name}:{line}: the paper has no section {section} to be cited")
        elif not mentions_subject(section, words):
            messages.append(f"{name}:{line}: section {section} is not about {words!r}")
    for match in re.finditer(INCOMPLETE, text):
        if name in SHORT_FORM and match[0].endswith(")"):
            continue
        if not re.match(LONG, text[text.rfind("the", 0, match.start()) :]) and not re.search(
            OTHER_AUTHORS, text[max(0, match.start() - 80) : match.start()]
        ):
            messages.append(
                f"{name}:{line_of(text, match.start())}: {match[0]!r} is of which paper? "
                "Want 'the paper, section 3.6'"
            )
    return messages


def files() -> dict[str, str]:
    """Name -> text of every file but this one, which contains wrong citations on purpose."""
    paths = {path for pattern in PATTERNS for path in ROOT.glob(pattern)} - {Path(__file__)}
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(paths)}


def test_every_citation_names_the_section_on_its_subject():
    messages = [fault for name, text in files().items() for fault in faults(name, text)]
    assert not messages, "\n" + "\n".join(messages)


def test_the_citations_are_found():
    found = {name: citations(text, name in SHORT_FORM) for name, text in files().items()}
    assert len(found["README.md"]) >= 15
    assert [one.section for one in found["colorjax/ops/losses.py"]] == ["3.6", "3.5", "3.5"]
    assert {one.section for some in found.values() for one in some} == set(SUBJECTS)


def test_any_other_section_in_a_citation_would_be_noticed():
    for name, text in files().items():
        for line, section, words in citations(text, name in SHORT_FORM):
            others = [
                other for other in SUBJECTS if other != section and mentions_subject(other, words)
            ]
            assert not others, f"{name}:{line}: {words!r} would do for section {others} too"


def test_files_settings_and_tests_named_in_docs_paper_exist():
    text = (ROOT / "docs/paper.md").read_text()
    tests = re.findall(r"`(\w+\.py)::(\w+)`", text)
    assert len(tests) > 40
    for file, name in tests:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"
    for name in re.findall(r"`([\w/]+\.py)(?::\w+)?`", text):
        folder = ROOT if name.startswith("configs/") else ROOT / "colorjax"
        assert (folder / name).exists(), name
    known = classify.get_config()
    for name in re.findall(r"`((?:\w+\.)?\w+)=\w+`|`(\w+\.\w+)`", text):
        setting = next(filter(None, name))
        if not setting.endswith(".py"):
            for part in setting.split(".")[:-1]:
                assert part in known, setting
            owner = known[setting.split(".")[0]] if "." in setting else known
            assert setting.split(".")[-1] in owner, setting


@pytest.mark.parametrize(
    "name, text, fault",
    [
        ("a.py", '"""Right.\n\nHuber\'s loss (the paper, section 3.1)."""', "a.py:3: section 3.1"),
        ("a.py", "# Bins (the paper,\n# section 3.2)", "a.py:1: section 3.2 is not about"),
        ("a.py", "# Bins (the paper, section 3.7)", "a.py:1: the paper has no section 3.7"),
        ("a.py", "# Bins (the paper, section 3)", "a.py:1: the paper has no section 3 to"),
        ("a.py", "x = 1\n# as the paper does (section 4)", "a.py:2: 'section 4' is of which"),
        ("a.md", "Both channels (the paper, 3.1).", "a.md:1: '(the paper, 3' is of which"),
        ("a.py", '"""Many colours (3.2).', "a.py:1: 's (3.2)' is of which"),
        ("README.md", "|---|\n| l2 (3.5), bins (3.5) | x |", "README.md:2: section 3.5 is not"),
        ("README.md", "| fifty bins (3.2) | x |", "README.md:1: section 3.2 is not about"),
    ],
)
def test_a_wrong_citation_is_reported_with_its_file_and_line(name, text, fault):
    messages = faults(name, text)
    assert len(messages) == 1 and messages[0].startswith(fault)


@pytest.mark.parametrize(
    "text",
    [
        "Soft targets (Zhang, Isola and Efros 2016, section 2.1).",
        "Bins (the paper,\nsection 3.6); l2 (the paper, section 3.5).",
        "Section by section, in 3 parts (2016).",
    ],
)
def test_correct_citations_and_those_of_other_papers_are_accepted(text):
    assert faults("docs/any.md", text) == []
