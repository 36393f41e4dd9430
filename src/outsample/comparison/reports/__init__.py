"""Reports of a study: one page for the browser, figures and a table for papers."""

from outsample.comparison.reports.images import write_figures
from outsample.comparison.reports.page import html_page
from outsample.comparison.reports.paper import markdown_table

__all__ = ["html_page", "markdown_table", "write_figures"]
