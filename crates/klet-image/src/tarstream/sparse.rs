//! Sparse files: the old GNU header form, and the PAX forms 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax::{Pax, number};
use super::{TarReader, bad};
use crate::limits::MAX_SPARSE_SEGMENTS;

/// A stretch of a file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Position in the file.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

type Map = (Vec<Segment>, u64);

/// The map in a GNU header and the blocks that follow it; `data` bytes are stored.
pub(super) fn gnu(
    header: &Header,
    data: u64,
    mut next_block: impl FnMut() -> io::Result<[u8; 512]>,
) -> io::Result<Map> {
    let gnu = header.as_gnu().ok_or_else(|| bad("sparse entry without a GNU header"))?;
    let mut segments = Vec::new();
    add_all(&mut segments, &gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let mut extended = GnuExtSparseHeader::new();
        extended.as_mut_bytes().copy_from_slice(&next_block()?);
        add_all(&mut segments, extended.sparse())?;
        more = extended.is_extended();
    }
    check(segments, gnu.real_size()?, data)
}

fn add_all(segments: &mut Vec<Segment>, headers: &[GnuSparseHeader]) -> io::Result<()> {
    for header in headers.iter().filter(|header| !header.is_empty()) {
        add(segments, header.offset()?, header.length()?)?;
    }
    Ok(())
}

/// The map in PAX records (0.0, 0.1) or before the data (1.0).
pub(super) fn pax<R: Read>(pax: &Pax, reader: &mut TarReader<R>) -> io::Result<Map> {
    let size = pax.sparse_number("realsize")?.or(pax.sparse_number("size")?);
    let size = size.ok_or_else(|| bad("sparse file without its size"))?;
    let mut segments = Vec::new();
    if pax.sparse_number("major")? == Some(1) {
        let count = line(reader)?;
        for _ in 0..count {
            let offset = line(reader)?;
            add(&mut segments, offset, line(reader)?)?;
        }
        // The map fills whole blocks; the data begins at the next one.
        let rest = reader.position.next_multiple_of(super::BLOCK) - reader.position;
        io::copy(&mut reader.by_ref().take(rest), &mut io::sink())?;
    } else {
        let mut numbers = Vec::new();
        for (key, value) in pax.sparse_records() {
            match key.as_slice() {
                b"map" => {
                    for part in value.split(|&byte| byte == b',') {
                        numbers.push(number("sparse map", Some(part))?.unwrap_or(0));
                    }
                }
                b"offset" | b"numbytes" => {
                    numbers.push(number("sparse map", Some(value))?.unwrap_or(0))
                }
                _ => {}
            }
        }
        for pair in numbers.chunks(2) {
            add(
                &mut segments,
                pair[0],
                *pair.get(1).ok_or_else(|| bad("sparse map with an odd number of fields"))?,
            )?;
        }
    }
    let data = reader.remaining;
    check(segments, size, data)
}

/// A decimal number and a newline from the data of a PAX 1.0 sparse file.
fn line<R: Read>(reader: &mut TarReader<R>) -> io::Result<u64> {
    let mut digits = Vec::new();
    loop {
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => break,
            digit if digits.len() < 20 => digits.push(digit),
            _ => return Err(bad("malformed sparse map")),
        }
    }
    number("sparse map", Some(&digits))?.ok_or_else(|| bad("malformed sparse map"))
}

fn add(segments: &mut Vec<Segment>, offset: u64, length: u64) -> io::Result<()> {
    if segments.len() >= MAX_SPARSE_SEGMENTS {
        return Err(bad(format!("a sparse file of more than {MAX_SPARSE_SEGMENTS} segments")));
    }
    if length > 0 {
        segments.push(Segment { offset, length });
    }
    Ok(())
}

/// Segments must ascend, stay inside the file, and account for the stored data exactly.
fn check(segments: Vec<Segment>, size: u64, data: u64) -> io::Result<Map> {
    let mut end = 0;
    let mut total: u64 = 0;
    for segment in &segments {
        let next = segment.offset.checked_add(segment.length);
        if segment.offset < end || next.is_none_or(|next| next > size) {
            return Err(bad("sparse map overlaps or exceeds the file"));
        }
        end = next.unwrap_or(size);
        total += segment.length;
    }
    if total != data || i64::try_from(size).is_err() {
        return Err(bad("sparse map does not fit its data"));
    }
    Ok((segments, size))
}
