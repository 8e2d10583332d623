#!/usr/bin/env python3
"""Looks at the connector's page with a browser: headless Chromium, by WebDriver. Talks to loopback only, and ends by itself.

    page.py look URL [--size 1280x900] [--scheme light|dark] [--screenshot FILE] [--whole] [--settle SECONDS]
        opens the page, waits for its first state, and prints one JSON object:
          headline, title, level; now: the `now` of the state that is shown; figures: {path: exact value};
          texts: {path: what a person reads}; violations: of the content security policy; errors: on the console;
          width: {window, content} in CSS pixels, where content wider than the window means that one has to scroll sideways
    page.py wait URL --headline TEXT [--headline TEXT …] [--after UNIX_SECONDS] [--limit SECONDS]
        opens the page, prints {"open": true}, and then a line each time the next headline has come that contains TEXT:
          {"headline": …, "at": UNIX_SECONDS, "after": SECONDS since --after, or since the line before}
        Exit status 1 with a message on standard error where one does not come within --limit (30) seconds.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server",
    # Nothing but loopback is found, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
PATIENCE = 30
# The driver is on loopback; a proxy of the environment has no business there.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# Set up before the page's own scripts: what the policy forbade, and each headline with the instant it came at.
WATCH = """
window.watched = {violations: [], headlines: []};
document.addEventListener("securitypolicyviolation", (e) => watched.violations.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));
document.addEventListener("DOMContentLoaded", () => {
  const headline = document.getElementById("headline");
  const note = () => watched.headlines.push({headline: headline.textContent, at: Date.now() / 1000});
  new MutationObserver(note).observe(headline, {childList: true, characterData: true, subtree: true});
  note();
});
"""
LOOK = """
const figures = {}, texts = {}, doubled = [];
for (const element of document.querySelectorAll("[data-figure]")) {
  const {figure, value} = element.dataset;
  if (figure in figures && JSON.stringify(figures[figure]) !== value) doubled.push(figure);
  figures[figure] = JSON.parse(value);
  texts[figure] = element.textContent;
}
return {
  headline: document.getElementById("headline").textContent, title: document.title, level: document.getElementById("top").className,
  now: Number(document.body.dataset.now), old: document.body.classList.contains("old"), figures, texts, doubled, violations: watched.violations,
  width: {window: innerWidth, content: document.documentElement.scrollWidth},
};
"""


def end_with_this_process(group, folder):
    """Leaves a process that waits until this one is gone, killed even, and then ends the group and removes the folder."""
    alive, ours = os.pipe()
    if os.fork() == 0:
        os.close(ours)
        os.read(alive, 1)
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
    os.close(alive)


class Browser:
    """One browser with one page; a `with` block ends it and removes what it wrote."""

    def __init__(self, size=(1280, 900), scheme="light"):
        self.folder = tempfile.TemporaryDirectory(prefix="page-", ignore_cleanup_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in [*FLAGS, f"--user-data-dir={self.folder.name}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # A process group of its own, so that all of it can be ended, whatever becomes of this process.
        service = Service(DRIVER, popen_kw={"start_new_session": True})
        self.driver = webdriver.Chrome(options=options, service=service)
        end_with_this_process(service.process.pid, self.folder.name)
        self.driver.set_page_load_timeout(PATIENCE)
        self.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.resize(size)
        self.colours(scheme)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()
        self.folder.cleanup()

    def command(self, name, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def resize(self, size):
        narrow = size[0] < 600
        self.command("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=2 if narrow else 1, mobile=narrow)

    def colours(self, scheme, motion="no-preference"):
        self.command("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}])

    def open(self, url):
        """Opens the page and waits until it shows a state."""
        self.driver.get(url)
        self.until(lambda: self.run("return document.body.dataset.now !== undefined"), "the page shows no state")

    def until(self, condition, otherwise, limit=PATIENCE):
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise}; the headline is {self.headline()!r}, the console says {self.errors()}")
            time.sleep(0.05)

    def headline(self):
        return self.run("return document.getElementById('headline')?.textContent")

    def headlines(self):
        """Each headline since the page was opened, with its instant."""
        return self.run("return watched.headlines")

    def look(self):
        return self.run(LOOK) | {"errors": self.errors()}

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, file, whole=False):
        if whole:
            size = self.run("return [innerWidth, document.documentElement.scrollHeight]")
            self.resize(size)
            time.sleep(0.3)
        self.driver.save_screenshot(file)


def look(options):
    with Browser(options.size, options.scheme) as browser:
        browser.open(options.url)
        time.sleep(options.settle)
        found = browser.look()
        if options.screenshot:
            browser.screenshot(options.screenshot, options.whole)
    print(json.dumps(found, indent=1, ensure_ascii=False))


def wait(options):
    with Browser() as browser:
        browser.open(options.url)
        print(json.dumps({"open": True}), flush=True)
        passed, before = 0, options.after or time.time()
        for wanted in options.headline:
            seen = None

            def come():
                nonlocal passed, seen
                for headline in browser.headlines()[passed:]:
                    passed += 1
                    if wanted in headline["headline"]:
                        seen = headline
                        return True
                return False

            browser.until(come, f"no headline with {wanted!r} within {options.limit} s", options.limit)
            print(json.dumps(seen | {"after": round(seen["at"] - before, 3)}, ensure_ascii=False), flush=True)
            before = seen["at"]


def size(text):
    width, height = text.split("x")
    return int(width), int(height)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    looking = commands.add_parser("look")
    looking.set_defaults(run=look)
    looking.add_argument("url")
    looking.add_argument("--size", type=size, default=(1280, 900))
    looking.add_argument("--scheme", choices=["light", "dark"], default="light")
    looking.add_argument("--screenshot")
    looking.add_argument("--whole", action="store_true")
    looking.add_argument("--settle", type=float, default=0)
    waiting = commands.add_parser("wait")
    waiting.set_defaults(run=wait)
    waiting.add_argument("url")
    waiting.add_argument("--headline", action="append", required=True)
    waiting.add_argument("--after", type=float)
    waiting.add_argument("--limit", type=float, default=PATIENCE)
    options = parser.parse_args()
    # Whoever started this may end it early: the browser is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        options.run(options)
    except TimeoutError as error:
        sys.exit(f"page.py: {error}")


if __name__ == "__main__":
    main()
