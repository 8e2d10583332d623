#!/usr/bin/env python3
"""Three connectors share the messages of one Mosquitto: how they split them, what happens when one of them is
killed, and what one, two and three of them deliver in a second. All of it on this machine, on loopback, with a
stand-in for Firehose; nothing needs an account, and everything that is started is ended.

    cargo build --release
    python3 examples/scale-out/scale_out.py [--messages 20000] [--program target/release/kinesis-edge]

It needs Python 3.8 or later without packages, `mosquitto` and `mosquitto_sub`. The exit status is 0
if every message arrived and had its status, 1 if not, or if something did not happen in a minute.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

PATIENCE = 60  # seconds until something that has to happen counts as not happening
STREAM = "arn:aws:firehose:us-east-1:123456789012:deliverystream/scale-out"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def main():
    parser = argparse.ArgumentParser(description="Three connectors share the messages of one broker.")
    parser.add_argument("--messages", type=int, default=20000, help="in each part [default: 20000]")
    parser.add_argument("--program", default=str(ROOT / "target/release/kinesis-edge"))
    arguments = parser.parse_args()
    if arguments.messages < 100:
        parser.error("less than 100 messages show nothing")
    program = shutil.which(arguments.program)
    if program is None:
        sys.exit(f"there is no {arguments.program}: cargo build --release, or --program")
    # Whoever ends us by SIGTERM wants the processes ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="scale-out-") as folder:
        site = Site(pathlib.Path(folder), os.path.abspath(program))
        try:
            site.start()
            is_complete = split_and_take_over(site, arguments.messages)
            throughput(site, arguments.messages)
        finally:
            site.stop()
    return 0 if is_complete else 1


def split_and_take_over(site, messages):
    """The first two parts, with three connectors on the topics of the contract."""
    statuses = site.watch_statuses()
    edges = [site.connector(f"edge-{number}", "kinesisfirehose") for number in (1, 2, 3)]
    print(f"1. The split of {messages} messages")
    site.publish("kinesisfirehose", range(messages))
    until("all have arrived", lambda: len(site.arrived()) == messages)
    before = {edge.name: edge.received() for edge in edges}
    print(f"   {told(before)}; {account(site, range(messages))}\n")

    both = range(2 * messages)
    print(f"2. {messages} more; edge-2 is killed (SIGKILL) when half of them are published, and stays away")
    publisher = site.begin_publishing("kinesisfirehose")
    publisher.send(range(messages, messages + messages // 2))
    edges[1].kill()
    publisher.send(range(messages + messages // 2, 2 * messages))
    publisher.end()
    others = [edges[0], edges[2]]
    # It has a third of the second half at the least; the others have all that is theirs when nothing more comes.
    until("the others have theirs", lambda: settled(site))
    went_on = {edge.name: edge.received() - before[edge.name] for edge in others}
    missing = 2 * messages - len(site.arrived())
    print(f"   meanwhile: {told(went_on)}; missing, as the broker and its QUEUE_DIR keep them for edge-2: {missing}")
    edges[1] = site.connector("edge-2", "kinesisfirehose")
    until("all have arrived", lambda: len(site.arrived()) == 2 * messages)
    until("each has a status", lambda: len(statuses.ids()) == 2 * messages)
    print(f"   edge-2 is back: {account(site, both)}, {len(statuses.ids())} have a status\n")
    for edge in edges:
        edge.end()
    return 0 < missing and set(site.arrived()) == {str(number) for number in both}


def throughput(site, messages):
    """The third part. Each run has topics of its own, so that no session of an earlier one takes part."""
    limit = max(messages // 20, 1)
    print("3. Records in a second, from the first message to the last record, with 1, 2 and 3 connectors")
    for name, messages_of, more in [
        ("as fast as this machine goes", lambda members: messages, {}),
        # For five seconds, however many they are.
        (f"each limited to {limit}", lambda members: 5 * limit * members, {"MAX_RECORDS_PER_SECOND": str(limit)}),
    ]:
        rates = []
        for members in (1, 2, 3):
            count = messages_of(members)
            prefix = f"run-{'limited-' if more else ''}{members}"
            edges = [site.connector(f"{prefix}-{number}", prefix, more) for number in range(members)]
            arrived, start = len(site.arrived()), time.monotonic()
            site.publish(prefix, (f"{prefix}-{number}" for number in range(count)))
            until("all have arrived", lambda: len(site.arrived()) == arrived + count)
            rates.append(count / (time.monotonic() - start))
            for edge in edges:
                edge.end()
        print(f"   {name}: {', '.join(f'{rate:.0f}' for rate in rates)}")


def told(counts):
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def account(site, numbers):
    arrived = site.arrived()
    twice = sum(1 for count in arrived.values() if count > 1)
    return f"{len(numbers)} published, {len(arrived)} arrived, {twice} of them more than once"


def settled(site):
    """Whether nothing has arrived for two seconds: twice the connectors' interval."""
    before = len(site.arrived())
    time.sleep(2)
    return len(site.arrived()) == before


