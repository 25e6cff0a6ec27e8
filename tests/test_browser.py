"""The reports in a real browser: from the group to a scan, the table sorted, the viewer opened,
scans rated and grouped."""

import io
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from experiments.benchmarks import study
from qc_jax import cli
from qc_jax.scoring import group, ratings

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser():
    if not (BROWSER and DRIVER):
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("headless=new", "no-sandbox", "enable-unsafe-swiftshader", "window-size=1280,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def group_page(tmp_path_factory, head, model_path):
    folder = tmp_path_factory.mktemp("browser")
    rng = np.random.default_rng(0)
    scans = []
    for i in range(9):
        noisy = head + (0.5 if i == 4 else 0.01) * rng.standard_normal(head.shape)
        scans.append(str(folder / f"scan-{i}.nii.gz"))
        nib.save(nib.Nifti1Image(noisy.astype(np.float32), np.diag([8.0, 8, 8, 1])), scans[-1])
    options = ["--output-dir", str(folder / "out"), "--model", str(model_path)]
    assert cli.main(["score", *scans, *options]) == 0
    return (folder / "out/group_T1w.html").as_uri()


@pytest.fixture(scope="module")
def preview_page(tmp_path_factory, head):
    folder = tmp_path_factory.mktemp("preview")
    nib.save(nib.Nifti1Image(head, np.diag([8.0, 8, 8, 1])), folder / "scan.nii")
    command = ["preview", str(folder / "scan.nii"), "--output-dir", str(folder / "out")]
    assert cli.main([*command, "--voxel-size", "8"]) == 0
    (page,) = (folder / "out").glob("*.html")
    return page.as_uri()


@pytest.fixture(scope="module")
def study_page(tmp_path_factory):
    """The group page of thirty people of two sites."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    made = [study.generated(rng, index, refused=False) for index in range(30)]
    lines = []
    for index, record in enumerate(made):
        record["entities"] = {"sub": f"{index:02}"}
        record["acquisition"] = {"Manufacturer": ("Acme", "Bell", "Cray")[index % 3]}
        lines.append(f"sub-{index:02}\t{('Leeds', 'York')[index % 2]}\t{20 + index}\n")
    (folder / "participants.tsv").write_text("participant_id\tsite\tage\n" + "".join(lines))
    group.write_group(folder, made, group.read_participants(folder))
    return (folder / "group_T1w.html").as_uri()


def errors(browser) -> list[str]:
    # WebGL on a processor warns of its own slowness; that is no fault of the page.
    return [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def test_the_table_sorts_and_filters(browser, group_page):
    browser.get(group_page)
    heading = browser.find_element(By.XPATH, "//th/button[text()='score_task']")

    def shown():
        cells = browser.find_elements(By.XPATH, "//table[@id='scans']/tbody/tr/td[@data-value]")
        columns = len(cells) // 9
        index = [h.text for h in browser.find_elements(By.XPATH, "//table[@id='scans']//th/button")]
        words = ("scan", "status", "decision", "sentence")
        numbers = [name for name in index if name not in words]
        first = numbers.index("score_task")
        return [float(c.get_attribute("data-value")) for c in cells[first::columns]]

    heading.click()
    assert shown() == sorted(shown())
    heading.click()
    assert shown() == sorted(shown(), reverse=True)
    browser.find_element(By.ID, "filter").send_keys("scan-3")
    rows = browser.find_elements(By.XPATH, "//table[@id='scans']/tbody/tr")
    names = [row.text.split()[0] for row in rows if row.is_displayed()]
    assert len(names) == 1 and names[0].startswith("scan-3_")
    assert errors(browser) == []


def test_a_point_leads_to_its_report_and_the_viewer_opens(browser, group_page):
    browser.get(group_page)
    point = browser.find_element(By.CSS_SELECTOR, "svg a[aria-label^='scan-4']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    point.click()
    WebDriverWait(browser, 20).until(lambda b: b.title.startswith("scan-4"))
    browser.find_element(By.ID, "open").click()
    state = browser.find_element(By.ID, "state")
    WebDriverWait(browser, 60).until(lambda b: "is shown" in state.text or "cannot" in state.text)
    assert state.text == "grey matter is shown"
    select = browser.find_element(By.ID, "map")
    for option in select.find_elements(By.TAG_NAME, "option"):
        if option.text == "noise variance":
            option.click()
    WebDriverWait(browser, 60).until(lambda b: state.text == "noise variance is shown")
    canvas = browser.find_element(By.ID, "canvas")
    browser.execute_script("arguments[0].scrollIntoView()", canvas)

    def drawn(_):
        picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot_as_png)).convert("RGB"))
        return (picture.std(axis=(0, 1)) > 5).all() and len(np.unique(picture)) > 100

    WebDriverWait(browser, 20).until(drawn)
    assert errors(browser) == []
    browser.find_element(By.LINK_TEXT, "All scans").click()
    assert browser.title.startswith("Group report")


def test_three_scans_are_rated_saved_and_still_there_after_a_reload(browser, group_page, tmp_path):
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.get(group_page)
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    cards = browser.find_elements(By.CSS_SELECTOR, "#cards .card")
    order = [card.find_element(By.CSS_SELECTOR, ".name").text for card in cards]
    assert len(order) == 9
    # Every thumbnail is there.
    WebDriverWait(browser, 20).until(
        lambda b: (
            b.execute_script(
                "return [...document.querySelectorAll('#cards img')]"
                ".filter(i => i.complete && i.naturalHeight === 96).length"
            )
            >= 5
        )
    )
    who = browser.find_element(By.CSS_SELECTOR, "#rating .who")
    who.send_keys("Ann B", Keys.TAB)
    page = browser.find_element(By.TAG_NAME, "body")
    page.send_keys("1")
    page.send_keys("n")
    page.send_keys("3")
    browser.find_element(By.CSS_SELECTOR, "#rating .note").send_keys("=striped", Keys.TAB)
    # The third in its own report, to which n leads from there.
    browser.find_element(By.CSS_SELECTOR, "#current a").click()
    WebDriverWait(browser, 20).until(lambda b: b.title.startswith(order[1]))
    pressed = browser.find_element(By.CSS_SELECTOR, "#rating [aria-pressed=true]")
    assert pressed.get_attribute("data-rating") == "drop"
    browser.find_element(By.TAG_NAME, "body").send_keys("n")
    WebDriverWait(browser, 20).until(lambda b: b.title.startswith(order[2]))
    browser.find_element(By.TAG_NAME, "body").send_keys("2")
    for kind in ("tsv", "json"):
        browser.find_element(By.CSS_SELECTOR, f"#rating [data-save={kind}]").click()
        saved = tmp_path / f"ratings_Ann_B.{kind}"
        WebDriverWait(browser, 20).until(lambda b, saved=saved: saved.is_file())
        expected = dict(zip(order[:3], ("keep", "drop", "look"), strict=True))
        found = ratings.read(tmp_path / "none", [saved])
        assert found.by_rater == {"Ann_B": expected} and found.warnings == ()
    assert "\t'=striped\t" in (tmp_path / "ratings_Ann_B.tsv").read_text()
    browser.get(group_page)
    browser.refresh()
    assert "3 rated" in browser.find_element(By.CSS_SELECTOR, "#rating [role=status]").text
    cards = browser.find_elements(By.CSS_SELECTOR, "#cards .card")
    assert ["you: " in card.text for card in cards] == [True] * 3 + [False] * 6
    assert errors(browser) == []


def test_scans_are_grouped_by_site(browser, study_page):
    browser.get(study_page)
    select = Select(browser.find_element(By.ID, "groups"))
    texts = [option.text for option in select.options]
    assert {"participant_site", "participant_age", "Manufacturer"} <= set(texts)
    select.select_by_visible_text("participant_site")
    legend = browser.find_element(By.ID, "legend").text
    assert "Leeds (15)" in legend and "York (15)" in legend
    first = browser.find_element(By.CSS_SELECTOR, ".plot svg")
    fills = {c.get_attribute("fill") for c in first.find_elements(By.TAG_NAME, "circle")}
    assert len(fills) == 2 and len(first.find_elements(By.TAG_NAME, "rect")) == 2
    select.select_by_visible_text("participant_age")  # many numbers: quarters
    assert len(browser.find_elements(By.CSS_SELECTOR, "#legend span")) == 4
    select.select_by_value("")
    assert first.find_elements(By.CSS_SELECTOR, "circle.point")
    # There are no thumbnails, as of a version that made none.
    assert [e for e in errors(browser) if "thumbnails" not in e] == []


def test_the_filter_finds_any_scan_of_a_large_study(browser, tmp_path):
    rng = np.random.default_rng(0)
    made = [study.generated(rng, index, refused=False) for index in range(3000)]
    for record in made:
        record["predicted_dice"] = 0.5
    made[2990]["predicted_dice"] = 0.99  # the best of all
    group.write_group(tmp_path, made)
    browser.get((tmp_path / "group_T1w.html").as_uri())
    browser.find_element(By.ID, "filter").send_keys(made[2990]["name"])
    rows = browser.find_elements(By.CSS_SELECTOR, "#scans tbody tr")
    assert len(rows) == 1 and rows[0].text.startswith(made[2990]["name"])
    assert [e for e in errors(browser) if "thumbnails" not in e] == []


OUT_OF_VIEW = """
const wide = document.documentElement.clientWidth + 1;
return [...document.querySelectorAll("body *")]
  .filter(e => e.getBoundingClientRect().right > wide && e.getClientRects().length)
  .map(e => e.tagName + " " + e.textContent.trim().slice(0, 40));
"""


def test_on_a_phone_nothing_lies_out_of_view(browser, group_page, preview_page):
    """Not in what scrolls either."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(group_page)
        pages = [
            group_page,
            preview_page,
            browser.find_element(By.CSS_SELECTOR, "#scans a").get_attribute("href"),
        ]
        for page in pages:
            browser.get(page)
            assert browser.execute_script("return document.documentElement.clientWidth") == 390
            assert browser.execute_script(OUT_OF_VIEW) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_a_phone_letters_of_the_sides_are_readable(browser, group_page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(group_page)
        row = "//table[@id='scans']//a[starts-with(., 'scan-4')]"
        browser.get(browser.find_element(By.XPATH, row).get_attribute("href"))
        heights = browser.execute_script(
            "return [...document.querySelectorAll('.three:not(.pale) text')]"
            ".map(e => e.getBoundingClientRect().height)"
        )
        # Of three pictures of the scan, and of the named cause without and with its map.
        assert len(heights) >= 4 * (9 + 6) and min(heights) >= 9
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_narrow_screens_do_not_scroll_sideways(browser, group_page):
    browser.set_window_size(500, 900)
    for page in (group_page, group_page.replace("group_T1w", "scan-1")):
        browser.get(page)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= browser.execute_script("return window.innerWidth")
