//! Unix sockets: descriptors in messages (SCM_RIGHTS) and the peer's identity (SO_PEERCRED).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::error::{Named, SysError, retry};

/// The most descriptors one message may carry (the kernel's SCM_MAX_FD is 253).
pub const MAX_DESCRIPTORS: usize = 64;

/// Who is at the other end of a socket, as of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process number.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What [`receive`] got.
#[derive(Debug)]
pub struct Received {
    /// The number of bytes; 0 is the end of the connection.
    pub length: usize,
    /// The descriptors, in the order sent, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends bytes and descriptors as one message; answers how many bytes went.
///
/// # Errors
/// `EPIPE` (no signal), `EAGAIN`, `EMSGSIZE`; `EINVAL` for more than [`MAX_DESCRIPTORS`].
pub fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, SysError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MAX_DESCRIPTORS
        || !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors))
    {
        return Err(SysError::new("sendmsg", libc::EINVAL));
    }
    let socket = socket.as_fd();
    retry(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
            .named("sendmsg")
    })
}

/// Receives one message into `buffer`.
///
/// # Errors
/// `EAGAIN`; `EMSGSIZE` if the message or its descriptors did not fit (what arrived is closed).
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, SysError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let socket = socket.as_fd();
    let message = retry(|| {
        let parts = &mut [IoSliceMut::new(&mut *buffer)];
        rustix::net::recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC).named("recvmsg")
    })?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(SysError::new("recvmsg", libc::EMSGSIZE));
    }
    Ok(Received { length: message.bytes, descriptors })
}

/// The process at the other end.
///
/// # Errors
/// `ENOTSOCK`, `ENOPROTOOPT`.
pub fn peer(socket: impl AsFd) -> Result<Peer, SysError> {
    let credentials =
        nix::sys::socket::getsockopt(&socket.as_fd(), nix::sys::socket::sockopt::PeerCredentials)
            .named("getsockopt(SO_PEERCRED)")?;
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_travel() {
        let (left, right) = UnixStream::pair().unwrap();
        let (reader, writer) = crate::fd::pipe().unwrap();
        send(&left, b"take this", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 32];
        let received = receive(&right, &mut buffer).unwrap();
        assert_eq!(&buffer[..received.length], b"take this");
        rustix::io::write(&received.descriptors[0], b"!").unwrap();
        drop(received);
        assert_eq!(crate::fd::read(&reader, &mut buffer).unwrap(), 1);
        assert_eq!(crate::fd::read(&reader, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn the_end_is_zero_bytes_and_a_broken_pipe() {
        let (left, right) = UnixStream::pair().unwrap();
        drop(left);
        assert_eq!(receive(&right, &mut [0; 4]).unwrap().length, 0);
        assert_eq!(send(&right, b"x", &[]).unwrap_err().errno.0, libc::EPIPE);
    }

    #[test]
    fn the_peer_is_this_process() {
        let (left, _right) = UnixStream::pair().unwrap();
        let peer = peer(&left).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        let file = crate::fd::open(c"/dev/null", rustix::fs::OFlags::RDONLY).unwrap();
        assert_eq!(super::peer(&file).unwrap_err().errno.0, libc::ENOTSOCK);
    }
}
