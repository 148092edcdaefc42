//! PAX extended header records: `<length> <key>=<value>\n` (POSIX pax, "pax Extended Header").

use std::io;
use std::str::FromStr;

use super::bad;
use crate::limits::MAX_EXTENSION;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records this store understands; later records win, unknown ones are ignored as POSIX asks.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse_name: Option<Vec<u8>>,
    size: Option<Vec<u8>>,
    uid: Option<Vec<u8>>,
    gid: Option<Vec<u8>>,
    mtime: Option<Vec<u8>>,
    /// `GNU.sparse.*` without the prefix, in order.
    sparse: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: u64,
}

impl Pax {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds the records of one extension header.
    pub(super) fn merge(&mut self, mut data: &[u8]) -> io::Result<()> {
        self.bytes += data.len() as u64;
        if self.bytes > MAX_EXTENSION {
            return Err(bad("PAX headers are too large"));
        }
        while !data.is_empty() {
            let (record, rest) = split_record(data).ok_or_else(|| bad("malformed PAX record"))?;
            let equals = record
                .iter()
                .position(|&byte| byte == b'=')
                .ok_or_else(|| bad("PAX record without '='"))?;
            self.set(&record[..equals], &record[equals + 1..])?;
            data = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let text = Some(value.to_vec());
        match key {
            b"path" => self.path = Some(no_nul(value)?),
            b"linkpath" => self.link = Some(no_nul(value)?),
            b"size" => self.size = text,
            b"uid" => self.uid = text,
            b"gid" => self.gid = text,
            b"mtime" => self.mtime = text,
            b"GNU.sparse.name" => self.sparse_name = Some(no_nul(value)?),
            _ => {
                if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.retain(|(old, _)| old != name);
                    self.xattrs.push((no_nul(name)?, value.to_vec()));
                }
            }
        }
        Ok(())
    }

    pub(super) fn size(&self) -> io::Result<Option<u64>> {
        number("size", self.size.as_deref())
    }

    pub(super) fn uid(&self) -> io::Result<Option<u64>> {
        number("uid", self.uid.as_deref())
    }

    pub(super) fn gid(&self) -> io::Result<Option<u64>> {
        number("gid", self.gid.as_deref())
    }

    /// `[-]seconds[.fraction]`.
    pub(super) fn mtime(&self) -> io::Result<Option<(i64, u32)>> {
        let Some(value) = self.mtime.as_deref().filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(value).unwrap_or_default();
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let parsed = seconds.parse::<i64>().ok().zip(digits.parse::<u32>().ok());
        let (whole, nanos) =
            parsed.ok_or_else(|| bad(format!("PAX mtime {text:?} is not a time")))?;
        Ok(Some(match (seconds.starts_with('-'), nanos) {
            (true, 1..) => (whole.saturating_sub(1), 1_000_000_000 - nanos),
            _ => (whole, nanos),
        }))
    }

    pub(super) fn is_sparse(&self) -> bool {
        !self.sparse.is_empty()
    }

    /// All `GNU.sparse.*` records.
    pub(super) fn sparse_records(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.sparse
    }

    /// The last `GNU.sparse.<key>` as a number.
    pub(super) fn sparse_number(&self, key: &str) -> io::Result<Option<u64>> {
        let record = self.sparse.iter().rev().find(|(name, _)| name == key.as_bytes());
        number(key, record.map(|(_, value)| value.as_slice()))
    }
}

/// The record at the start of `data` (without length and newline) and what follows it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().take(8).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    Some((record, rest))
}

fn no_nul(value: &[u8]) -> io::Result<Vec<u8>> {
    if value.contains(&0) { Err(bad("NUL in a PAX path")) } else { Ok(value.to_vec()) }
}

/// A non-negative decimal; an empty value deletes the record.
pub(super) fn number(key: &str, value: Option<&[u8]>) -> io::Result<Option<u64>> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let text =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let parsed = text.and_then(|text| u64::from_str(text).ok());
    parsed.map(Some).ok_or_else(|| bad(format!("PAX {key} is not a number")))
}
