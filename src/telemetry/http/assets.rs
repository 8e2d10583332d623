//! The files of the page, embedded as `build.rs` compressed them.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    /// Where it is asked for.
    pub path: &'static str,
    kind: &'static str,
    compressed: &'static [u8],
}

impl Asset {
    /// The file as it is embedded, whatever is accepted: every browser reads gzip, and what would read it for
    /// others is 40 KB of the program.
    pub fn response(&self) -> Response {
        let headers = [(CONTENT_TYPE, self.kind), (CONTENT_ENCODING, "gzip")];
        (headers, self.compressed).into_response()
    }
}

/// A file of the folder `page`, as it is embedded.
macro_rules! compressed {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/page/", $name, ".gz"))
    };
}

/// A file of the folder `page`, asked for under its name there.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        Asset {
            path: concat!("/", $name),
            kind: $kind,
            compressed: compressed!($name),
        }
    };
}

/// Every file of the page.
pub(super) static ALL: &[Asset] = &[
    Asset {
        path: "/",
        kind: HTML,
        compressed: compressed!("index.html"),
    },
    file!("page.css", CSS),
    file!("page.js", SCRIPT),
    file!("figures.js", SCRIPT),
    file!("flow.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("plots.js", SCRIPT),
    file!("streams.js", SCRIPT),
    file!("verdict.js", SCRIPT),
    file!("uplot/uPlot.iife.min.js", SCRIPT),
    file!("uplot/uPlot.min.css", CSS),
    file!("uplot/LICENSE", TEXT),
];
