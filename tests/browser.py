"""A real browser for tests: the system's Chromium, driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ARTEFACTS = Path(__file__).parent / "artefacts"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

PAINTED = """() => {
  const within = node => [...node.querySelectorAll('*')].flatMap(e => [e, ...(e.shadowRoot ? within(e.shadowRoot) : [])]);
  const drawn = canvas => {
    if (!canvas.width || !canvas.height) return false;
    const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return pixels.some(pixel => pixel !== pixels[0]);
  };
  return within(document.body).filter(e => e.classList.contains('bk-Canvas') && e.checkVisibility())
    .map(plot => within(plot.shadowRoot ?? plot).some(e => e.tagName === 'CANVAS' && drawn(e)));
}"""


@dataclass
class Visit:
    """A page that is open, and what went on in it."""

    page: object
    problems: list[str] = field(default_factory=list)
    """Errors on the console, exceptions of scripts, and requests that failed."""
    requests: list[str] = field(default_factory=list)
    """Addresses that the page asked for."""

    def painted(self) -> list[bool]:
        """Whether each plot that is not hidden has anything drawn on it."""
        return self.page.evaluate(PAINTED)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    def keep(self, name: str) -> Path:
        """A screenshot of the whole page, kept for people to look at."""
        ARTEFACTS.mkdir(exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path


@pytest.fixture(scope="session")
def browser():
    """Chromium; without it, or playwright, tests are skipped, unless MOMENTS_XR_BROWSER=required."""
    required = os.environ.get("MOMENTS_XR_BROWSER") == "required"
    found = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if found is None or sync_playwright is None:
        lacking = "playwright" if sync_playwright is None else "Chromium"
        (pytest.fail if required else pytest.skip)(f"no browser to test with: {lacking} is not installed")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield launched
        launched.close()


@contextmanager
def visit(browser, address: str, size: str = "desktop", offline: bool = False) -> Iterator[Visit]:
    """Open an address in a window of a size, and listen to what goes wrong."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, offline=offline, has_touch=size == "phone"
    )
    seen = Visit(context.new_page())
    seen.page.on("console", lambda m: m.type == "error" and seen.problems.append(m.text))
    seen.page.on("pageerror", lambda error: seen.problems.append(str(error)))
    seen.page.on("requestfailed", lambda request: seen.problems.append(f"failed: {request.url}"))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    try:
        seen.page.goto(address)
        yield seen
    finally:
        context.close()
