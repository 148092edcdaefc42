//! Framing on the control socket (a `SOCK_STREAM` unix socket): a four-byte little-endian
//! length, then that many bytes of JSON. Descriptors ride on the first byte of a frame.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::MAX_FRAME_BYTES;

/// Bytes of the length prefix.
pub const HEADER_BYTES: usize = 4;

/// A peer broke the framing; the connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {0} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    TooLong(usize),
    #[error("frame is not a message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// A message as it goes onto the socket, header included.
///
/// # Errors
/// `TooLong` above [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER_BYTES;
    let Some(header) = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME_BYTES) else {
        return Err(FrameError::TooLong(length));
    };
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
    Ok(bytes)
}

/// Takes the first whole frame out of `buffer`, if there is one.
///
/// # Errors
/// `TooLong` as soon as a header announces too much, `Malformed` when the body is no `T`.
pub fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let end = HEADER_BYTES + length;
    if buffer.len() < end {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[HEADER_BYTES..end])?;
    buffer.drain(..end);
    if buffer.is_empty() {
        buffer.shrink_to(4096);
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Request, ToShim};

    #[test]
    fn however_the_bytes_arrive_the_messages_are_the_same() {
        let one = encode(&ToShim { id: 1, request: Request::Status }).unwrap();
        let two = encode(&ToShim { id: 2, request: Request::RemoveSandbox }).unwrap();
        let all: Vec<u8> = one.iter().chain(&two).copied().collect();
        for cut in 1..all.len() {
            let mut buffer = Vec::new();
            let mut ids = Vec::new();
            for piece in [&all[..cut], &all[cut..]] {
                buffer.extend_from_slice(piece);
                while let Some(message) = take::<ToShim>(&mut buffer).unwrap() {
                    ids.push(message.id);
                }
            }
            assert_eq!(ids, [1, 2], "cut at {cut}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn an_oversized_header_is_refused_before_its_body_arrives() {
        let mut buffer = u32::MAX.to_le_bytes().to_vec();
        assert!(matches!(take::<ToShim>(&mut buffer), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn a_body_that_is_no_message_is_refused() {
        let mut buffer = vec![2, 0, 0, 0, b'{', b'}'];
        assert!(matches!(take::<ToShim>(&mut buffer), Err(FrameError::Malformed(_))));
    }
}
