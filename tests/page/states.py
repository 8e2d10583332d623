#!/usr/bin/env python3
"""The page against scripted states, in a browser: what it says in each of them, that every number of a state stands on it exactly, and that
it knows when its figures are old. `states.py -k NAME` runs some of them; the names are the promises."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

import stand_in
from page import Browser
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from stand_in import PAGE, SCENES, StandIn

PHONE, DESK = (360, 740), (1280, 900)
HEADLINES = {
    "healthy": ("well", "All is well: records arrive in Firehose"),
    "endpoint_down": ("bad", "Firehose cannot be reached: records are kept"),
    "refused": ("bad", "Firehose refuses records for 1 of 3 streams: they fail"),
    "queue_full": ("bad", "A queue is full: new records are rejected"),
    "broker_away": ("bad", "The broker is away: nothing arrives"),
    "many_streams": ("bad", "Firehose cannot be reached for 2 of 100 streams: records are kept"),
    "fresh": ("idle", "Connected and waiting: no record has come yet"),
}


def numbers(value, path=""):
    """Every number of a state, by its path."""
    if isinstance(value, dict):
        return {p: n for key, each in value.items() for p, n in numbers(each, f"{path}.{key}" if path else key).items()}
    if isinstance(value, list):
        return {p: n for index, each in enumerate(value) for p, n in numbers(each, f"{path}.{index}").items()}
    return {path: value} if isinstance(value, (int, float)) and not isinstance(value, bool) else {}


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())

    def show(self, scene, size=DESK, scheme="light", motion="no-preference"):
        server = StandIn(scene)
        self.addCleanup(server.end)
        self.browser.resize(size)
        self.browser.colours(scheme, motion)
        self.browser.errors()
        self.browser.open(server.url)
        return server

    def until(self, script, what):
        self.browser.until(lambda: self.browser.run(f"return {script}"), what)

    def text(self, selector):
        """What can be read there: nothing where it is not shown."""
        return self.browser.run("const e = document.querySelector(arguments[0]); return e.checkVisibility() ? e.innerText : ''", selector)

    def test_every_state_has_its_headline_and_all_its_numbers(self):
        self.assertEqual(HEADLINES.keys(), SCENES.keys())
        for name, scene in SCENES.items():
            for size, scheme in ((DESK, "light"), (PHONE, "dark")):
                with self.subTest(scene=name, size=size):
                    server = self.show(scene, size, scheme)
                    found = self.browser.look()
                    level, headline = HEADLINES[name]
                    self.assertEqual((found["level"], found["headline"]), (level, headline))
                    self.assertTrue(found["title"].startswith(headline), found["title"])
                    shown = [state for state in server.sent if state["now"] == found["now"]]
                    self.assertEqual(len(shown), 1, "the page shows a state that was sent")
                    wanted = numbers(shown[0])
                    del wanted["now"]
                    self.assertEqual({path: found["figures"].get(path) for path in wanted}, wanted)
                    self.assertEqual(found["doubled"], [], "one path has one value")
                    self.assertEqual((found["violations"], found["errors"]), ([], []))
                    self.assertLessEqual(found["width"]["content"], size[0], "nobody scrolls sideways")

    def test_numbers_are_written_as_people_read_them(self):
        state = SCENES["healthy"]()
        state["totals"] |= {"received": 9_007_199_254_740_991, "held": 0, "billed_bytes": 1023, "received_bytes": 1_048_576, "delivered_bytes": 1_610_612_736}
        state["rates"] |= {"received": 0.02, "delivered": 1_234_567.0, "retried": 999.7, "failed": 4.26, "rejected": 12_345.6}
        state["calls"] |= {"p50_ms": 3.42, "p99_ms": 12_340.0}
        state["broker"]["since"] = state["now"] - 7_385
        state["credentials"]["expires"] = state["now"] + 59
        state["streams"][0]["oldest_age_s"] = 0.4
        self.show(lambda: state)
        texts = self.browser.look()["texts"]
        wanted = {
            "totals.received": "9,007,199,254,740,991", "totals.held": "0", "totals.billed_bytes": "1023 B", "totals.received_bytes": "1 MiB",
            "totals.delivered_bytes": "1.50 GiB", "rates.received": "<0.1/s", "rates.delivered": "1.23 M/s", "rates.retried": "1.00 k/s",
            "rates.failed": "4.3/s", "rates.rejected": "12.3 k/s", "calls.p50_ms": "3.4 ms", "calls.p99_ms": "12 s", "broker.since": "2 h 3 min",
            "credentials.expires": "59 s", "streams.0.oldest_age_s": "0.4 s", "streams.1.oldest_age_s": "–",
        }
        self.assertEqual({path: texts[path] for path in wanted}, wanted)

    def test_spans_are_written_in_their_two_largest_units(self):
        self.show(SCENES["healthy"])
        for seconds, text in [
            (-1, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.95, "10 s"), (59.4, "59 s"), (59.5, "1 min"), (59.99, "1 min"), (60, "1 min"), (61.2, "1 min 1 s"),
            (3599.4, "59 min 59 s"), (3599.6, "1 h"), (86399.7, "1 d"), (90061, "1 d 1 h"), (86400 * 400, "400 d"),
        ]:
            written = self.browser.run("return import('/format.js').then(({ span }) => span(arguments[0]))", seconds)
            self.assertEqual(written, text, seconds)

    def test_the_sum_of_the_records_is_checked(self):
        state = SCENES["healthy"]()
        self.show(lambda: state)
        self.assertIn("Adds up", self.text("#balance"))
        state["totals"]["held"] += 1
        state["now"] += 1
        self.until("document.getElementById('balance').textContent === 'The two sides differ by 1.'", "the sum is told to be wrong")

    def test_what_is_wrong_comes_with_what_to_do(self):
        def both():
            state = SCENES["endpoint_down"]()
            state["broker"] = SCENES["broker_away"]()["broker"]
            return state

        self.show(both)
        said = self.text("#problems")
        for words in ("The broker is away: nothing arrives", "connection refused (os error 111)", "MQTT_URL",
                      "Firehose cannot be reached: records are kept", "ConnectionError, for 4 min 12 s", "tcp connect error", "port 443"):
            self.assertIn(words, said)
        row = self.text("#streams .trouble")
        for words in ("ConnectionError", "next try in 12 s", "port 443"):
            self.assertIn(words, row)

    def test_a_full_queue_behind_a_dead_link_is_told(self):
        def scene():
            state = SCENES["endpoint_down"]()
            state["streams"][0]["full_by"] = "MEMORY_SIZE"
            return state

        self.show(scene)
        self.assertEqual(self.browser.headline(), "Firehose cannot be reached: a queue is full")
        self.assertIn("raise MEMORY_SIZE, or see WHEN_FULL", self.text("#problems"))

    def test_other_troubles_have_their_headlines(self):
        def differing(**parts):
            def scene():
                state = SCENES["healthy"]()
                for part, values in parts.items():
                    state[part] |= values
                return state
            return scene

        def code(code):
            def scene():
                state = SCENES["endpoint_down"]()
                for each in state["streams"]:
                    each["trouble"]["code"] = code
                return state
            return scene

        gone = time.time() - 60
        for scene, headline in [
            (differing(disk={"fault": "No space left on device (os error 28)"}), "The disk of the queue cannot be written: the broker keeps what follows"),
            (differing(disk={"bytes": 1_000_000_000}), "The queue on disk is nearly full"),
            (differing(memory={"used_bytes": 66_000_000}), "Memory is nearly used up"),
            # They are renewed by the next call; where that fails, the stream is in trouble.
            (differing(credentials={"expires": gone}), "All is well: records arrive in Firehose"),
            (differing(broker={"reading_paused": True}), "Intake is paused: the broker keeps what follows"),
            (differing(broker={"reason": "NotAuthorized on a/topic"}), "The broker refuses messages of the connector"),
            (differing(rates={"rejected": 2.0}), "Some requests are rejected"),
            (differing(rates={"failed": 2.0}), "Some records fail for good"),
            (differing(ready={"ok": False, "parts": [{"name": "mqtt", "ok": False, "reason": "subscribing"}]}), "Not ready: mqtt"),
            (differing(rates={"delivered": 0.0}), "All is well: records wait to be sent"),
            (differing(rates={"received": 0.0, "delivered": 0.0}, totals={"held": 0}), "All is quiet: no records come in"),
            (code("ExpiredTokenException"), "The credentials are missing or expired: records are kept"),
            (code("ThrottlingException"), "Firehose throttles or fails: records are kept"),
            (code("SomethingNew"), "Delivery is in trouble: records are kept"),
        ]:
            with self.subTest(headline=headline):
                self.show(scene)
                self.assertEqual(self.browser.headline(), headline)

    def test_every_code_that_no_repetition_mends_is_known_to_the_page(self):
        root = PAGE.parents[2]
        listed = re.search(r"NOT_RETRYABLE.*?\[(.*?)\];", (root / "src/destination/classify.rs").read_text().split("const ", 1)[1], re.S)[1]
        codes = re.findall(r'"(\w+)"', listed)
        self.assertGreater(len(codes), 5)
        verdict = (PAGE / "verdict.js").read_text()
        refused = re.search(r"Firehose refuses records.*?codes: \[(.*?)\]", verdict, re.S)[1]
        self.assertEqual(sorted(re.findall(r'"(\w+)"', refused)), sorted(codes))
        ours = re.findall(r'=> "(\w+)"', (root / "src/code.rs").read_text())
        hints = re.search(r"HINTS = \{(.*?)\};", verdict, re.S)[1]
        self.assertEqual(re.findall(r"^  (\w+):", hints, re.M), ours)

    def test_state_is_told_by_shape_and_words_too(self):
        shapes = {}
        for scene in ("healthy", "queue_full", "many_streams", "fresh"):
            self.show(SCENES[scene])
            for node in ("broker", "queue", "firehose"):
                level, shape, words = self.browser.run(
                    "const n = document.getElementById(arguments[0]); return [n.className.replace('node', '').trim(),"
                    "n.querySelector('use').getAttribute('href'), n.querySelector('.says').textContent]", node)
                self.assertNotEqual(words, "", f"{scene} {node}")
                shapes.setdefault(level, set()).add(shape)
            self.assertEqual(self.browser.run("return document.querySelectorAll('#streams svg.mark[role=img]:not([aria-label])').length"), 0)
        self.assertEqual(shapes, {level: {f"#mark-{level}"} for level in ("well", "idle", "warn", "bad")})

    def test_text_from_outside_stays_text(self):
        evil = "<img src=x onerror=alert(1)><b>bold</b>"

        def scene():
            state = SCENES["refused"]() | {"client_id": evil}
            state["broker"] |= {"connected": False, "reason": evil, "address": evil}
            state["streams"][1] |= {"name": evil, "arn": f"arn:{evil}"}
            state["streams"][1]["trouble"] |= {"message": evil, "advice": evil, "code": evil}
            state["disk"]["fault"] = evil
            state["failed_by_code"][0]["code"] = evil
            return state

        self.show(scene)
        self.assertEqual(self.browser.run("return document.querySelectorAll('img, li b b, p b b').length"), 0)
        self.assertGreater(self.browser.run("return document.body.textContent.split(arguments[0]).length", evil), 8)

    def test_a_stream_that_ends_is_told_and_found_again(self):
        server = self.show(SCENES["healthy"])
        server.end()
        self.until("document.body.classList.contains('old')", "the figures are told to be old")
        found = self.browser.look()
        shown = time.strftime("%H:%M:%S", time.gmtime(found["now"]))
        self.assertEqual((found["level"], found["headline"]), ("bad", f"No connection to the connector since {shown} UTC"))
        self.assertTrue(found["title"].startswith("No connection"))
        self.assertLess(float(self.browser.run("return getComputedStyle(document.getElementById('main')).opacity")), 0.7)
        self.until("/All figures below are [1-9][0-9]*(\\.[0-9])? s old/.test(document.getElementById('age').textContent)", "their age is told")
        again = StandIn(SCENES["broker_away"], server.port)
        self.addCleanup(again.end)
        self.until("document.getElementById('headline').textContent.startsWith('The broker is away')", "it connects again by itself")
        self.assertFalse(self.browser.look()["old"])

    def test_one_page_too_many_is_told_why_it_shows_nothing(self):
        server = self.show(SCENES["healthy"])
        server.full = True
        self.browser.run("location.reload()")
        self.until("document.getElementById('headline').textContent.startsWith('12 pages are open already')", "it says why")
        self.assertIn("Close one of them", self.text("#age"))
        server.full = False
        self.until("document.getElementById('headline').textContent.startsWith('All is well')", "it goes on by itself")

    def test_a_tunnel_that_says_nothing_is_told_too(self):
        server = self.show(SCENES["healthy"])
        server.silent = True
        self.until("document.body.classList.contains('old')", "silence is told")
        server.silent = False
        self.until("!document.body.classList.contains('old')", "it goes on once something comes")

    def test_a_connection_that_stays_silent_is_given_up(self):
        server = self.show(SCENES["healthy"])
        first = server.connections
        server.silent = True
        self.browser.until(lambda: server.connections > first, "another connection is tried")

    def test_only_changes_of_the_headline_are_announced(self):
        server = self.show(SCENES["healthy"])
        sent = len(server.sent)
        self.browser.until(lambda: len(server.sent) > sent + 2, "more states come")
        server.scene = SCENES["queue_full"]
        self.until("document.getElementById('headline').textContent.startsWith('A queue')", "the headline changes")
        said = [each["headline"] for each in self.browser.headlines()]
        self.assertEqual(said[-2:], [HEADLINES["healthy"][1], HEADLINES["queue_full"][1]])
        self.assertLessEqual(len(said), 3)
        live = self.browser.run("return [...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map((e) => e.id)")
        self.assertEqual(live, ["headline"])

    def test_the_hour_is_drawn_and_said(self):
        state = SCENES["healthy"]()
        server = self.show(lambda: state | {"now": round(time.time(), 3)})
        self.until("document.querySelectorAll('.canvas canvas').length === 3", "three plots")
        # The page works on the history that was sent with the first state; its range is the same at any time.
        hour, figures = stand_in.history(state), self.browser.look()["figures"]
        for key in ("received", "delivered", "failed", "queued", "p50_ms", "p99_ms"):
            values = [value for value in hour[key] if value is not None]
            self.assertEqual([figures[f"history.{key}.{what}"] for what in ("last", "min", "max")], [values[-1], min(values), max(values)], key)
        for id, words in (("throughput", "received"), ("depth", "held"), ("latency", "99 % within")):
            said = self.browser.run(
                "const c = document.querySelector(`#${arguments[0]} [role=img]`); return document.getElementById(c.getAttribute('aria-describedby')).innerText", id)
            self.assertRegex(said, f"{words} [0-9.]+.* now, .* to ")
            painted = self.browser.run(
                "const c = document.querySelector(`#${arguments[0]} canvas`);"
                "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3 && v).length", id)
            self.assertGreater(painted, 500)
        server.point = 77
        self.until("document.querySelector('[data-figure=\"history.received.last\"]').dataset.value === '77'", "a new point is taken")

    def test_plots_share_a_cursor_and_follow_the_width(self):
        self.show(SCENES["healthy"])
        self.until("document.querySelectorAll('.canvas canvas').length === 3", "three plots")
        over = self.browser.driver.find_element(By.CSS_SELECTOR, "#throughput .u-over")
        ActionChains(self.browser.driver).move_to_element(over).perform()
        times = "[...document.querySelectorAll('figcaption time')].map((t) => t.textContent)"
        self.until(f"{times}.every((t) => /^at [0-9:]{{8}}$/.test(t)) && new Set({times}).size === 1", "all plots read the same instant")
        for size in (PHONE, DESK):
            self.browser.resize(size)
            self.until("[...document.querySelectorAll('.canvas')].every((c) => Math.abs(c.firstChild.clientWidth - c.clientWidth) < 2)", "plots fit")

    def test_a_stream_is_opened_by_keyboard_and_shows_its_arn(self):
        self.show(SCENES["refused"])
        for _ in range(4):
            self.browser.driver.switch_to.active_element.send_keys(Keys.TAB)
            if self.browser.run("return document.activeElement.tagName") == "SUMMARY":
                break
        self.browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
        self.until("document.querySelector('#streams details').open", "the first stream opens")
        self.assertIn("arn:aws:firehose:eu-west-1:123456789012:deliverystream/alarms", self.text("#streams details"))

    def test_streams_in_trouble_come_first_and_gone_ones_go(self):
        names = "return [...document.querySelectorAll('#streams .name')].map((n) => n.textContent)"
        server = self.show(SCENES["many_streams"])
        shown = self.browser.run(names)
        self.assertEqual(shown[:3], ["line-017-machine-readings", "line-063-machine-readings", "line-000-machine-readings"])
        self.assertEqual(len(shown), 100)
        server.scene = SCENES["healthy"]
        self.until("document.querySelectorAll('#streams .name').length === 3", "streams that are gone go")
        self.assertEqual(self.browser.run(names), ["telemetry", "alarms", "vibration-raw-10khz"])

    def test_motion_is_left_out_where_it_is_not_wanted(self):
        for motion, moving in (("reduce", False), ("no-preference", True)):
            self.show(SCENES["healthy"], motion=motion)
            self.assertEqual(self.browser.run("return document.getAnimations().length > 0"), moving, motion)

    def test_another_version_brings_its_own_page(self):
        server = self.show(SCENES["healthy"])
        self.browser.run("window.first = true")
        server.scene = lambda: SCENES["healthy"]() | {"version": "0.2.0"}
        self.until("window.first === undefined && document.querySelector('[data-figure=version]')?.textContent === '0.2.0'", "the page is loaded anew")

    def test_a_wrong_clock_is_told(self):
        self.show(lambda: SCENES["healthy"]() | {"now": time.time() - 600})
        self.assertRegex(self.text("#clocks"), "10 min behind this browser")
        self.show(SCENES["healthy"])
        self.assertEqual(self.text("#clocks"), "")


class Program(unittest.TestCase):
    """page.py, as a test in another language calls it."""

    def page(self, *arguments):
        return [sys.executable, str(pathlib.Path(__file__).parent / "page.py"), *arguments]

    def test_wait_tells_each_headline_and_when_it_came(self):
        server = StandIn(SCENES["healthy"])
        self.addCleanup(server.end)
        waiting = subprocess.Popen(self.page("wait", server.url, "--headline", "cannot be reached", "--headline", "All is well"), stdout=subprocess.PIPE, text=True)
        with waiting:
            self.assertEqual(json.loads(waiting.stdout.readline()), {"open": True})
            changed = time.time()
            server.scene = SCENES["endpoint_down"]
            seen = json.loads(waiting.stdout.readline())
            self.assertEqual(seen["headline"], HEADLINES["endpoint_down"][1])
            self.assertTrue(changed <= seen["at"] <= time.time(), seen)
            server.scene = SCENES["healthy"]
            self.assertEqual(json.loads(waiting.stdout.readline())["headline"], HEADLINES["healthy"][1])
            self.assertEqual(waiting.wait(), 0)

    def test_wait_ends_at_its_limit(self):
        server = StandIn(SCENES["healthy"])
        self.addCleanup(server.end)
        ended = subprocess.run(self.page("wait", server.url, "--headline", "never", "--limit", "1"), capture_output=True, text=True)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("no headline with 'never'", ended.stderr)

    def test_look_prints_figures_and_takes_a_picture(self):
        server = StandIn(SCENES["healthy"])
        self.addCleanup(server.end)
        picture = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "page.png"
        found = json.loads(subprocess.run(self.page("look", server.url, "--size", "390x844", "--scheme", "dark", "--screenshot", str(picture)),
                                          capture_output=True, text=True, check=True).stdout)
        self.assertEqual((found["figures"]["totals.received"], found["texts"]["totals.received"]), (1234567, "1,234,567"))
        self.assertEqual(picture.read_bytes()[:4], b"\x89PNG")


if __name__ == "__main__":
    unittest.main()
