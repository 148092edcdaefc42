//! A connection that remembers what error texts need: the first bytes received, and what failed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes remembered: enough for the first line of an answer that is none.
const FIRST: usize = 128;

/// What a connection has seen.
#[derive(Debug, Default)]
struct Seen {
    first: Vec<u8>,
    failure: Option<(&'static str, i32)>,
}

/// What was seen, for whoever words the error.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Seen>>);

impl Notes {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first bytes received.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        self.with(|seen| seen.first.clone())
    }

    /// Go's text of a failed call, e.g. `read tcp 10.0.0.1:4->10.0.0.2:80: read: connection reset by peer`.
    pub(super) fn failure(&self, local: SocketAddr, remote: SocketAddr) -> Option<String> {
        let (call, errno) = self.with(|seen| seen.failure)?;
        let why = super::errno_words(errno);
        Some(format!("{call} tcp {local}->{remote}: {call}: {why}"))
    }
}

/// The connection.
#[derive(Debug)]
pub struct Tap<S> {
    inner: S,
    notes: Notes,
}

impl<S> Tap<S> {
    pub const fn new(inner: S, notes: Notes) -> Self {
        Self { inner, notes }
    }

    fn note<T>(&self, call: &'static str, result: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = result
            && let Some(errno) = error.raw_os_error()
        {
            self.notes.with(|seen| {
                seen.failure.get_or_insert((call, errno));
            });
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        let new = &buffer.filled()[before..];
        self.notes.with(|seen| {
            let room = FIRST - seen.first.len();
            seen.first.extend_from_slice(&new[..new.len().min(room)]);
        });
        self.note("read", &result);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note("write", &result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
