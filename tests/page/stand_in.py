#!/usr/bin/env python3
"""Stands in for the connector's HTTP side while the page is worked on: serves the page's files with the connector's own content security policy, and
scripted states as its event stream.

    stand_in.py PORT [SCENE]     then look at http://127.0.0.1:PORT/ ; SCENE is one of those below, or "tour": each for ten seconds

The scenes are functions that return a state in the shape of the connector's; tests/page/states.py shows them to a browser.
"""

import http.server
import json
import math
import pathlib
import sys
import threading
import time

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src/telemetry/page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def stream(name, **differing):
    arn = f"arn:aws:firehose:eu-west-1:123456789012:deliverystream/{name}"
    plain = {
        "arn": arn, "name": name, "region": "eu-west-1", "default": name == "telemetry", "queued": 412, "bound": 5000, "full_by": None, "queued_bytes": 91_300,
        "oldest_age_s": 3.2, "in_flight": 400, "received": 184_213, "delivered": 183_799, "failed": 2, "received_rate": 118.4,
        "delivered_rate": 117.9, "trouble": None,
    }
    return plain | differing


def healthy():
    now = round(time.time(), 3)
    return {
        "version": "0.1.0", "client_id": "kinesis-edge-press-7", "now": now, "started": now - 93_784.2,
        "ready": {"ok": True, "parts": [
            {"name": "mqtt", "ok": True, "reason": "subscribed"}, {"name": "delivery", "ok": True, "reason": "calls are answered"},
            {"name": "queue", "ok": True, "reason": "has room"}, {"name": "disk", "ok": True, "reason": "not used"},
        ]},
        "broker": {"address": "127.0.0.1:1883", "connected": True, "since": now - 93_783.9, "reason": None, "mqtt": "5", "reconnects": 2,
                   "acks_outstanding": 17, "reading_paused": False},
        "totals": {"received": 1_234_567, "received_bytes": 273_019_441, "delivered": 1_233_105, "delivered_bytes": 272_711_002, "retried": 804,
                   "failed": 6, "rejected": 120, "held": 1336, "billed_bytes": 6_313_497_600, "calls": 2890, "calls_failed": 3,
                   "statuses_published": 2911, "statuses_dropped": 0, "dead_letters": 6},
        "rates": {"received": 361.2, "received_bytes": 79_871.5, "delivered": 358.7, "delivered_bytes": 79_302.1, "retried": 0.0, "failed": 0.0,
                  "rejected": 0.0},
        "failed_by_code": [{"code": "Expired", "records": 6}],
        "rejected_by_code": [{"code": "InvalidRequest", "records": 115}, {"code": "QueueFull", "records": 5}],
        "calls": {"in_flight": 2, "p50_ms": 41.3, "p99_ms": 187.0},
        "memory": {"used_bytes": 14_411_776, "limit_bytes": 67_107_840},
        "disk": {"path": "/var/lib/kinesis-edge/queue", "bytes": 2_097_152, "limit_bytes": 1_073_741_824, "fault": None, "damaged_records": 0},
        "dead_letters": {"path": "/var/lib/kinesis-edge/dead-letters", "bytes": 41_223, "limit_bytes": 67_108_864},
        "credentials": {"expires": now + 2710},
        "streams": [stream("telemetry"), stream("alarms", queued=0, queued_bytes=0, oldest_age_s=None, in_flight=0, received_rate=0.0, delivered_rate=0.0),
                    stream("vibration-raw-10khz", queued=924, received_rate=242.8, delivered_rate=240.8, received=1_050_354)],
    }


def trouble(code, message, advice, since, retry):
    return {"code": code, "message": message, "advice": advice, "since": since, "retry_in_s": retry}


def unreachable(now):
    message = ("dispatch failure: io error: error trying to connect: tcp connect error: connection refused: "
               "https://firehose.eu-west-1.amazonaws.com/ (os error 111)")
    return trouble("ConnectionError", message, "See that the device reaches firehose.eu-west-1.amazonaws.com on port 443: its link, name server and proxy.",
                   now - 252.0, 12.4)


def endpoint_down():
    state = healthy()
    for each in state["streams"]:
        each |= {"delivered_rate": 0.0, "trouble": unreachable(state["now"]), "queued": 3120, "oldest_age_s": 261.7, "in_flight": 1}
    state["rates"] |= {"delivered": 0.0, "delivered_bytes": 0.0, "retried": 3.1}
    state["totals"] |= {"held": 9360, "received": 1_233_105 + 6 + 120 + 9360}
    return state


def refused():
    state = healthy()
    message = ("User: arn:aws:sts::123456789012:assumed-role/press-hall-3-devices/press-7 is not authorized to perform: firehose:PutRecordBatch on resource: "
               "arn:aws:firehose:eu-west-1:123456789012:deliverystream/alarms because no identity-based policy allows the firehose:PutRecordBatch action")
    advice = "Give the connector's role the right firehose:PutRecordBatch on this stream; what fails until then is in the dead letters."
    state["streams"][1] |= {"failed": 310, "received_rate": 4.1, "trouble": trouble("AccessDeniedException", message, advice, state["now"] - 61, None)}
    state["rates"]["failed"] = 4.1
    return state


