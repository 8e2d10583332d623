// From a state to words: what is wrong, worst first, and what to do about it. Pure; what it returns is shown by page.js.

import { count, bytes, span } from "./format.js";

/** Troubles of delivery by the code of the error, in the order in which they are looked through. `kept` is false where Amazon refuses for
 * good: such records fail and are not sent again. */
const TROUBLES = [
  { name: "Firehose cannot be reached", kept: true,
    codes: ["ConnectionError", "CertificateError", "Timeout", "RequestNotSent", "UnreadableResponse"] },
  { name: "The credentials are missing or expired", kept: true,
    codes: ["NoCredentials", "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId",
      "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "MissingAuthenticationTokenException",
      "CredentialsFailed", "ContainerCredentialsRefused", "ContainerCredentialsFailed", "AssumeRoleRefused", "AssumeRoleFailed",
      "IotFiles", "IotUnreachable", "IotEndpointNotTrusted", "IotAnswerUnreadable", "IotCertificateRefused", "IotThingRefused",
      "IotAccessDenied", "IotRoleAliasNotFound", "IotRoleRefused"] },
  { name: "Firehose throttles or fails", kept: true,
    codes: ["ServiceUnavailableException", "InternalFailure", "ThrottlingException", "LimitExceededException", "HTTP500", "HTTP502", "HTTP503", "HTTP504"] },
  { name: "Firehose refuses records", kept: false,
    codes: ["InvalidArgumentException", "ResourceNotFoundException", "InvalidSourceException", "InvalidKMSResourceException",
      "AccessDeniedException", "AccessDenied", "ValidationException", "ValidationError", "SerializationException",
      "UnknownOperationException", "InvalidAction"] },
];
const OTHER = { name: "Delivery is in trouble", kept: true };

/** What to do about the codes that are the connector's own. */
const HINTS = {
  InvalidRequest: "mend the app; its statuses say what is wrong",
  InvalidDeliveryStreamArn: "mend the ARN, or set AWS_PARTITIONS",
  DeliveryStreamNotAllowed: "send to another stream, or add it to ALLOWED_DELIVERY_STREAM_ARNS",
  RecordTooLarge: "send smaller ones",
  QueueFull: "publish later, raise DELIVERY_STREAM_QUEUE_SIZE, or see WHEN_FULL",
  MemoryLimitExceeded: "publish later, raise MEMORY_SIZE, or see WHEN_FULL",
  TooManyStreams: "use fewer streams",
  Expired: "not delivered within RECORD_MAX_AGE",
  Dropped: "dropped for newer ones, as the queue was full",
  ConnectorStopped: "set QUEUE_DIR to keep them over a stop",
};
export const hint = (code) => HINTS[code] ?? "";

export const isFull = (stream) => stream.full_by !== null;

/** How one stream is: well, idle, warn or bad, and the word for it. */
export function streamIs(stream) {
  if (stream.trouble) return ["bad", "in trouble"];
  if (isFull(stream)) return ["bad", "full"];
  if (stream.queued >= 0.8 * stream.bound) return ["warn", "nearly full"];
  if (!stream.queued && !stream.received_rate && !stream.delivered_rate) return ["idle", "idle"];
  return ["well", "well"];
}

const some = (streams, all) => {
  if (all.length === 1) return "";
  if (streams.length === all.length) return `All ${count(all.length)} streams. `;
  const names = streams.slice(0, 3).map((stream) => stream.name).join(", ");
  const more = streams.length > 3 ? ` and ${count(streams.length - 3)} more` : "";
  return `${count(streams.length)} of ${count(all.length)} streams: ${names}${more}. `;
};

/** Streams in trouble, together where the trouble is of one kind. */
function troubles(state, full) {
  const kinds = new Map();
  for (const stream of state.streams) {
    if (!stream.trouble) continue;
    const kind = TROUBLES.find(({ codes }) => codes.includes(stream.trouble.code)) ?? OTHER;
    kinds.set(kind, [...(kinds.get(kind) ?? []), stream]);
  }
  return [...kinds].map(([kind, streams]) => {
    const first = streams.reduce((a, b) => (b.trouble.since < a.trouble.since ? b : a)).trouble;
    const whom = streams.length < state.streams.length ? ` for ${count(streams.length)} of ${count(state.streams.length)} streams` : "";
    const effect = !kind.kept ? "they fail" : full ? "a queue is full" : "records are kept";
    return {
      level: "bad",
      headline: `${kind.name}${whom}: ${effect}`,
      text: `${some(streams, state.streams)}${first.code}, for ${span(state.now - first.since)}.`,
      message: first.message,
      advice: first.advice,
    };
  });
}

