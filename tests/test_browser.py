"""The reports in a real browser: from the group to a scan, the table sorted, the viewer opened."""

import io
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from qc_jax import cli

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


def test_narrow_screens_do_not_scroll_sideways(browser, group_page):
    browser.set_window_size(500, 900)
    for page in (group_page, group_page.replace("group_T1w", "scan-1")):
        browser.get(page)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= browser.execute_script("return window.innerWidth")
