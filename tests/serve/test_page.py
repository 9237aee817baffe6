"""The page at / in a real Chromium: by keyboard, for screen readers, offline, narrow and wide."""

import re

import pytest

from tests.serve.browser import chromium
from tests.serve.conftest import MARKUP
from tests.serve.server import serving
from tests.serve.test_answers import expected

pytest.importorskip("playwright", reason="pip install -e '.[test]'")
from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

pytestmark = [pytest.mark.process, pytest.mark.slow]

SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser, server):
    """Opens a page; at the end nothing was said on any console, and nothing was loaded from elsewhere."""
    said, contexts = [], []

    def open_page(path="/", url=server.url, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url.startswith(url) or said.append(request.url))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said


def add(page, *queries):
    """Items found and chosen by keyboard alone."""
    for query in queries:
        search = page.get_by_role("combobox")
        search.fill(query)
        expect(page.get_by_role("option").first).to_be_visible(timeout=30_000)
        search.press("ArrowDown")
        search.press("Enter")
        expect(search).to_have_value("")
    drawn(page)


def drawn(page):
    """Waits for the reasons."""
    page.locator("#recommendations:not([aria-busy]) .bars").first.wait_for()


def titles(page):
    return page.locator("#recommendations h3").all_text_contents()


def check_accessible(page):
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_a_history_is_built_by_keyboard_and_recommendations_are_those_of_the_run(open_page, runs):
    page = open_page()
    assert page.locator("#about").text_content().startswith("rcf on data: 60 items")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    search = page.get_by_role("combobox", name="Add an item: part of its title, or its id")
    expect(search).to_be_focused()
    page.keyboard.type("golden")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options.first).to_be_visible()
    assert search.get_attribute("aria-expanded") == "true"
    assert all(title.startswith("Golden") for title in options.all_text_contents())
    expect(page.locator("#search-status")).to_contain_text("found")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert search.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    assert options.first.get_attribute("aria-selected") == "true"
    chosen = options.first.text_content()
    page.keyboard.press("Enter")
    drawn(page)
    assert page.locator("#history span").all_text_contents() == [chosen]
    assert search.get_attribute("aria-expanded") == "false"
    expect(search).to_be_focused()
    items, _ = expected(runs["first"], histories=[[own_id(runs, chosen)]], k=10)[0]
    known = runs["first"].dataset.facts["title"].to_list()
    assert titles(page) == [known[int(item) - 1] for item in items]


def own_id(runs, title):
    return str(runs["first"].dataset.facts["title"].to_list().index(title) + 1)


def test_removing_an_item_shows_what_changes(open_page):
    page = open_page()
    add(page, "red lamp", "blue tent", "green guitar")
    before = titles(page)
    assert page.locator("#history span").all_text_contents() == ["Green guitar", "Blue tent", "Red lamp"]
    remove = page.get_by_role("button", name="Remove Blue tent")
    remove.focus()
    page.keyboard.press("Enter")
    changes = page.locator("#changes")
    expect(changes).to_contain_text("Removed Blue tent.")
    assert changes.get_attribute("role") == "status"
    expect(page.get_by_role("button", name="Remove Red lamp")).to_be_focused()
    drawn(page)
    after = titles(page)
    fresh = [title for title in after if title not in before]
    assert page.locator("li:has(.badge.new) h3").all_text_contents() == fresh
    for number, title in enumerate(after):
        if title in before and before.index(title) != number:
            by = before.index(title) - number
            badge = page.locator("#recommendations > li").nth(number).locator(".badge").text_content()
            assert badge == (f"up {by}" if by > 0 else f"down {-by}")
    gone = [title for title in before if title not in after]
    assert all(title in changes.text_content() for title in gone)
    page.get_by_role("button", name="Undo").press("Enter")
    expect(page.locator("#history li")).to_have_count(3)
    drawn(page)
    assert titles(page) == before
    page.get_by_role("button", name="Remove all").press("Enter")
    expect(page.locator("#recommendations > li")).to_have_count(0)
    expect(page.locator("#recommendations-empty")).to_be_visible()


def test_reasons_are_bars_by_item_and_by_relation(open_page, server, runs):
    page = open_page()
    add(page, "red lamp", "blue tent")
    history = [own_id(runs, "Red lamp"), own_id(runs, "Blue tent")]
    first = titles(page)[0]
    told = server.post("/explain", {"history": history, "items": [own_id(runs, first)]}).json()["items"][0]
    rows = page.get_by_role("list", name=f"Reasons for {first}").get_by_role("listitem")
    expect(rows).to_have_count(2)
    values = {row.locator(".name").text_content(): row.locator(".value").text_content() for row in rows.all()}
    for reason in told["reasons"]:
        sign = "−" if reason["contribution"] < 0 else "+"
        assert values[reason["title"]] == f"{sign}{abs(reason['contribution']):.2f}"
    page.get_by_role("radio", name="relation").check()
    names = page.get_by_role("list", name=f"Reasons for {first}").locator(".name").all_text_contents()
    assert set(names) <= {*told["reasons"][0]["relations"], "2 others", "3 others"} and len(names) >= 2
    widths = page.locator(".fill").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert max(widths) > 50


def test_titles_are_text(open_page):
    page = open_page()
    add(page, "bold")
    assert page.locator("#history span").all_text_contents() == [MARKUP]
    assert page.locator("#history b, #history img").count() == 0


def test_nothing_found_escape_and_twice(open_page):
    page = open_page()
    search = page.get_by_role("combobox")
    search.fill("zzzzzz")
    expect(page.locator("#search-status")).to_have_text("No item is like “zzzzzz”.")
    search.fill("golden")
    expect(page.get_by_role("option").first).to_be_visible()
    search.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    search.press("Escape")
    expect(search).to_have_value("")
    add(page, "red lamp", "red lamp")
    expect(page.locator("#search-status")).to_have_text("Red lamp is in the history already.")
    expect(page.locator("#history li")).to_have_count(1)


def test_a_recommendation_is_added(open_page):
    page = open_page()
    add(page, "red lamp")
    first = titles(page)[0]
    page.get_by_role("button", name=f"Add {first} to the history").press("Enter")
    drawn(page)
    assert page.locator("#history span").all_text_contents()[0] == first
    assert first not in titles(page)


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_accessible_and_no_wider_than_the_window(open_page, scheme, width):
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "reduced_motion": "reduce"}
    page = open_page(**options)
    page.locator("#about", has_text="epoch").wait_for()
    check_accessible(page)
    add(page, "red lamp", "bold", "blue tent")
    page.get_by_role("combobox").fill("golden")
    expect(page.get_by_role("option").first).to_be_visible()
    page.get_by_role("combobox").press("ArrowDown")
    check_accessible(page)
    page.get_by_role("combobox").press("Escape")
    page.get_by_role("button", name="Remove Red lamp").click()
    drawn(page)
    page.get_by_role("radio", name="relation").check()
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page = open_page("/docs", **options)
    expect(page.get_by_role("heading", level=2)).to_have_count(7)
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_server_that_is_gone_is_told(browser, place):
    with serving(place, place / "first") as server:
        page = browser.new_page()
        page.goto(server.url)
        add(page, "red lamp")
        page.goto(server.url)
        page.locator("#about", has_text="epoch").wait_for()
        assert server.stop() == (0, "")
        page.get_by_role("combobox").fill("red")
        told = "The server does not answer. Is it running?"
        expect(page.locator("#search-status")).to_have_text(re.compile(re.escape(told)))
        page.close()
