"""For mkdocs: takes the files of the project that pages link to along into the site.

Pages are read on a site and in a checkout. There `../configs/release.py` is a file beside docs/,
of which a site knows nothing; here it becomes `source/configs/release.py`, a copy.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]+)\)")


def on_files(files, config):
    pages = [f.content_string for f in files.documentation_pages()]
    for path in sorted({path for page in pages for _, path in LINK.findall(page)}):
        if not (ROOT / path).is_dir():
            source = str(ROOT / path)
            files.append(File.generated(config, f"source/{path}", abs_src_path=source))
    return files


def on_page_markdown(markdown, page, config, files):
    def link(match):
        text, path = match.groups()
        # A folder has no page of its own to show.
        return text if (ROOT / path).is_dir() else f"[{text}](source/{path})"

    return LINK.sub(link, markdown)