def queue_full():
    state = healthy()
    state["streams"] = [stream("telemetry", queued=5000, full_by="DELIVERY_STREAM_QUEUE_SIZE", oldest_age_s=52.1, received_rate=502.0, delivered_rate=420.5)]
    state["rates"] |= {"received": 502.0, "delivered": 420.5, "rejected": 81.5}
    state["totals"] |= {"held": 5000, "received": 1_233_105 + 6 + 120 + 5000}
    return state


def broker_away():
    state = healthy()
    state["broker"] |= {"connected": False, "since": state["now"] - 44, "reason": "connection refused (os error 111)"}
    state["ready"] = {"ok": False, "parts": [{"name": "mqtt", "ok": False, "reason": "no connection to 127.0.0.1:1883"}]}
    state["rates"] |= {"received": 0.0, "received_bytes": 0.0}
    for each in state["streams"]:
        each["received_rate"] = 0.0
    return state


def many_streams():
    state = healthy()
    state["streams"] = [stream(f"line-{n:03}-machine-readings", default=n == 0, queued=n * 47, queued_bytes=n * 9400) for n in range(100)]
    for n in (17, 63):
        state["streams"][n]["trouble"] = unreachable(state["now"])
    return state


def fresh():
    """Just started: nothing has come yet, and nothing is on disk."""
    state = healthy()
    for group in ("totals", "rates"):
        state[group] = {key: type(value)(0) for key, value in state[group].items()}
    state["calls"] = {"in_flight": 0, "p50_ms": None, "p99_ms": None}
    return state | {"started": state["now"] - 4.0, "disk": None, "dead_letters": None, "credentials": {"expires": None}, "streams": [],
                    "failed_by_code": [], "rejected_by_code": []}


SCENES = {f.__name__: f for f in (healthy, endpoint_down, refused, queue_full, broker_away, many_streams, fresh)}


def history(state):
    """An hour in which the records came in waves, and nothing was delivered for five minutes."""
    if not state["totals"]["received"]:
        return {key: [] for key in ("t", "received", "delivered", "failed", "queued", "p50_ms", "p99_ms")} | {"interval_s": 5}
    begin = int(state["now"]) - 3595
    wave = [round(360 + 90 * math.sin(n / 40) + 25 * math.sin(n * 1.7), 1) for n in range(720)]
    down = [300 <= n < 360 for n in range(720)]
    return {
        "interval_s": 5, "t": [begin + 5 * n for n in range(720)], "received": wave, "delivered": [0.0 if down[n] else wave[n - 1] for n in range(720)],
        "failed": [4.0 if 500 < n < 520 else 0.0 for n in range(720)], "queued": [1300 + (n - 300) * 1500 if down[n] else 1300 for n in range(720)],
        "p50_ms": [None if down[n] else round(40 + 6 * math.sin(n / 9), 1) for n in range(720)],
        "p99_ms": [None if down[n] else round(180 + 60 * math.sin(n / 7) ** 8, 1) for n in range(720)],
    }


class StandIn:
    """The server. `scene` is the function that gives the state; it may be changed at any time. `silent` sends nothing more and keeps
    the connections open, as a dead tunnel does. `full` says that enough pages are open. `point` is what the next points say was received."""

    def __init__(self, scene, port=0):
        self.scene, self.silent, self.full, self.ending = scene, False, False, threading.Event()
        self.sent, self.connections, self.point = [], 0, None
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                stand_in.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        path = request.path.lstrip("/") or "index.html"
        if path == "events":
            return self.events(request)
        file = (PAGE / path).resolve()
        found = file.is_file() and PAGE in file.parents and file.suffix in TYPES
        body = file.read_bytes() if found else b"not found"
        request.send_response(200 if found else 404)
        request.send_header("content-type", TYPES[file.suffix] if found else "text/plain")
        request.send_header("content-security-policy", POLICY)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def events(self, request):
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.send_header("cache-control", "no-store")
        request.end_headers()

        self.connections += 1

        def send(name, data):
            request.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

        state = self.scene()
        hour = history(state)
        try:
            if self.full:
                return send("full", 12)
            send("history", hour)
            while not self.ending.is_set():
                if not self.silent:
                    state = self.scene()
                    self.sent.append(state)
                    send("state", state)
                    if self.point is not None:
                        send("point", {key: values[-1] for key, values in hour.items() if key != "interval_s"} | {"t": int(time.time()) + 5, "received": self.point})
                        self.point = None
                self.ending.wait(1)
        except OSError:
            pass

    def end(self):
        """Ends the server and all its streams, as a stopped connector does."""
        self.ending.set()
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    name = sys.argv[2] if len(sys.argv) > 2 else "healthy"
    tour = list(SCENES.values())
    shown = StandIn((lambda: tour[int(time.time() / 10) % len(tour)]()) if name == "tour" else SCENES[name], int(sys.argv[1]))
    print(shown.url, flush=True)
    threading.Event().wait()
