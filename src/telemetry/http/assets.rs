//! The files of the page, embedded.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

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

/// Every file of the page.
pub(super) static ALL: &[Asset] = &[Asset {
    path: "/",
    kind: HTML,
    bytes: include_bytes!("../page/index.html"),
}];
