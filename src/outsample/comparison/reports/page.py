"""The page: template, style, script, Plotly and the data in one file that needs no network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

from outsample.comparison.reports.data import columns
from outsample.comparison.result import Comparison
from outsample.errors import InputError

#: Our own scripts, in the order in which they build on each other.
_SCRIPTS = ("words.js", "filters.js", "plots.js", "trends.js", "maps.js", "tables.js", "main.js")


def html_page(comparisons: Sequence[Comparison], title: str = "Estimators against sampling") -> str:
    """Return a page that shows a study: plots, heat maps, verdicts, failures and provenance.

    The page is one file that loads nothing: opened from a disk it works without a network, and
    its content security policy forbids the browser to fetch anything or to run any script but the
    ones inside it.  Names and messages from the study are only ever shown as text.

    Args:
        comparisons: what was found, one for each family with its settings.
        title: heading of the page.

    Raises:
        InputError: if there is nothing to show.
        ImportError: if Plotly is not installed; the message says how to get it.
    """
    if not comparisons:
        raise InputError("comparisons is empty; expected at least one family with results")
    plotly = _plotly()
    data = json.dumps(columns(comparisons), separators=(",", ":"), allow_nan=False)
    script = '"use strict";\n' + "\n".join(_file(name) for name in _SCRIPTS)
    plots = "drawPlots();"
    allowed = " ".join(_hash(text) for text in (script, plotly, plots))
    policy = (
        f"default-src 'none'; script-src {allowed}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return Template(_file("page.html")).substitute(
        title=escape(title),
        policy=policy,
        style=_file("page.css"),
        data=data.replace("<", "\\u003c"),  # no "</script>", no "<!--"
        plotly=plotly,
        script=script,
        plots=plots,
    )


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError(
            "reports need Plotly, which is not installed: pip install 'outsample[compare]'"
        ) from error
    # The browser reads line ends as \n before it compares hashes.
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


def _file(name: str) -> str:
    return (resources.files("outsample.comparison.reports") / name).read_text("utf-8")


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"
