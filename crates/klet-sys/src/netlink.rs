//! A synchronous netlink core, shared by everything that configures the network: links, addresses
//! and routes (`NETLINK_ROUTE`) and the packet filter (`NETLINK_NETFILTER`).
//!
//! The kernel works through a netlink request inside `sendmsg`, so the answers are queued when the
//! send returns (a dump is continued by the very `recvmsg` that drains it). Therefore nothing here
//! ever waits: an answer that is not there is an error, not a reason to block. netlink(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `NLM_F_REQUEST` is set on every message by [`Message::new`]; these are added to it.
pub mod flag {
    /// Ask for an acknowledgement. Set by the socket where it needs one.
    pub const ACK: u16 = 0x004;
    /// Return the whole table.
    pub const DUMP: u16 = 0x300;
    /// Replace what exists.
    pub const REPLACE: u16 = 0x100;
    /// Fail if it exists.
    pub const EXCL: u16 = 0x200;
    /// Create if it does not exist.
    pub const CREATE: u16 = 0x400;
    /// Add at the end of the list.
    pub const APPEND: u16 = 0x800;
}

const REQUEST: u16 = 0x001;
const MULTI: u16 = 0x002;
const DUMP_INTERRUPTED: u16 = 0x010;
const ACK_WITH_TLVS: u16 = 0x200;
const ACK_CAPPED: u16 = 0x100;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const EXT_ACK_MESSAGE: u16 = 1;

/// nfnetlink control messages that open and close a transaction.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// Room for one datagram from the kernel; dumps use at most 32 KiB per part.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Upper bound of the messages one dump may return.
const DUMP_LIMIT: usize = 1 << 20;
/// Send buffer asked for, so that a whole table fits in one transaction.
const SEND_BUFFER: usize = 8 << 20;

/// Why a netlink operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on the socket failed.
    #[error("netlink: {step}")]
    Socket {
        /// The step: open, bind, send, receive.
        step: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the message with this index (position in what was sent).
    #[error("netlink: the kernel refused message {index}{}{}", if text.is_empty() { "" } else { ": " }, text)]
    Refused {
        /// Position of the refused message.
        index: usize,
        /// The kernel's own words (extended acknowledgement), or empty.
        text: String,
        /// The error number.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer is missing or malformed.
    #[error("netlink: {0}")]
    Protocol(&'static str),
}

impl Error {
    /// The error number of a refusal or a failed call.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Protocol(_) => None,
        }
    }
}

/// A netlink family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `NETLINK_ROUTE`: links, addresses, routes.
    Route,
    /// `NETLINK_NETFILTER`: nftables, connection tracking.
    Netfilter,
}

/// A request under construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of `kind` with `flags` (see [`flag`]).
    #[must_use]
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        Self { bytes }
    }

    /// Append a fixed structure (family header) as it is, padded to four bytes.
    pub fn raw(&mut self, data: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(data);
        self.pad();
        self
    }

    /// Append an attribute.
    ///
    /// # Panics
    /// If `data` is longer than an attribute can be (65 531 bytes); callers bound what they send.
    pub fn put(&mut self, kind: u16, data: &[u8]) -> &mut Self {
        let length = u16::try_from(ATTRIBUTE_HEADER + data.len())
            .expect("attribute is bounded by the caller");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(data)
    }

    /// Append a 32-bit attribute in host byte order (rtnetlink).
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Append a 32-bit attribute in network byte order (nfnetlink).
    pub fn put_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Append a zero-terminated string attribute.
    pub fn put_str(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut data = value.as_bytes().to_vec();
        data.push(0);
        self.put(kind, &data)
    }

    /// Append an attribute that holds what `fill` appends.
    ///
    /// # Panics
    /// If the content is longer than an attribute can be; callers bound what they send.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.put(kind | NESTED, &[]);
        fill(self);
        let length =
            u16::try_from(self.bytes.len() - start).expect("attribute is bounded by the caller");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Bytes so far, header included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn seal(mut self, sequence: u32, extra: u16) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | extra;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// One message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Message type.
    pub kind: u16,
    /// What follows the netlink header: family structure and attributes.
    pub payload: Vec<u8>,
}

impl Reply {
    /// The attributes that follow a family structure of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'_> {
        Attributes::new(self.payload.get(header.next_multiple_of(4)..).unwrap_or_default())
    }
}

