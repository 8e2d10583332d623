//! What it costs to look: the same load with the page open and metrics scraped every second, and with nobody
//! looking.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::fed::{Feed, connector};
use super::{Context, in_turn};
use crate::payload::Payload;
use crate::results::Results;

/// Who is measured.
pub const UNWATCHED: &str = "kinesis-edge, HTTP_LISTEN unset";
pub const WATCHED: &str = "kinesis-edge, page open, scraped every second";

/// So many that a run takes several seconds, in each of which somebody looks.
const RECORDS: u64 = 6_000_000;

/// With nobody looking, and with a page and a scraper.
pub fn run(context: &Context, results: &mut Results) {
    let payload = Payload::new(200);
    in_turn(
        context,
        results,
        "watched",
        &[
            (UNWATCHED, &|| {
                connector(context, &Feed::new(&payload, RECORDS))
            }),
            (WATCHED, &|| {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let address = listener.local_addr()?;
                drop(listener);
                let listen = address.to_string();
                let variables = [("HTTP_LISTEN", listen.as_str())];
                let watcher = Watcher::start(address);
                let run = connector(
                    context,
                    &Feed {
                        variables: &variables,
                        ..Feed::new(&payload, RECORDS)
                    },
                )?;
                watcher.stop()?;
                Ok(run)
            }),
        ],
    );
}

/// Looks from a thread each, until told to stop: a page, and a scraper.
struct Watcher {
    stop: Arc<AtomicBool>,
    page: JoinHandle<usize>,
    scraper: JoinHandle<usize>,
}

impl Watcher {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (for_page, for_scraper) = (Arc::clone(&stop), Arc::clone(&stop));
        Watcher {
            stop,
            page: thread::spawn(move || page(address, &for_page)),
            scraper: thread::spawn(move || scraper(address, &for_scraper)),
        }
    }

    /// Ends it. An error where it saw next to nothing: then nothing was measured.
    fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| io::Error::other("the watcher panicked");
        let events = self.page.join().map_err(panicked)?;
        let scrapes = self.scraper.join().map_err(panicked)?;
        if events < 3 || scrapes < 3 {
            return Err(io::Error::other(format!(
                "the watcher saw {events} events and {scrapes} scrapes only"
            )));
        }
        Ok(())
    }
}

/// Reads the page's events until the server goes; counts the states.
fn page(address: SocketAddr, stop: &AtomicBool) -> usize {
    let mut events = 0;
    while !stop.load(Ordering::Relaxed) {
        let _ = ask(address, "/events", |chunk| {
            events += chunk
                .windows(12)
                .filter(|part| *part == b"event: state")
                .count();
        });
        thread::sleep(Duration::from_millis(100));
    }
    events
}

/// Scrapes every second; counts the scrapes.
fn scraper(address: SocketAddr, stop: &AtomicBool) -> usize {
    let mut scrapes = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut is_answered = false;
        let asked = ask(address, "/metrics", |chunk| {
            is_answered |= !chunk.is_empty()
        });
        scrapes += usize::from(asked.is_ok() && is_answered);
        thread::sleep(Duration::from_secs(1));
    }
    scrapes
}

/// Asks for a path and hands out what comes, to its end.
fn ask(address: SocketAddr, path: &str, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut chunk = [0; 64 * 1024];
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            bytes => take(&chunk[..bytes]),
        }
    }
}
