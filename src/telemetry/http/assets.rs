//! The files of the page, embedded.

use axum::http::header::CONTENT_TYPE;
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
    bytes: &'static [u8],
}

impl Asset {
    pub fn response(&self) -> Response {
        ([(CONTENT_TYPE, self.kind)], self.bytes).into_response()
    }
}

/// A file of the folder `page`, asked for under its name there.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        Asset {
            path: concat!("/", $name),
            kind: $kind,
            bytes: include_bytes!(concat!("../page/", $name)),
        }
    };
}

/// Every file of the page.
pub(super) static ALL: &[Asset] = &[
    Asset {
        path: "/",
        kind: HTML,
        bytes: include_bytes!("../page/index.html"),
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
