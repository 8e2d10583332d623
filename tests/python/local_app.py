#!/usr/bin/env python3
"""A local app on paho-mqtt: publishes requests and prints the statuses that came for them.

    local_app.py PORT VERSION PREFIX SECONDS <REQUESTS

VERSION is 3.1.1 or 5. REQUESTS is a JSON list of {"topic": below PREFIX, "payload": in hex, "id": ...}. They
are published one after the other at QoS 1, once the subscription to the statuses stands. Prints all status
documents as a JSON list as soon as every id has a status, and fails after SECONDS without that.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt

port, version, prefix, seconds = sys.argv[1:]
requests = json.load(sys.stdin)
documents, missing = [], {request["id"] for request in requests}
complete = threading.Event()


def on_connect(client, userdata, flags, reason_code, properties):
    assert not reason_code.is_failure, reason_code
    client.subscribe(f"{prefix}/message/status", qos=1)


def on_subscribe(client, userdata, mid, reason_codes, properties):
    assert not reason_codes[0].is_failure, reason_codes
    for request in requests:
        client.publish(f"{prefix}/{request['topic']}", bytes.fromhex(request["payload"]), qos=1)


def on_message(client, userdata, message):
    document = json.loads(message.payload)
    documents.append(document)
    missing.difference_update(entry["id"] for entry in document["response"])
    if not missing:
        complete.set()


protocol = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect("127.0.0.1", int(port))
client.loop_start()
if not complete.wait(float(seconds)):
    sys.exit(f"no status for {sorted(missing)}")
client.disconnect()
client.loop_stop()
json.dump(documents, sys.stdout)
