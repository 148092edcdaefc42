//! A body read line by line.

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::{Error, Result};

/// Longest line that is waited for: an API object may be 1.5 MiB, and its JSON more.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The lines of an answer as they arrive.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(response: Response<Incoming>) -> Self {
        Lines { body: response.into_body(), buffer: BytesMut::new(), ended: false }
    }

    /// The next line with its newline, if it has one; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.buffer.split_to(searched + end + 1).freeze()));
            }
            searched = self.buffer.len();
            if self.ended || searched >= LINE_BYTES_MAX {
                let rest = self.buffer.split().freeze();
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Err(cause)) => return Err(Error::Connection(super::with_source(&cause))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