function fullQueues(state, full) {
  const { rates, broker } = state;
  const effect = rates.rejected > 0 ? ": new records are rejected" : broker.reading_paused ? ": the broker keeps what follows" : "";
  return {
    level: "bad",
    headline: `A queue is full${effect}`,
    text: full.length === 1 && state.streams.length === 1
      ? `It holds ${count(full[0].queued)} records, as many as ${full[0].full_by} allows.`
      : some(full, state.streams),
    advice: `Publish more slowly, raise ${[...new Set(full.map((stream) => stream.full_by))].join(" or ")}, or see WHEN_FULL.`,
  };
}

/** From which part of memory, or of the queue's disk, on it is said that they are nearly full: one stream alone gets some
 * three quarters of either. */
const NEARLY = 0.7;

/** All that is wrong: `{level, headline, text, message?, advice}`, worst first; empty where all is well. */
export function problems(state) {
  const { broker, disk, memory, rates, now } = state;
  const full = state.streams.filter(isFull);
  const found = [];
  if (disk?.fault) {
    found.push({ level: "bad", headline: "The disk of the queue cannot be written: the broker keeps what follows", text: disk.path, message: disk.fault,
      advice: "Make room, or mend the disk or its rights. What is on it goes on being delivered; it resumes by itself." });
  }
  if (!broker.connected) {
    found.push({ level: "bad", headline: "The broker is away: nothing arrives",
      text: `${broker.address}${broker.since ? `, for ${span(now - broker.since)}` : ""}. What is held goes on being delivered.`, message: broker.reason,
      advice: "See that the broker runs and listens there, and that MQTT_URL, user and certificates are right. The connector tries again by itself." });
  }
  found.push(...troubles(state, full.length > 0));
  if (full.length) found.push(fullQueues(state, full));
  if (memory.used_bytes >= NEARLY * memory.limit_bytes) {
    found.push({ level: "warn", headline: "Memory is nearly used up", text: `${bytes(memory.used_bytes)} of ${bytes(memory.limit_bytes)}.`,
      advice: "Publish more slowly, raise MEMORY_SIZE, or set QUEUE_DIR." });
  }
  if (disk && disk.bytes >= NEARLY * disk.limit_bytes) {
    found.push({ level: "warn", headline: "The queue on disk is nearly full", text: `${bytes(disk.bytes)} of ${bytes(disk.limit_bytes)}.`,
      advice: "Raise QUEUE_DIR_MAX_BYTES where the disk has room; see WHEN_FULL for what happens then." });
  }
  if (broker.connected && broker.reading_paused && !full.length) {
    found.push({ level: "warn", headline: "Intake is paused: the broker keeps what follows", text: "There is no room for more until some of what is held is done.",
      advice: "It resumes by itself. If it lasts, raise MEMORY_SIZE." });
  }
  if (broker.connected && broker.reason) {
    found.push({ level: "warn", headline: "The broker refuses messages of the connector", text: "", message: broker.reason,
      advice: "Give the connector's user the right to publish on that topic; kinesis-edge check tells what it may." });
  }
  if (rates.rejected > 0 && !full.length) {
    found.push({ level: "warn", headline: "Some requests are rejected", text: "Their apps are told why, in their statuses.",
      advice: "“Rejected, by code” below says what for, and what to do." });
  }
  if (rates.failed > 0 && !state.streams.some((stream) => stream.trouble)) {
    found.push({ level: "warn", headline: "Some records fail for good", text: "Their apps are told why, in their statuses.",
      advice: "“Failed, by code” below says what for." });
  }
  found.push(...notReady(state, found));
  return found;
}

/** Parts that are not ready for a reason that nothing else has told. */
function notReady(state, found) {
  if (found.some(({ level }) => level === "bad")) return [];
  return state.ready.parts.filter((part) => !part.ok).map((part) => ({
    level: "warn", headline: `Not ready: ${part.name}`, text: "", message: part.reason, advice: "If it lasts, see the connector's log.",
  }));
}

/** The headline: the worst of what is wrong, or how well it is. */
export function verdict(state, found) {
  if (found.length) return { level: found[0].level, headline: found[0].headline };
  const { rates, totals } = state;
  if (rates.delivered > 0) return { level: "well", headline: "All is well: records arrive in Firehose" };
  if (totals.held > 0) return { level: "well", headline: "All is well: records wait to be sent" };
  if (rates.received > 0) return { level: "well", headline: "All is well: records come in" };
  if (totals.received > 0) return { level: "idle", headline: "All is quiet: no records come in" };
  return { level: "idle", headline: "Connected and waiting: no record has come yet" };
}
