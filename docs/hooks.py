"""For mkdocs: a link to a file of the repository that is no page becomes the file's path, since the site has no such file."""

import posixpath
import re
from typing import Any

LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#]*)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace those links of a page."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def as_path(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        return link[0] if path.startswith("docs/") else f"{text} (`{path}`)"

    return LINK.sub(as_path, markdown)
