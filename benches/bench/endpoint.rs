//! A Firehose endpoint that costs as little as it can: plain HTTP/1.1, a thread for each connection,
//! every byte of every record compared with what was sent, every number counted once, and answers
//! with record ids as long as real ones.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;

use super::payload::Payload;
use super::seen::Seen;

/// Characters of a record id of the service.
const RECORD_ID_CHARACTERS: usize = 220;

/// A running endpoint. It takes connections until it is dropped.
pub struct Endpoint {
    /// Where it listens, on loopback.
    port: u16,
    /// What its connections share.
    shared: Arc<Shared>,
}

/// What an endpoint expects, and how it answers.
pub struct EndpointOptions {
    /// What records look like.
    pub payload: Payload,
    /// How many there will be.
    pub records: u64,
    /// How long it thinks before it answers.
    pub latency: Duration,
    /// Where the arrival of each record is to be noted: the beginning of time.
    pub clock: Option<Instant>,
}

struct Shared {
    options: EndpointOptions,
    /// Records that arrived.
    arrived: Seen,
    /// When each arrived, in nanoseconds since [`EndpointOptions::clock`]; empty without one.
    arrived_at: Vec<AtomicU64>,
    /// Set when it is to end.
    ended: AtomicBool,
}

impl Endpoint {
    /// Starts one.
    pub fn start(options: EndpointOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let noted = if options.clock.is_some() {
            options.records
        } else {
            0
        };
        let shared = Arc::new(Shared {
            arrived: Seen::new(options.records),
            arrived_at: (0..noted).map(|_| AtomicU64::new(0)).collect(),
            options,
            ended: AtomicBool::new(false),
        });
        let for_connections = Arc::clone(&shared);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let ended = for_connections.ended.load(Ordering::Relaxed);
                let (Ok(socket), false) = (socket, ended) else {
                    return;
                };
                let shared = Arc::clone(&for_connections);
                thread::spawn(move || {
                    // A connection that ends is the client's right; what is missing shows.
                    let _ = Connection::new(socket, shared).and_then(|mut c| c.serve());
                });
            }
        });
        Ok(Endpoint { port, shared })
    }

    /// The URL for `AWS_ENDPOINT_URL_FIREHOSE`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// When each record arrived, in nanoseconds since [`EndpointOptions::clock`].
    pub fn arrivals(&self) -> Vec<u64> {
        let arrived_at = self.shared.arrived_at.iter();
        arrived_at.map(|at| at.load(Ordering::Relaxed)).collect()
    }

    /// Waits until so many records have arrived.
    pub fn wait_for(&self, count: u64) -> io::Result<()> {
        self.shared.arrived.wait_for(count)
    }

    /// Every record is to have arrived once, byte for byte.
    pub fn check(&self) -> io::Result<()> {
        let expected = self.shared.options.records;
        self.shared.arrived.check("records", expected)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// One connection of a client.
struct Connection {
    reader: BufReader<TcpStream>,
    shared: Arc<Shared>,
    /// Finds a record in a body.
    data: Finder<'static>,
    /// Finds the stream's name.
    stream: Finder<'static>,
    /// A line of a head.
    line: Vec<u8>,
    body: Vec<u8>,
    entries: Vec<u8>,
    record_id: [u8; RECORD_ID_CHARACTERS],
}

/// The head of a request.
struct Head {
    body_bytes: usize,
    /// Whether it is a PutRecord.
    is_single: bool,
}

impl Connection {
    fn new(socket: TcpStream, shared: Arc<Shared>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Connection {
            reader: BufReader::with_capacity(16 * 1024, socket),
            shared,
            data: Finder::new(b"\"Data\":\""),
            stream: Finder::new(b"\"DeliveryStreamName\":\""),
            line: Vec::new(),
            body: Vec::new(),
            entries: Vec::new(),
            record_id: std::array::from_fn(|place| b'A' + (place % 26) as u8),
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        while let Some(head) = self.read_head()? {
            self.body.resize(head.body_bytes, 0);
            self.reader.read_exact(&mut self.body)?;
            let records = self.count_records();
            let latency = self.shared.options.latency;
            if !latency.is_zero() {
                thread::sleep(latency);
            }
            self.answer(records, head.is_single)?;
        }
        Ok(())
    }

    /// Reads a request's head; `None` where the connection ends before it.
    fn read_head(&mut self) -> io::Result<Option<Head>> {
        let mut head = Head {
            body_bytes: 0,
            is_single: false,
        };
        let mut is_first = true;
        loop {
            self.line.clear();
            if self.reader.read_until(b'\n', &mut self.line)? == 0 {
                return if is_first {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            is_first = false;
            let line = self.line.trim_ascii();
            if line.is_empty() {
                return Ok(Some(head));
            }
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                let text = std::str::from_utf8(value).map_err(io::Error::other)?;
                head.body_bytes = text.parse().map_err(io::Error::other)?;
            } else if name.eq_ignore_ascii_case(b"x-amz-target") {
                head.is_single = value.ends_with(b".PutRecord");
            }
        }
    }

    /// Counts the body's records: how many it has, right or wrong.
    fn count_records(&self) -> u64 {
        let now = self.shared.options.clock.map(|clock| clock.elapsed());
        let (mut records, mut new) = (0, 0);
        let stream = self
            .stream
            .find(&self.body)
            .map_or(&[][..], |at| self.text(at, &self.stream));
        let mut place = 0;
        while let Some(at) = self.data.find(&self.body[place..]) {
            let encoded = self.text(place + at, &self.data);
            place += at + self.data.needle().len() + encoded.len();
            records += 1;
            let number = self.shared.options.payload.check(encoded, stream);
            if self.shared.arrived.mark(number) {
                new += 1;
                if let (Some(now), Some(number)) = (now, number) {
                    self.shared.arrived_at[number as usize]
                        .store(now.as_nanos() as u64, Ordering::Relaxed);
                }
            }
        }
        self.shared.arrived.add(new);
        records
    }

    /// The string that begins behind a key that was found.
    fn text(&self, at: usize, key: &Finder) -> &[u8] {
        let rest = &self.body[at + key.needle().len()..];
        &rest[..memchr::memchr(b'"', rest).unwrap_or(rest.len())]
    }

    /// Tells the client that the service has the records.
    fn answer(&mut self, records: u64, is_single: bool) -> io::Result<()> {
        let (before, after) = if is_single {
            ("", "")
        } else {
            (
                r#"{"Encrypted":false,"FailedPutCount":0,"RequestResponses":["#,
                "]}",
            )
        };
        self.entries.clear();
        self.entries.extend_from_slice(before.as_bytes());
        for number in 0..records {
            // No two ids of a call alike.
            for (digit, byte) in (0..8).zip(&mut self.record_id) {
                *byte = b'a' + ((number >> (4 * digit)) & 15) as u8;
            }
            if number > 0 {
                self.entries.push(b',');
            }
            self.entries.extend_from_slice(b"{\"RecordId\":\"");
            self.entries.extend_from_slice(&self.record_id);
            self.entries.extend_from_slice(b"\"}");
        }
        self.entries.extend_from_slice(after.as_bytes());
        let length = self.entries.len();
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        answer.append(&mut self.entries);
        self.reader.get_mut().write_all(&answer)
    }
}
