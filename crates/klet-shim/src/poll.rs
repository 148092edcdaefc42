//! epoll with typed tokens.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Events taken at a time.
const BATCH: usize = 32;

/// What a descriptor belongs to; `usize` is the number of the container, session or client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Listener,
    Signals,
    Pause,
    Client(u32),
    ContainerExit(u32),
    ContainerOutput(u32, Channel),
    ContainerOom(u32),
    SessionExit(u32),
    SessionOutput(u32, Channel),
}

/// Which output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Out,
    Err,
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Pause => (2, 0),
            Self::Client(number) => (3, number),
            Self::ContainerExit(number) => (4, number),
            Self::ContainerOutput(number, Channel::Out) => (5, number),
            Self::ContainerOutput(number, Channel::Err) => (6, number),
            Self::SessionExit(number) => (7, number),
            Self::SessionOutput(number, Channel::Out) => (8, number),
            Self::SessionOutput(number, Channel::Err) => (9, number),
            Self::ContainerOom(number) => (10, number),
        };
        kind << 32 | u64::from(number)
    }

    fn unpack(data: u64) -> Option<Self> {
        let number = data as u32;
        Some(match data >> 32 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Pause,
            3 => Self::Client(number),
            4 => Self::ContainerExit(number),
            5 => Self::ContainerOutput(number, Channel::Out),
            6 => Self::ContainerOutput(number, Channel::Err),
            7 => Self::SessionExit(number),
            8 => Self::SessionOutput(number, Channel::Out),
            9 => Self::SessionOutput(number, Channel::Err),
            10 => Self::ContainerOom(number),
            _ => return None,
        })
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poll(OwnedFd);

impl Poll {
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Wakes with `token` when `fd` can be read or is at its end.
    pub fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token.pack()), EventFlags::IN)?)
    }

    /// Wakes with `token` when a file of a cgroup, which can always be read, changes.
    pub fn add_changes(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token.pack()), EventFlags::PRI)?)
    }

    /// Chooses whether room for writing wakes, too.
    pub fn write_interest(&self, fd: impl AsFd, token: Token, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.0, fd, EventData::new_u64(token.pack()), flags)?)
    }

    pub fn remove(&self, fd: impl AsFd) {
        // A descriptor that is not registered needs no removal.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits for events, at most for `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Token>> {
        let mut events = Vec::with_capacity(BATCH);
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match epoll::wait(&self.0, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        Ok(events.iter().filter_map(|event| Token::unpack(event.data.u64())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Listener,
            Token::Signals,
            Token::Pause,
            Token::Client(7),
            Token::ContainerExit(u32::MAX),
            Token::ContainerOutput(1, Channel::Err),
            Token::SessionExit(2),
            Token::ContainerOom(4),
            Token::SessionOutput(3, Channel::Out),
        ] {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(99 << 32), None);
    }
}
