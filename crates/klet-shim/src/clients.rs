//! Connections to the control socket: frames in, frames with descriptors out, both bounded.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use klet_cri::{FromShim, ToShim, frame};

/// Answers waiting for a client that does not read; beyond it the client is dropped.
const QUEUE: usize = 256;
/// Bytes read from a client at a time.
const READ: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub struct Client {
    pub stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: VecDeque<Outgoing>,
    /// A version was agreed on.
    pub greeted: bool,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// What a read brought.
#[derive(Debug)]
pub enum Heard {
    Requests(Vec<ToShim>),
    /// The peer is gone or broke the framing.
    Over,
}

impl Client {
    /// Takes a connection of root; others are refused.
    pub fn accept(stream: UnixStream) -> io::Result<Self> {
        let peer = klet_sys::socket::peer(&stream).map_err(io::Error::other)?;
        if peer.uid != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, incoming: Vec::new(), outgoing: VecDeque::new(), greeted: false })
    }

    /// Reads what is there; descriptors that a client sends are closed.
    pub fn read(&mut self) -> Heard {
        let mut chunk = vec![0; READ];
        let mut requests = Vec::new();
        loop {
            match klet_sys::socket::receive(&self.stream, &mut chunk) {
                Ok(received) if received.length == 0 => return Heard::Over,
                Ok(received) => self.incoming.extend_from_slice(&chunk[..received.length]),
                Err(error) if error.errno.0 == libc::EAGAIN => break,
                Err(_) => return Heard::Over,
            }
            loop {
                match frame::take(&mut self.incoming) {
                    Ok(Some(request)) => requests.push(request),
                    Ok(None) => break,
                    Err(_) => return Heard::Over,
                }
            }
        }
        Heard::Requests(requests)
    }

    /// Queues a message and sends what goes at once; false when the client must be dropped.
    pub fn send(&mut self, message: &FromShim, fds: Vec<OwnedFd>) -> bool {
        let Ok(bytes) = frame::encode(message) else { return false };
        self.outgoing.push_back(Outgoing { bytes, sent: 0, fds });
        self.outgoing.len() <= QUEUE && self.flush()
    }

    /// Sends as much as the socket takes; false when it is broken.
    pub fn flush(&mut self) -> bool {
        while let Some(first) = self.outgoing.front_mut() {
            let fds: Vec<_> = first.fds.iter().map(AsFd::as_fd).collect();
            match klet_sys::socket::send(&self.stream, &first.bytes[first.sent..], &fds) {
                Ok(count) => {
                    first.sent += count;
                    // Descriptors ride on the first byte and must not be sent twice.
                    first.fds.clear();
                    if first.sent == first.bytes.len() {
                        self.outgoing.pop_front();
                    }
                }
                Err(error) if error.errno.0 == libc::EAGAIN => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Something waits for room in the socket.
    pub fn is_waiting(&self) -> bool {
        !self.outgoing.is_empty()
    }
}
