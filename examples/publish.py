#!/usr/bin/env python3
"""Sends one record through kinesis-edge and waits for its status, with paho-mqtt 2.

This is what a Lambda function did beside the original connector, as a plain program: publish a
request to `kinesisfirehose/message`, then read on `kinesisfirehose/message/status` what became of
it. It subscribes before it publishes, so the status cannot pass by unseen, and picks its own entry,
by its id, out of the documents, which carry the statuses of other apps' records too.

    pip install 'paho-mqtt>=2'
    python3 examples/publish.py [--binary] [DATA] [ID]

With `--binary` DATA goes as it is to `kinesisfirehose/message/binary/ID`, without JSON around it.
Environment: MQTT_HOST (127.0.0.1), MQTT_PORT (1883), TOPIC_PREFIX (kinesisfirehose) and
STATUS_TIMEOUT (30 seconds; more than the connector's PUBLISH_INTERVAL). The status is printed; the
exit status is 0 if the record was delivered, 1 if it failed or no status came in time, 2 for a
faulty command line.
"""

import json
import os
import queue
import sys

import paho.mqtt.client as mqtt


def status_of(request_id, payload):
    """The entry for our request in a status document, or None where the document has no such entry."""
    try:
        entries = json.loads(payload)["response"]
        return next(entry for entry in entries if entry["id"] == request_id)
    except (ValueError, LookupError, TypeError, StopIteration):
        return None


def main():
    arguments = sys.argv[1:]
    binary = arguments[:1] == ["--binary"]
    if binary:
        del arguments[0]
    if len(arguments) > 2:
        print("usage: publish.py [--binary] [DATA] [ID]", file=sys.stderr)
        return 2
    data = arguments[0] if arguments else "Message from Firehose Connector Test"
    request_id = arguments[1] if len(arguments) > 1 else "req_123"

    host = os.environ.get("MQTT_HOST") or "127.0.0.1"
    port = int(os.environ.get("MQTT_PORT") or "1883")
    timeout = float(os.environ.get("STATUS_TIMEOUT") or "30")
    topic = (os.environ.get("TOPIC_PREFIX") or "kinesisfirehose") + "/message"

    if binary:
        send_topic, message = f"{topic}/binary/{request_id}", data
    else:
        request = {"request": {"data": data}, "id": request_id}
        send_topic, message = topic, json.dumps(request)

    # The callbacks run on paho's own thread. Each ends the wait below by putting in either the
    # status or a sentence that says why there will be none.
    outcome = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)

    def on_connect(client, userdata, flags, reason_code, properties):
        if reason_code.is_failure:
            outcome.put(f"the broker refused the connection: {reason_code}")
        else:
            client.subscribe(f"{topic}/status", qos=1)

    def on_subscribe(client, userdata, mid, reason_codes, properties):
        if reason_codes[0].is_failure:
            outcome.put(f"the broker refused the subscription: {reason_codes[0]}")
        else:
            print("Message To Publish: ", message, file=sys.stderr)
            client.publish(send_topic, message, qos=1)

    def on_message(client, userdata, received):
        status = status_of(request_id, received.payload)
        if status is not None:
            outcome.put(status)

    def on_disconnect(client, userdata, flags, reason_code, properties):
        # paho would connect again and publish a second time.
        if reason_code.is_failure:
            outcome.put(f"the connection ended: {reason_code}")

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.on_disconnect = on_disconnect

    try:
        client.connect(host, port)
    except OSError as error:
        sys.exit(f"no connection to {host}:{port}: {error}")
    client.loop_start()
    try:
        status = outcome.get(timeout=timeout)
    except queue.Empty:
        status = f"no status within {timeout:g} s"
    client.disconnect()
    client.loop_stop()

    if isinstance(status, str):
        sys.exit(status)  # to standard error, with exit status 1
    print(json.dumps(status, separators=(",", ":"), ensure_ascii=False))
    return 0 if status.get("status") == "success" else 1


if __name__ == "__main__":
    sys.exit(main())
