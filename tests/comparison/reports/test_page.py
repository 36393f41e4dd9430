"""The page in a real browser: what is drawn, filters, sorting, keyboard, themes, hostile names."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.comparison.reports import made

from outsample.comparison.cells import Truth
from outsample.comparison.reports import html_page
from outsample.comparison.result import Comparison
from outsample.errors import InputError

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"
LINES = ("Cumulants(1)", "Cumulants(2)", "Cumulants(3) at budget N", "Poor")
FAMILIES = 6
#: Estimators, opponents and budgets.
VERDICTS = FAMILIES * 5 * 4 * 2

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Open a report in Chromium; what it fetches and complains about is noted on the page."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser found on PATH (looked for {', '.join(names)})")
    folder = tmp_path_factory.mktemp("pages")

    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path)

        def open_page(study: Sequence[Comparison], width: int = 1280, **context: Any) -> Any:
            file = folder / f"{len(list(folder.iterdir()))}.html"
            file.write_text(html_page(study, "A study"), "utf-8")
            page = browser.new_context(
                viewport={"width": width, "height": 844}, **context
            ).new_page()
            page.set_default_timeout(20_000)
            page.complaints, page.fetched = [], []
            page.on("console", lambda message: page.complaints.append(message.text))
            page.on("pageerror", lambda error: page.complaints.append(str(error)))
            page.on("dialog", lambda dialog: page.complaints.append("dialog") or dialog.dismiss())
            page.on("request", lambda request: page.fetched.append(request.url))
            page.goto(file.as_uri())
            page.wait_for_selector("body[data-ready]")
            assert page.complaints == []
            assert page.fetched == [file.as_uri()]
            return page

        yield open_page
        browser.close()


@pytest.fixture(scope="module")
def shared(open_page: Open) -> Any:
    return open_page(made.study())


@pytest.fixture
def page(shared: Any) -> Iterator[Any]:
    """The page of the made-up study, with nothing filtered and in the order given."""
    shared.click("#reset")
    for select in ("opponent", "budget", "verdict"):
        shared.select_option(f"#table-{select}", "")
    shared.fill("#table-search", "")
    shared.uncheck("#each")
    for select in ("#family", "#map-estimator", "#map-opponent", "#map-budget"):
        shared.select_option(select, index=0)
    yield shared
    assert shared.complaints == []


def texts(page: Any, selector: str) -> list[str]:
    return page.locator(selector).all_text_contents()


def column(page: Any, name: str) -> list[str]:
    heads = texts(page, "#ratios th button")
    return texts(page, f"#ratios tbody td:nth-child({heads.index(name) + 1})")


def points(page: Any, figure: str) -> int:
    return page.locator(f"#{figure} .scatterlayer .points path").count()


def test_plots_and_tables_are_there(page: Any) -> None:
    for figure in ("flops", "seconds"):
        assert page.locator(f"#{figure} .scatterlayer .trace").count() == 4 + len(LINES)
        assert points(page, figure) == 5
        assert page.locator(f"#{figure} .errorbar").count() == 5
        assert page.locator(f"#{figure} .layer-below .shapelayer path").count() == 1
    assert texts(page, "#flops .annotation-text") == ["noise of the truth"]
    assert page.locator("#maps .heatmaplayer image").count() == 1
    signs = texts(page, "#maps .heatmap-label")
    assert len(signs) == FAMILIES and all(text[0] in "▲=▼?" for text in signs)
    assert texts(page, "#key span") == [*LINES, *made.SAMPLERS]
    assert len(texts(page, "#scores tbody tr")) == 5
    assert len(texts(page, "#samplers tbody tr")) == 6
    assert f"{VERDICTS} verdicts" in page.inner_text("#counts")
    assert "Every cell has a value" in page.inner_text("#trouble-box")
    assert "mkl" in page.inner_text("#provenance-box")


def test_figures_on_the_page_are_those_of_the_comparison(page: Any) -> None:
    score = made.study()[0].scores()[1]
    traces = page.evaluate("byId('flops').data.map((t) => [t.name, t.x, t.y, t.text])")
    _, x, y, text = next(t for t in traces if t[0] == "Cumulants(2)")
    assert x == [score.flops]
    assert y[0] == pytest.approx(score.vn_error, rel=1e-3)
    ratio = next(r for r in score.ratios if r.opponent == "moment-matched")
    assert ratio.verdict in text[0] and "Cumulants(2)" in text[0]


def test_colours_and_names_belong_to_their_estimator(page: Any) -> None:
    keys = page.evaluate(
        "Object.fromEntries([...byId('key').children].slice(0, 4).map((span) =>"
        " [span.textContent, span.querySelector('path').getAttribute('fill')]))"
    )
    drawn = page.evaluate(
        "Object.fromEntries(byId('flops').data.filter((t) => t.marker?.size)"
        ".map((t) => [t.name, t.marker.color]))"
    )
    assert keys == drawn and len(set(keys.values())) == len(LINES)
    counts = page.evaluate(
        "Object.fromEntries(byId('flops').data.filter((t) => t.marker?.size)"
        ".map((t) => [t.name, t.x.length]))"
    )
    assert counts == dict(zip(LINES, (1, 1, 2, 1), strict=True))


def test_filters_change_what_is_shown(page: Any) -> None:
    page.select_option("[data-setting=width]", "64")
    assert texts(page, "#family option") == [f"RandomMLP(width=64, depth={d})" for d in (1, 4)]
    assert "2 families of 6" in page.inner_text("#shown")
    assert len(texts(page, "#maps .heatmap-label")) == 2
    assert f"{VERDICTS // 3} verdicts" in page.inner_text("#counts")

    page.get_by_role("checkbox", name="Cumulants(3) at budget N").uncheck()
    assert points(page, "flops") == 3
    assert f"{VERDICTS // 3 * 3 // 5} verdicts" in page.inner_text("#counts")
    assert "Cumulants(3) at N=4096" not in column(page, "Estimator")

    page.click("#none")
    assert points(page, "flops") == 0
    assert "No verdict matches" in page.inner_text("#counts")
    page.click("#all")
    assert points(page, "flops") == 5


def test_another_family_and_every_problem(page: Any) -> None:
    before = page.evaluate("byId('flops').layout.xaxis.range")
    page.select_option("#family", label="RandomMLP(width=256, depth=4)")
    assert page.evaluate("byId('flops').layout.xaxis.range") != before
    page.check("#each")
    negative = page.evaluate(
        "places(study.cells).filter((i) => study.scores.family[study.cells.score[i]] === 5"
        " && study.cells.error[i] <= 0).length"
    )
    assert points(page, "flops") == 5 + 5 * 5 - negative


def test_error_against_settings_keeps_the_others(page: Any) -> None:
    page.select_option("#family", label="RandomMLP(width=64, depth=4)")
    assert page.locator("#trends .plot").count() == 2
    drawn = page.evaluate(
        "[...document.querySelectorAll('#trends .plot')].map((plot) =>"
        " [plot.layout.xaxis.title.text, plot.data.map((t) => [t.x, t.y])])"
    )
    assert [key for key, _ in drawn] == ["width", "depth"]
    assert [[x for x, _ in traces] for _, traces in drawn] == [[[16, 64, 256]] * 5, [[1, 4]] * 5]
    study = {(c.parameters["width"], c.parameters["depth"]): c for c in made.study()}
    errors = [study[width, 4].scores()[0].vn_error for width in (16, 64, 256)]
    assert drawn[0][1][0][1] == pytest.approx(errors, rel=1e-3)


def test_heat_map_has_every_ratio_in_its_place(page: Any) -> None:
    page.select_option("#map-opponent", label="antithetic")
    page.select_option("#map-budget", label="seconds")
    page.select_option("#map-estimator", label="Cumulants(1)")
    plot = "document.querySelector('#maps .plot')"
    trace = page.evaluate(f"(({{x, y, z}}) => ({{x, y, z}}))({plot}.data[0])")
    titles = page.evaluate(f"['xaxis', 'yaxis'].map((a) => {plot}.layout[a].title.text)")
    assert titles == ["width", "depth"]
    assert (trace["x"], trace["y"]) == (["16", "64", "256"], ["1", "4"])
    for comparison in made.study():
        (ratio,) = (
            r
            for r in comparison.scores()[0].ratios
            if (r.opponent, r.budget) == ("antithetic", "seconds")
        )
        place = [str(comparison.parameters[key]) for key in ("width", "depth")]
        shown = trace["z"][trace["y"].index(place[1])][trace["x"].index(place[0])]
        assert 10**shown == pytest.approx(max(ratio.value, 1e-3), rel=1e-3)  # colours end there


def test_heat_map_follows_estimator_opponent_and_budget(page: Any) -> None:
    seen = {tuple(texts(page, "#maps .heatmap-label"))}
    for select, label in (
        ("#map-estimator", "Poor"),
        ("#map-opponent", "scrambled Sobol"),
        ("#map-budget", "seconds"),
    ):
        page.select_option(select, label=label)
        seen.add(tuple(texts(page, "#maps .heatmap-label")))
    assert len(seen) == 4
    assert all("▼" in text for text in texts(page, "#maps .heatmap-label"))


def test_table_of_verdicts_is_filtered_and_searched(page: Any) -> None:
    page.select_option("#table-opponent", label="antithetic")
    page.select_option("#table-budget", label="seconds")
    assert f"{FAMILIES * 5} verdicts" in page.inner_text("#counts")
    assert set(column(page, "Opponent")) == {"antithetic"}
    assert set(column(page, "At equal")) == {"seconds"}
    page.select_option("#table-verdict", label="▼ loses to")
    assert set(column(page, "Verdict")) == {"▼ loses to"}
    page.fill("#table-search", "poor width=16")
    assert set(column(page, "Estimator")) == {"Poor"}
    assert set(column(page, "Family")) == {f"RandomMLP(width=16, depth={d})" for d in (1, 4)}


def test_table_is_sorted_by_buttons_and_grows(page: Any) -> None:
    assert len(texts(page, "#ratios tbody tr")) == 100
    page.click("#more")
    assert len(texts(page, "#ratios tbody tr")) == VERDICTS
    assert page.locator("#more").is_hidden()
    button = page.get_by_role("button", name="Ratio")
    head = page.locator("#ratios th", has=button)
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = shown_ratios(page)
    assert rising == sorted(rising) and rising[0] < rising[-1]
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    falling = shown_ratios(page)
    assert falling == sorted(falling, reverse=True) and falling[0] > rising[-1]
    page.get_by_role("button", name="Family").click()


def shown_ratios(page: Any) -> list[float]:
    return [float(text.lstrip("≥≤ ").replace("∞", "inf")) for text in column(page, "Ratio")]


def test_everything_is_reached_and_worked_by_keyboard(page: Any) -> None:
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.click(640, 3)
    reached: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        what = page.evaluate(
            "(() => { const e = document.activeElement; return e === document.body ? '' : e.id ||"
            " e.dataset.setting || e.dataset.line || e.getAttribute('href') ||"
            " e.getAttribute('aria-label') || e.textContent; })()"
        )
        if not what:
            break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", what
        reached.append(what)
    wanted = [
        "#verdicts", "theme", "#cost", "#verdicts", "reset", "width", "depth", "all", "none",
        "0", "family", "against", "each", "Figures of this family", "map-estimator",
        "map-opponent", "map-budget", "table-opponent", "table-budget",
        "table-verdict", "table-search", "Table of verdicts",
        "Family", "Ratio", "more", "Provenance",
    ]  # fmt: skip
    assert [what for what in reached if what in wanted] == wanted

    page.focus("[data-line='3']")
    page.keyboard.press("Space")
    assert points(page, "flops") == 4
    page.get_by_role("button", name="Estimator").focus()
    page.keyboard.press("Enter")
    names = column(page, "Estimator")
    assert names == sorted(names) and names[0] == "Cumulants(1)"
    page.get_by_role("button", name="Family").click()


def test_every_control_has_a_name(page: Any) -> None:
    unnamed = page.evaluate(
        "[...document.querySelectorAll('select, input')].filter((e) => !e.labels.length)"
        ".map((e) => e.id)"
    )
    assert unnamed == []
    names = page.evaluate(
        "[...document.querySelectorAll('button')].map((b) => b.ariaLabel || b.textContent)"
    )
    assert all(names)
    # Plotly's own offer to upload a figure.
    assert not any("hare" in name or "loud" in name for name in names)
    assert all(page.locator(".plot").nth(i).get_attribute("aria-label") for i in range(3))


def test_light_dark_and_paper(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("#theme[aria-pressed=true]")
    ink = "getComputedStyle(document.querySelector('#flops .xtitle')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ink), page.evaluate(paper)
    page.click("#theme")
    light = page.evaluate(ink), page.evaluate(paper)
    assert page.get_attribute("#theme", "aria-pressed") == "false"
    assert brightness(dark[0]) > 180 > 60 > brightness(dark[1])
    assert brightness(light[0]) < 60 < 200 < brightness(light[1])

    page.click("#theme")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert (page.evaluate(ink), page.evaluate(paper)) == light
    assert page.locator("#reset").is_hidden()
    widths = "[...document.querySelectorAll('.main-svg')].map((svg) => svg.clientWidth)"
    assert set(page.evaluate(widths)) == {640}
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(ink) == dark[0]
    assert 640 not in page.evaluate(widths)
    page.emulate_media(media="screen", color_scheme="light")
    page.click("#theme")


def brightness(colour: str) -> float:
    numbers = [float(n) for n in colour.split("(")[1].rstrip(")").split(",")[:3]]
    return sum(numbers) / 3


def test_phone(open_page: Open) -> None:
    long = made.comparison(name="A" * 120, estimators=["Poor", "B" * 120])
    page = open_page([*made.study(), long], width=390, has_touch=True)
    page.click("#more")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map((e) => [e.scrollWidth > e.clientWidth,"
        " e.getBoundingClientRect().right <= 390, e.tabIndex])"
    )
    assert len(boxes) >= 4 and any(scrolls for scrolls, _, _ in boxes)
    assert all(inside and index == 0 for _, inside, index in boxes)
    assert page.complaints == []


def test_hostile_names_are_shown_as_text(open_page: Open) -> None:
    first, second = made.comparison(16, 1), made.comparison(64, 1)
    changed = dataclasses.replace(
        made.failing(made.comparison(16, 4), "Poor", HOSTILE, (0,)),
        family=HOSTILE,
        kind="__proto__",
        parameters={"width": HOSTILE, "constructor": "</script>", HOSTILE: "%{x} $1 ${title}"},
        provenance={HOSTILE: HOSTILE},
    )
    renamed = dataclasses.replace(
        second,
        kind="__proto__",
        methods=(HOSTILE,),
        cells=tuple(
            dataclasses.replace(c, method=HOSTILE) if c.method == "Poor" else c
            for c in second.cells
            if c.method in ("Poor", *second.opponents)
        ),
    )
    page = open_page([first, changed, renamed])
    page.select_option("#kind", "__proto__")
    page.select_option("#map-estimator", label=HOSTILE)
    assert texts(page, "#maps .xtick text") == ["64"]
    page.select_option("#map-estimator", label="Poor")
    assert HOSTILE in texts(page, "#maps .xtick text")
    page.select_option("#family", label=second.family)
    page.hover("#flops .scatterlayer .trace:last-child .points path", force=True)
    assert HOSTILE in "".join(texts(page, "#flops .hoverlayer text"))
    page.select_option("#family", label=HOSTILE)
    assert page.evaluate("document.querySelectorAll('img, main script').length") == 0
    assert HOSTILE in column(page, "Family")
    for box in ("#trouble-box", "#provenance-box", "#lines"):
        assert HOSTILE in page.inner_text(box)
    assert (page.complaints, len(page.fetched)) == ([], 1)


def without_truth(found: Comparison) -> Comparison:
    truths = tuple(Truth(problem=t.problem, error="ValueError: no truth") for t in found.truths)
    return dataclasses.replace(found, truths=truths)


def all_failed(found: Comparison) -> Comparison:
    for method in (*found.methods, *found.opponents):
        found = made.failing(found, method, "ValueError: no luck", range(5))
    return found


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (
            [without_truth(made.comparison()), all_failed(made.comparison(kind="other"))],
            ["no problem could be evaluated", "ValueError: no truth", "ValueError: no luck"],
        ),
        (
            [made.comparison(opponents=())],
            ["There is one family of this kind", "Cumulants(2)", "plain Monte Carlo"],
        ),
        (
            [made.comparison(kind="", name="net", estimators=(), seed=s) for s in (1, 2)],
            ["2 families of 2", "No estimator is shown", "No verdict matches"],
        ),
    ],
    ids=["all failed", "one family and the formula", "no estimators, and settings that agree"],
)
def test_odd_studies_give_sensible_pages(
    study: list[Comparison], words: list[str], open_page: Open
) -> None:
    page = open_page(study)
    shown = page.text_content("main")
    assert [w for w in words if w not in shown] == []
    assert page.locator("#flops .main-svg").count() > 0
    for select in page.locator("select").all():
        if select.is_visible() and select.locator("option").count():
            select.select_option(index=select.locator("option").count() - 1)
    page.click("#none")
    page.click("#theme")
    assert page.complaints == []


def test_the_file_is_made_of_files_of_the_package() -> None:
    page = html_page(made.study(), "R&D <study>")
    assert "<title>R&amp;D &lt;study&gt;</title>" in page
    assert "$" + "{" in page and "Content-Security-Policy" in page
    assert page.count("</script>") == 4
    folder = Path(html_page.__code__.co_filename).parent
    assert {p.suffix for p in folder.iterdir()} >= {".css", ".html", ".js", ".py"}


def test_nothing_to_show() -> None:
    with pytest.raises(InputError, match="comparisons is empty"):
        html_page([])