def until(what, condition):
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > PATIENCE:
            sys.exit(f"did not happen within {PATIENCE} s: {what}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Site:
    """The broker, the stand-in for Firehose, and every process that was started."""

    def __init__(self, folder, program):
        self.folder = folder
        self.program = program
        self.processes = []
        self.port = free_port()
        self.endpoint = None
        self.read = {}  # how much of each file of records was read
        self.records = collections.Counter()

    def start(self):
        config = self.folder / "mosquitto.conf"
        # What waits for a connector that is away has to fit: Mosquitto keeps 1000 messages by default.
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if mosquitto is None:
            sys.exit("there is no mosquitto; Debian: apt install mosquitto mosquitto-clients")
        self.run([mosquitto, "-c", config], "mosquitto")
        # Of `local` only the stand-in for Firehose is used; its own broker is another one.
        ports = {"--port": free_port(), "--http-listen": f"127.0.0.1:{free_port()}"}
        flags = [str(part) for pair in ports.items() for part in pair]
        self.run([self.program, "local", "--data-dir", self.folder / "records", *flags], "local")
        until("the broker listens", self.listens)
        until("the stand-in for Firehose listens", self.find_endpoint)

    def run(self, command, name, environment=None, **pipes):
        """Starts a process; what it says goes to a file."""
        said = open(self.folder / f"{name}.log", "ab")
        pipes.setdefault("stdout", said)
        process = subprocess.Popen(command, stderr=said, cwd=self.folder, env=environment, **pipes)
        self.processes.append(process)
        return process

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def find_endpoint(self):
        lines = (self.folder / "local.log").read_text().splitlines()
        self.endpoint = next((line.split()[1] for line in lines if line.split()[:1] == ["Firehose"]), None)
        return self.endpoint is not None

    def connector(self, name, prefix, more=None):
        connector = Connector(self, name, prefix, more or {})
        until(f"{name} is ready", connector.is_ready)
        return connector

    def begin_publishing(self, prefix):
        return Publisher(self, prefix)

    def publish(self, prefix, ids):
        publisher = Publisher(self, prefix)
        publisher.send(ids)
        publisher.end()

    def watch_statuses(self):
        watcher = Statuses(self.folder / "statuses")
        command = ["mosquitto_sub", "-p", str(self.port), "-q", "1", "-t", "kinesisfirehose/message/status", "-d"]
        with open(watcher.path, "wb") as written:
            self.run(["stdbuf", "-oL", *command], "mosquitto_sub", stdout=written)
        until("the statuses are subscribed to", lambda: b"Subscribed" in watcher.path.read_bytes())
        return watcher

    def arrived(self):
        """How often each record arrived. Each is a line with its id."""
        for path in (self.folder / "records" / "scale-out").glob("*/*/*/*/*"):
            with open(path, "rb") as records:
                records.seek(self.read.get(path, 0))
                whole = records.read().rpartition(b"\n")[0]
            if whole:
                self.read[path] = self.read.get(path, 0) + len(whole) + 1
                self.records.update(line.split()[0].decode() for line in whole.split(b"\n"))
        return self.records

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Connector:
    """One member of the group, with a client id and a queue on disk of its own."""

    def __init__(self, site, name, prefix, more):
        self.name = name
        self.address = f"127.0.0.1:{free_port()}"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "DEFAULT_DELIVERY_STREAM_ARN": STREAM,
            "MQTT_URL": f"mqtt://127.0.0.1:{site.port}",
            "MQTT_CLIENT_ID": name,
            "SHARED_SUBSCRIPTION_GROUP": "scale-out",
            "TOPIC_PREFIX": prefix,
            "QUEUE_DIR": str(site.folder / name),
            "DELIVERY_STREAM_QUEUE_SIZE": "1000000",
            "PUBLISH_INTERVAL": "1",
            "RECORD_DELIMITER": "\\n",
            "HTTP_LISTEN": self.address,
            "AWS_ENDPOINT_URL_FIREHOSE": site.endpoint,
            "AWS_ACCESS_KEY_ID": "stand-in",
            "AWS_SECRET_ACCESS_KEY": "stand-in",
            **more,
        }
        self.process = site.run([site.program, "run"], name, environment)

    def get(self, path):
        return urllib.request.urlopen(f"http://{self.address}{path}", timeout=10).read().decode()

    def is_ready(self):
        if self.process.poll() is not None:
            sys.exit(f"{self.name} ended by itself")
        try:
            self.get("/readyz")
        except OSError:
            return False
        return True

    def received(self):
        """The requests that came to it since it started."""
        metric = "kinesis_edge_records_received_total "
        return next(int(float(line.split()[1])) for line in self.get("/metrics").splitlines() if line.startswith(metric))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


