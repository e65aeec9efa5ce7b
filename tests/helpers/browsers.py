"""See the page of a service as its users do: in a browser."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

PATIENCE = 60_000  # ms for whatever must happen: the computer may have much else to do
EXPECTED = ("400 (Bad Request)", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE")  # of what a test asks for


@contextmanager
def chromium():
    """Start the browser."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


def is_problem(said):
    """Tell whether what the browser says is an error that no test asks for."""
    return said.type == "error" and not any(each in said.text for each in EXPECTED)


@contextmanager
def page_of(service, browser, role, **options):
    """Sign in, and see to it that the page makes no mistake and asks nobody else."""
    context = browser.new_context(**{"viewport": {"width": 1300, "height": 1000}} | options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    problems, elsewhere = [], []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if is_problem(said) else None)
    own = (f"{service.address('page')}/", "data:", f"blob:{service.address('page')}/")
    page.on("request", lambda asked: None if asked.url.startswith(own) else elsewhere.append(asked.url))
    page.goto(service.address("page"))
    page.fill("#key", service.key(role))
    page.click("text=Sign in")
    expect(page.locator("#who")).to_have_text(role)
    yield page
    context.close()
    assert problems == []
    assert elsewhere == []
