//! The `channel.k8s.io` protocols: the first byte of every message names a stream.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

/// To the command.
const STDIN: u8 = 0;
/// From the command.
pub(super) const STDOUT: u8 = 1;
/// From the command.
pub(super) const STDERR: u8 = 2;
/// How it ended, as a `Status`.
pub(super) const ERROR: u8 = 3;
/// Terminal sizes.
const RESIZE: u8 = 4;
/// Version 5: the stream named by the next byte has ended.
const CLOSE: u8 = 255;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    V4,
    /// With the end of a single stream.
    V5,
}

impl Protocol {
    pub(super) const NAMES: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "v5.channel.k8s.io" => Some(Self::V5),
            "v4.channel.k8s.io" => Some(Self::V4),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V5 => Self::NAMES[0],
            Self::V4 => Self::NAMES[1],
        }
    }
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Stdin(Bytes),
    EndOfStdin,
    /// Columns, rows.
    Resize(u16, u16),
    /// Streams that a client does not write to; ignored, as the kubelet does.
    Nothing,
}

/// Understands one message of a client.
pub(super) fn parse(mut message: Bytes, protocol: Protocol) -> Said {
    #[derive(Deserialize)]
    struct Size {
        #[serde(rename = "Width")]
        width: u16,
        #[serde(rename = "Height")]
        height: u16,
    }
    if message.is_empty() {
        return Said::Nothing;
    }
    let channel = message.split_to(1)[0];
    match channel {
        STDIN => Said::Stdin(message),
        RESIZE => match serde_json::from_slice(&message) {
            Ok(Size { width, height }) => Said::Resize(width, height),
            Err(_) => Said::Nothing,
        },
        CLOSE if protocol == Protocol::V5 && *message == [STDIN] => Said::EndOfStdin,
        _ => Said::Nothing,
    }
}

/// A message on a channel.
pub(super) fn message(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    message.freeze()
}

/// The `Status` that tells how a command ended.
pub(super) fn status(exit: &Result<i32, String>) -> Value {
    match exit {
        Ok(0) => json!({ "metadata": {}, "status": "Success" }),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(why) => json!({
            "metadata": {},
            "status": "Failure",
            "message": why,
            "reason": "InternalError",
            "code": 500,
        }),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Protocol, Said, parse, status};

    #[test]
    fn clients_are_understood() {
        let said = |bytes: &'static [u8]| parse(Bytes::from_static(bytes), Protocol::V5);
        assert_eq!(said(b"\0hi"), Said::Stdin(Bytes::from_static(b"hi")));
        assert_eq!(said(b"\xff\0"), Said::EndOfStdin);
        assert_eq!(said(b"\x04{\"Width\":80,\"Height\":24}"), Said::Resize(80, 24));
        for nonsense in
            [&b""[..], b"\x01x", b"\x04{", b"\x04{\"Width\":-1,\"Height\":9}", b"\xff\x01", b"\xff"]
        {
            assert_eq!(said(nonsense), Said::Nothing);
        }
    }

    #[test]
    fn version_4_has_no_end_of_a_stream() {
        assert_eq!(parse(Bytes::from_static(b"\xff\0"), Protocol::V4), Said::Nothing);
    }

    #[test]
    fn exit_codes_travel_as_causes() {
        assert_eq!(status(&Ok(0))["status"], "Success");
        let failed = status(&Ok(3));
        assert_eq!(failed["message"], "command terminated with exit code 3");
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0]["message"], "3");
        assert_eq!(status(&Err("gone".to_owned()))["message"], "gone");
    }
}
