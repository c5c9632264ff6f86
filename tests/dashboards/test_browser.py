"""The report and MLflow's own pages in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sweep_folders
from browser import chromium, errors, show_as

from dashboards import server, views
from dashboards.report import write_report
from dashboards.shipper import sync

pytestmark = pytest.mark.browser

WAIT_S = 60


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Path:
    home = tmp_path_factory.mktemp("seen")
    shutil.copy(database, home / "mlflow.db")
    sweep_folders.make_searched_sweep(home, trials=20)
    return home


@pytest.fixture(scope="module")
def report(home: Path) -> str:
    return write_report(home, "searched").as_uri()


@pytest.fixture(scope="module")
def mlflow(home: Path) -> Iterator[tuple[str, str]]:
    """The server's address and the experiment's id."""
    experiment = sync(home, "searched")
    running = server.start(home)
    yield running.url, experiment
    running.stop()


def until(page: Any, holds: Callable[[Any], Any]) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, WAIT_S, ignored_exceptions=(Exception,)).until(holds)


def script(page: Any, code: str) -> Any:
    return page.execute_script(f"return {code}")


def draw_all(page: Any) -> int:
    """Bring every figure near the window, and wait until it is drawn; returns how many."""
    figures = script(page, "document.querySelectorAll('[data-figure]').length")
    for i in range(figures):
        page.execute_script(f"document.getElementById('figure-{i}').scrollIntoView()")
        until(page, lambda p, i=i: script(p, f"!!document.querySelector('#figure-{i} .main-svg')"))
    return int(figures)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_readable(page: Any, report: str, width: int, scheme: str) -> None:
    show_as(page, width, 900, scheme)
    page.get(report)
    assert draw_all(page) > 10
    assert errors(page) == []
    assert script(page, "performance.getEntriesByType('resource')") == []  # it works offline
    assert script(page, "document.documentElement.scrollWidth") <= width
    paper = script(page, "getComputedStyle(document.body).backgroundColor")
    ink = script(page, "getComputedStyle(document.body).color")
    dark, light = sorted((paper, ink), key=lambda rgb: sum(map(int, rgb[4:-1].split(","))))
    assert (paper, ink) == ((dark, light) if scheme == "dark" else (light, dark))
    text = "document.querySelector('#figure-0 .xtick text').style.fill"
    assert script(page, text) == ink  # the figures follow the page's theme
    inside = """[...document.querySelectorAll('.card')].every((card) => {
        const box = card.getBoundingClientRect();
        return box.left >= 0 && box.right <= window.innerWidth;
    })"""
    assert script(page, inside)


def points(page: Any) -> int:
    return int(script(page, "document.querySelectorAll('#figure-0 .scatterlayer .point').length"))


def test_filters_hide_trials_everywhere(page: Any, report: str) -> None:
    show_as(page, 1280, 900, "light")
    page.get(report)
    until(page, points)
    rows = "[...document.querySelectorAll('tr[data-trial]')].filter((r) => !r.hidden).length"
    all_points, all_rows = points(page), script(page, rows)
    chips = {c.text: c for c in page.find_elements("css selector", ".chip")}
    assert set(chips) == {"s4", "s4d", "completed", "failed", "pruned", "stopped"}
    chips["s4"].click()
    until(page, lambda p: points(p) < all_points)
    assert script(page, rows) < all_rows
    assert "of 20 trials" in page.find_element("id", "count").text
    chips["s4"].click()
    until(page, lambda p: points(p) == all_points)
    page.find_element("id", "words").send_keys("s4d init=inv")
    until(page, lambda p: points(p) < all_points)
    assert "s4d" in page.find_element("css selector", "tr[data-trial]:not([hidden])").text
    assert errors(page) == []


def test_tables_sort_by_the_column_that_is_clicked(page: Any, report: str) -> None:
    page.get(report)
    table = page.find_element("css selector", "table")
    heads = {head.text: head for head in table.find_elements("css selector", "th")}

    def shown() -> list[int]:
        rows = "[...document.querySelector('table').tBodies[0].rows].filter((r) => r.offsetHeight)"
        return list(script(page, f"{rows}.map((r) => +r.cells[1].innerText)"))

    heads["trial"].click()
    assert shown() == list(range(15))
    page.find_element("css selector", "button.more").click()
    assert shown() == list(range(20))
    page.execute_script("window.scrollTo(0, 0)")
    heads["trial"].click()
    assert shown() == list(range(19, -1, -1))


def test_the_theme_can_be_changed_by_hand(page: Any, report: str) -> None:
    show_as(page, 1280, 900, "light")
    page.get(report)
    until(page, points)
    paper = "getComputedStyle(document.body).backgroundColor"
    before = script(page, paper)
    page.find_element("id", "theme").click()
    assert script(page, paper) != before
    page.find_element("id", "theme").click()
    assert script(page, paper) == before


def test_the_sweep_is_found_in_mlflow_by_clicking(page: Any, mlflow: tuple[str, str]) -> None:
    from selenium.webdriver.common.by import By

    show_as(page, 1600, 1000, "light")
    page.get(f"{mlflow[0]}/#/experiments")
    until(page, lambda p: p.find_element(By.XPATH, "//*[text()='Model training']")).click()
    until(page, lambda p: p.find_element(By.LINK_TEXT, "searched")).click()
    until(page, lambda p: p.find_element(By.LINK_TEXT, "00-summary"))
    until(page, lambda p: p.find_element(By.LINK_TEXT, "0003")).click()
    until(page, lambda p: "model.n_layers" in p.find_element(By.TAG_NAME, "body").text)
    text = page.find_element(By.TAG_NAME, "body").text
    for word in ("val/accuracy", "smnist", "train.lr", "best/val/accuracy"):
        assert word in text, f"{word} is not on the run's page"


def test_the_charts_that_were_set_up_by_code_are_drawn(page: Any, mlflow: tuple[str, str]) -> None:
    """Breaks when a new MLflow no longer understands the shared view (see dashboards/views.py)."""
    from selenium.webdriver.common.by import By

    show_as(page, 1600, 2000, "light")
    page.get(views.url(*mlflow, has_view=True))
    until(page, lambda p: "Sweep" in p.find_element(By.TAG_NAME, "body").text)
    # Best so far, parallel coordinates, curves, and a scatter of each number that was searched.
    until(page, lambda p: script(p, "document.querySelectorAll('.js-plotly-plot').length") >= 4)
    lines = "document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length"
    assert until(page, lambda p: script(p, lines)) >= 10
