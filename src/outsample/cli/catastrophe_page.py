"""The page of ``outsample catastrophe demo``: the figure and the tables in one file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin-top: 2rem; }
img { width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid #d9e2ec;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
footer { color: #52606d; font-size: .9rem; margin-top: 2rem; }
</style>
</head>
<body>
<h1>$title</h1>
$lead
<img src="data:image/png;base64,$figure" alt="$alternative">
$tables
<footer>$footer</footer>
</body>
</html>
""")


@dataclass(frozen=True)
class Table:
    """A table with a title above it and remarks below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str]


def page(
    title: str, lead: Sequence[str], figure: bytes, alternative: str, tables: Sequence[Table],
    footer: str,
) -> str:  # fmt: skip
    """One file of HTML that loads nothing and runs nothing; every text is shown as text.

    Args:
        title: heading.
        lead: paragraphs above the figure.
        figure: a PNG, which the page holds.
        alternative: what the figure shows, for those who cannot see it.
        tables: below the figure.
        footer: last line.
    """
    return _PAGE.substitute(
        title=escape(title),
        lead=_paragraphs(lead),
        figure=base64.b64encode(figure).decode("ascii"),
        alternative=escape(alternative),
        tables="\n".join(_table(one) for one in tables),
        footer=escape(footer),
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = (
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr>'
        f"</thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table></div>\n"
        + _paragraphs(table.remarks)
    )


def _paragraphs(lines: Sequence[str]) -> str:
    return "\n".join(f"<p>{escape(line)}</p>" for line in lines)
