//! Decompression by what the bytes are, not by what they are called, and never without bound.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::limits::{Limits, ZSTD_WINDOW_LOG};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// First byte pair of zstd's skippable frames is 0x5?, the rest is fixed.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
const BUFFER: usize = 256 << 10;

type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// A plain, gzip or zstd stream, decompressed and bounded.
pub(crate) struct Decoder<R: Read> {
    inner: Inner<R>,
    limits: Limits,
    produced: u64,
}

enum Inner<R: Read> {
    Plain(Peeked<Counting<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Peeked<Counting<R>>>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Peeked<Counting<R>>>>),
}

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    /// Recognises the first bytes of a stream.
    pub(crate) fn detect(head: &[u8]) -> Self {
        if head.starts_with(GZIP) {
            Self::Gzip
        } else if head.starts_with(ZSTD)
            || (head.first().is_some_and(|b| b & 0xf0 == 0x50)
                && head[1..].starts_with(ZSTD_SKIPPABLE))
        {
            Self::Zstd
        } else {
            Self::Plain
        }
    }
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes of `reader` and chooses.
    pub(crate) fn new(mut reader: R, limits: Limits) -> io::Result<Self> {
        let mut head = Vec::with_capacity(ZSTD.len());
        reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
        let compression = Compression::detect(&head);
        let counting = Counting { inner: reader, count: head.len() as u64 };
        let whole = Cursor::new(head).chain(counting);
        let inner = match compression {
            Compression::Plain => Inner::Plain(whole),
            Compression::Gzip => {
                Inner::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole))))
            }
            Compression::Zstd => {
                let buffered = BufReader::with_capacity(BUFFER, whole);
                let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(decoder)
            }
        };
        Ok(Self { inner, limits, produced: 0 })
    }

    /// The compressed stream, to read what follows the compressed data and its digest.
    pub(crate) fn into_inner(self) -> R {
        let whole = match self.inner {
            Inner::Plain(whole) => whole,
            Inner::Gzip(decoder) => decoder.into_inner().into_inner(),
            Inner::Zstd(decoder) => decoder.finish().into_inner(),
        };
        whole.into_inner().1.inner
    }

    fn consumed(&self) -> u64 {
        match &self.inner {
            Inner::Plain(whole) => whole.get_ref().1.count,
            Inner::Gzip(decoder) => decoder.get_ref().get_ref().get_ref().1.count,
            Inner::Zstd(decoder) => decoder.get_ref().get_ref().get_ref().1.count,
        }
    }

    /// A stream that grows beyond the absolute or relative bound is an attack, not an image.
    fn check_bounds(&self) -> io::Result<()> {
        let Limits { stream, ratio, ratio_free, .. } = self.limits;
        if self.produced > stream {
            return Err(io::Error::other(format!("decompresses to more than {stream} bytes")));
        }
        if self.produced > ratio_free.saturating_add(self.consumed().saturating_mul(ratio)) {
            return Err(io::Error::other(format!(
                "decompresses to more than {ratio} times its size"
            )));
        }
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.inner {
            Inner::Plain(whole) => whole.read(buffer)?,
            Inner::Gzip(decoder) => decoder.read(buffer)?,
            Inner::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.produced += n as u64;
        self.check_bounds()?;
        Ok(n)
    }
}

struct Counting<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        Ok(n)
    }
}

/// Fills as much of `buffer` as the stream still has.
pub(crate) fn read_full(reader: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let mut total = 0;
    while !buffer.is_empty() {
        match reader.read(buffer) {
            Ok(0) => break,
            Ok(n) => {
                total += n;
                buffer = &mut buffer[n..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}
