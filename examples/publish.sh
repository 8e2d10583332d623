#!/bin/sh
# Sends one record through kinesis-edge and waits for its status, with the Mosquitto command line
# clients (Debian: apt install mosquitto-clients).
#
# mosquitto_pub alone is enough to send. What this shows besides is how to wait for the outcome
# without a race: the subscriber starts first, the request is published once the broker has confirmed
# the subscription, and our own entry is picked, by its id, out of the status documents, which carry
# the statuses of other apps' records too.
#
#     examples/publish.sh [--binary] [DATA] [ID]
#
# With --binary DATA goes as it is to kinesisfirehose/message/binary/ID, without JSON around it.
# Environment: MQTT_HOST (127.0.0.1), MQTT_PORT (1883), TOPIC_PREFIX (kinesisfirehose) and
# STATUS_TIMEOUT (30 seconds; more than the connector's PUBLISH_INTERVAL). The status is printed; the
# exit status is 0 if the record was delivered, 1 if it failed or no status came in time, 2 for a
# faulty command line.

set -eu

binary=
if [ "${1-}" = --binary ]; then
    binary=yes
    shift
fi
if [ $# -gt 2 ]; then
    echo "usage: $0 [--binary] [DATA] [ID]" >&2
    exit 2
fi
data=${1-Message from Firehose Connector Test}
id=${2-req_123}
host=${MQTT_HOST:-127.0.0.1}
port=${MQTT_PORT:-1883}
topic=${TOPIC_PREFIX:-kinesisfirehose}/message
timeout=${STATUS_TIMEOUT:-30}

# Text as a JSON string: quotes, backslashes, tabs and line ends are what a shell argument may hold
# that JSON does not take as it is.
json_string() {
    tab=$(printf '\t')
    printf '%s\n' "$1" |
        sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e "s/$tab/\\\\t/g" |
        awk 'NR > 1 { printf "\\n" } { printf "%s", $0 } BEGIN { printf "\"" } END { printf "\"" }'
}

# The entry with our id out of one status document. Entries have no objects inside and end with a
# string, so the document can be cut between them; inside a string the last quote would be escaped.
status_of_request() {
    printf '%s\n' "$1" |
        awk '{ sub(/^[{]"response":[[]/, ""); sub(/[]][}]$/, ""); gsub(/"[}],[{]"/, "\"}\n{\""); print }' |
        grep -F "\"id\":$(json_string "$id")," |
        head -n 1
}

if [ -n "$binary" ]; then
    send_topic=$topic/binary/$id
    message=$data
else
    send_topic=$topic
    message="{\"request\":{\"data\":$(json_string "$data")},\"id\":$(json_string "$id")}"
fi

# The subscriber writes into a named pipe, so that this shell is the one that reads, decides, and can
# end the subscriber as soon as it has seen enough.
work=$(mktemp -d)
subscriber=
trap 'if [ -n "$subscriber" ]; then kill "$subscriber" 2>/dev/null || :; fi; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkfifo "$work/lines"

# -d makes the subscriber tell when its subscription is confirmed; stdbuf because it would keep that
# line back while it writes into a pipe.
stdbuf -oL mosquitto_sub -h "$host" -p "$port" -q 1 -t "$topic/status" -d -W "$timeout" >"$work/lines" &
subscriber=$!

published=
while IFS= read -r line; do
    case $line in
    'Subscribed (mid: '*': 128')
        echo "the broker refused the subscription" >&2
        exit 1
        ;;
    'Subscribed (mid: '*)
        # The subscriber connects again by itself; that must not send the record twice.
        if [ -n "$published" ]; then
            echo "the connection to the broker ended" >&2
            exit 1
        fi
        published=yes
        printf 'Message To Publish:  %s\n' "$message" >&2
        mosquitto_pub -h "$host" -p "$port" -q 1 -t "$send_topic" -m "$message"
        ;;
    '{'*)
        if status=$(status_of_request "$line") && [ -n "$status" ]; then
            printf '%s\n' "$status"
            case $status in
            *'"status":"success"'*) exit 0 ;;
            *) exit 1 ;;
            esac
        fi
        ;;
    esac
done <"$work/lines"

# The subscriber's exit status 27 is its time limit; whatever else it was, it has said itself.
wait "$subscriber" || [ $? -ne 27 ] || echo "no status within $timeout s" >&2
subscriber=
exit 1