/// Iterator over attributes: kind (without flag bits) and value. Ends at the first malformed one.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Read the attributes in `bytes`, the value of a nested attribute for example.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The value of the first attribute of `kind`.
    #[must_use]
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// The value of `kind` as a 32-bit number in host byte order.
    #[must_use]
    pub fn get_u32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The value of `kind` as a string, without its terminator.
    #[must_use]
    pub fn get_str(self, kind: u16) -> Option<&'a str> {
        let bytes = self.get(kind)?;
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.rest.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = self.rest.get(ATTRIBUTE_HEADER..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A netlink socket, bound to the network namespace in which it was opened (for good: this is how
/// the inside of a pod is configured without entering it).
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Open a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Socket`] if the kernel has no such family or refuses.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        Self::bound(protocol, 0)
    }

    /// Open a socket that hears what happens: `groups` is the bit mask of multicast groups
    /// (`RTMGRP_LINK` and the like). It becomes readable then; see [`Socket::heard`].
    ///
    /// # Errors
    /// As [`Socket::open`].
    pub fn listen(protocol: Protocol, groups: u32) -> Result<Self, Error> {
        Self::bound(protocol, groups)
    }

    fn bound(protocol: Protocol, groups: u32) -> Result<Self, Error> {
        let protocol = match protocol {
            // NETLINK_ROUTE is protocol 0.
            Protocol::Route => None,
            Protocol::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(|e| socket_error("open", e))?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))
            .map_err(|e| socket_error("bind", e))?;
        Ok(Self::from_fd(fd))
    }

    /// Use a socket that somebody else opened, perhaps in another network namespace.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        // Better texts and larger transactions; without them everything still works.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable_option(fd.as_fd(), option).ok();
        }
        rustix::net::sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER).ok();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, SEND_BUFFER).ok();
        Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BUFFER] }
    }

    /// Send one message and take its acknowledgement.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's reason.
    pub fn request(&mut self, message: Message) -> Result<(), Error> {
        self.apply(vec![message])?.pop().unwrap_or(Err(Error::Protocol("no acknowledgement")))
    }

    /// Send all messages at once; the result has one entry per message, in order. A refused message
    /// does not keep the kernel from working through those after it.
    ///
    /// # Errors
    /// [`Error::Socket`] if nothing could be sent or received; refusals are in the list.
    pub fn apply(&mut self, messages: Vec<Message>) -> Result<Vec<Result<(), Error>>, Error> {
        // The kernel answers an empty send with ENODATA; nothing to do is no failure.
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.sequence.wrapping_add(1);
        let count = messages.len();
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(message.seal(self.sequence, flag::ACK));
        }
        let mut results: Vec<_> =
            (0..count).map(|_| Err(Error::Protocol("no acknowledgement"))).collect();
        self.exchange(&bytes, |frame| {
            let index = frame.sequence.wrapping_sub(first) as usize;
            if let (Some(slot), Some(outcome)) =
                (results.get_mut(index), frame.acknowledgement(index))
            {
                *slot = outcome;
            }
        })?;
        Ok(results)
    }

    /// Send all messages as one nfnetlink transaction for `subsystem`: either all take effect or none.
    ///
    /// # Errors
    /// The first refusal ([`Error::Refused`], `index` counts within `messages`).
    pub fn transaction(&mut self, subsystem: u8, messages: Vec<Message>) -> Result<(), Error> {
        let Some(last) = messages.len().checked_sub(1) else { return Ok(()) };
        let first = self.sequence.wrapping_add(2);
        let mut bytes = batch_mark(BATCH_BEGIN, subsystem, self.next_sequence());
        for (index, message) in messages.into_iter().enumerate() {
            let sequence = self.next_sequence();
            bytes.extend(message.seal(sequence, if index == last { flag::ACK } else { 0 }));
        }
        bytes.extend(batch_mark(BATCH_END, subsystem, self.next_sequence()));
        let mut failure = None;
        let mut acknowledged = false;
        self.exchange(&bytes, |frame| {
            let index = frame.sequence.wrapping_sub(first) as usize;
            match frame.acknowledgement(index) {
                Some(Ok(())) => acknowledged |= index == last,
                Some(Err(error)) if failure.is_none() => failure = Some(error),
                Some(Err(_)) | None => {}
            }
        })?;
        match failure {
            Some(error) => Err(error),
            None if acknowledged => Ok(()),
            None => Err(Error::Protocol("the transaction was not acknowledged")),
        }
    }

    /// Send a request for one object or a dump ([`flag::DUMP`]) and collect what the kernel returns.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Protocol`] if the dump was interrupted by a change (ask again) or
    /// exceeds the bound.
    pub fn query(&mut self, message: Message) -> Result<Vec<Reply>, Error> {
        let sequence = self.next_sequence();
        let bytes = message.seal(sequence, 0);
        let mut replies = Vec::new();
        let mut failure = None;
        self.exchange(&bytes, |frame| {
            if frame.sequence != sequence {
                return;
            }
            if frame.flags & MULTI != 0 && frame.flags & DUMP_INTERRUPTED != 0 {
                failure = Some(Error::Protocol("the dump was interrupted by a change"));
            }
            match frame.acknowledgement(0) {
                Some(Err(error)) => failure = Some(error),
                None if replies.len() >= DUMP_LIMIT => {
                    failure = Some(Error::Protocol("the dump is too long"))
                }
                None => replies.push(Reply { kind: frame.kind, payload: frame.payload.to_vec() }),
                Some(Ok(())) => {}
            }
        })?;
        failure.map_or(Ok(replies), Err)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Send `bytes` and hand every frame of the answer to `take` until the queue is empty.
    fn exchange(&mut self, bytes: &[u8], mut take: impl FnMut(&Frame<'_>)) -> Result<(), Error> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = retry(|| rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel))
            .map_err(|e| socket_error("send", e))?;
        if sent != bytes.len() {
            return Err(Error::Protocol("the message was sent in part"));
        }
        self.drain(&mut take)
    }

    /// What has happened since the last call; empty when nothing has.
    ///
    /// # Errors
    /// [`Error::Socket`] with `ENOBUFS` when so much happened that some of it was lost.
    pub fn heard(&mut self) -> Result<Vec<Reply>, Error> {
        let mut events = Vec::new();
        self.drain(&mut |frame| {
            if events.len() < DUMP_LIMIT {
                events.push(Reply { kind: frame.kind, payload: frame.payload.to_vec() });
            }
        })?;
        Ok(events)
    }

    /// Hand every frame that is queued to `take`.
    fn drain(&mut self, take: &mut impl FnMut(&Frame<'_>)) -> Result<(), Error> {
        loop {
            let received = retry(|| {
                rustix::net::recvfrom(
                    &self.fd,
                    &mut self.buffer[..],
                    RecvFlags::DONTWAIT | RecvFlags::TRUNC,
                )
            });
            let (length, from) = match received {
                Ok((_, length, from)) => (length, from),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(socket_error("receive", errno)),
            };
            // Only the kernel has port 0: whatever another process sends us is not an answer.
            let from_kernel = from
                .and_then(|a| SocketAddrNetlink::try_from(a).ok())
                .is_some_and(|a| a.pid() == 0);
            if !from_kernel {
                continue;
            }
            let datagram =
                self.buffer.get(..length).ok_or(Error::Protocol("the answer is too long"))?;
            Frame::each(datagram, take)?;
        }
    }
}

/// One message inside a received datagram.
struct Frame<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn each(mut rest: &'a [u8], take: &mut impl FnMut(&Frame<'_>)) -> Result<(), Error> {
        while !rest.is_empty() {
            let header: &[u8; HEADER] =
                rest.first_chunk().ok_or(Error::Protocol("the answer is cut off"))?;
            let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
            let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let payload =
                rest.get(HEADER..length).ok_or(Error::Protocol("the answer is cut off"))?;
            let frame = Frame {
                kind: u16::from_ne_bytes([k0, k1]),
                flags: u16::from_ne_bytes([f0, f1]),
                sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
                payload,
            };
            if frame.kind == NLMSG_OVERRUN {
                return Err(Error::Protocol("answers were lost"));
            }
            take(&frame);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }

    /// What this frame says about a request, if it is an acknowledgement or the end of a dump.
    fn acknowledgement(&self, index: usize) -> Option<Result<(), Error>> {
        if self.kind != NLMSG_ERROR && self.kind != NLMSG_DONE {
            return None;
        }
        let code = self.payload.first_chunk::<4>().map_or(0, |c| i32::from_ne_bytes(*c));
        if code == 0 {
            return Some(Ok(()));
        }
        let source = io::Error::from_raw_os_error(code.saturating_neg());
        Some(Err(Error::Refused { index, text: self.extended_text().unwrap_or_default(), source }))
    }

    fn extended_text(&self) -> Option<String> {
        if self.kind != NLMSG_ERROR || self.flags & ACK_WITH_TLVS == 0 {
            return None;
        }
        // Error number, then the refused message: its header alone if capped, all of it otherwise.
        let original = u32::from_ne_bytes(*self.payload.get(4..)?.first_chunk()?) as usize;
        let echoed = if self.flags & ACK_CAPPED == 0 { original.max(HEADER) } else { HEADER };
        let attributes = Attributes::new(self.payload.get(4 + echoed.next_multiple_of(4)..)?);
        attributes.get_str(EXT_ACK_MESSAGE).map(str::to_owned)
    }
}

fn batch_mark(kind: u16, subsystem: u8, sequence: u32) -> Vec<u8> {
    let mut message = Message::new(kind, 0);
    // struct nfgenmsg: family unspecified, version 0, subsystem in network byte order.
    message.raw(&[0, 0, 0, subsystem]);
    message.seal(sequence, 0)
}

fn socket_error(step: &'static str, errno: rustix::io::Errno) -> Error {
    Error::Socket { step, source: errno.into() }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(&mut call)
}

/// Neither rustix nor nix has the options of netlink sockets.
fn enable_option(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).expect("four fits");
    // SAFETY: the pointer and the size describe `on`, which lives until the call returns, and the
    // kernel only reads it; the descriptor is borrowed for the same time.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[path = "netlink/tests.rs"]
mod tests;