class Publisher:
    """An app that publishes as fast as the broker takes it: at QoS 1, with so many messages un-acknowledged at the
    most. It writes MQTT 3.1.1 by itself; `mosquitto_pub -l` has no such bound, and Mosquitto ends its connection when
    it gets too many."""

    WINDOW = 1000

    def __init__(self, site, prefix):
        self.topic = packed(f"{prefix}/message")
        self.socket = socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE)
        # CONNECT: MQTT, version 4, a clean session, no keep-alive, and a client id that the broker chooses.
        self.socket.sendall(bytes([0x10, 12]) + packed("MQTT") + bytes([4, 2, 0, 0]) + packed(""))
        if self.read(4) != bytes([0x20, 2, 0, 0]):
            sys.exit("the broker refuses the publisher")
        self.sent = self.acknowledged = 0

    def send(self, ids):
        packets = bytearray()
        for number in ids:
            request = {"request": {"data": f"{number} {'x' * 180}"}, "id": str(number)}
            packet_id = (self.sent % 65535 + 1).to_bytes(2, "big")
            packet = self.topic + packet_id + json.dumps(request).encode()
            # The length in digits of seven bits: two of them are enough for what is sent here.
            packets += bytes([0x32, len(packet) % 128 | 128, len(packet) // 128]) + packet
            self.sent += 1
            if self.sent - self.acknowledged == self.WINDOW:
                self.socket.sendall(packets)
                packets.clear()
                self.wait_for_acknowledgements(self.WINDOW // 2)
        self.socket.sendall(packets)

    def end(self):
        """Returns once the broker has them all."""
        self.wait_for_acknowledgements(0)
        self.socket.sendall(bytes([0xE0, 0]))
        self.socket.close()

    def wait_for_acknowledgements(self, left):
        # Each is a PUBACK of four bytes.
        due = self.sent - self.acknowledged - left
        self.read(4 * max(due, 0))
        self.acknowledged += max(due, 0)

    def read(self, count):
        found = b""
        while len(found) < count:
            more = self.socket.recv(count - len(found))
            if not more:
                sys.exit("the broker ended the publisher's connection")
            found += more
        return found


def packed(text):
    """A text as MQTT has it, behind its length."""
    return len(text.encode()).to_bytes(2, "big") + text.encode()


class Statuses:
    """What the connectors said became of the records."""

    def __init__(self, path):
        self.path = path

    def ids(self):
        documents = (line for line in self.path.read_text().splitlines() if line.startswith('{"response"'))
        entries = (entry for document in documents for entry in json.loads(document)["response"])
        return {entry["id"] for entry in entries if entry["status"] == "success"}


if __name__ == "__main__":
    sys.exit(main())
