//! What an entry's path means: a place in the layer, or a whiteout.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::invalid;
use crate::limits::{MAX_COMPONENT, MAX_DEPTH, MAX_PATH};

const WHITEOUT: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Where an entry goes. Parents are relative to the root and have no `..`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Root,
    /// The storage driver's own bookkeeping (aufs): no file.
    Ignored,
    /// `.wh..wh..opq`
    Opaque {
        parent: PathBuf,
    },
    /// `.wh.<name>`
    Whiteout {
        parent: PathBuf,
        name: OsString,
    },
    Entry {
        parent: PathBuf,
        name: OsString,
    },
}

/// Reads an entry's path. A leading slash means the layer's root, as it does to docker and GNU tar.
pub(super) fn target(path: &[u8]) -> io::Result<Target> {
    let mut parts = components(path)?;
    let Some(last) = parts.pop() else { return Ok(Target::Root) };
    let ours = if last == OPAQUE { &parts[..] } else { &[&parts[..], &[last]].concat()[..] };
    if ours.iter().any(|part| part.starts_with(META)) {
        return Ok(Target::Ignored);
    }
    if parts.iter().any(|part| part.starts_with(WHITEOUT)) {
        return Err(invalid("a whiteout cannot be a directory"));
    }
    let parent: PathBuf = parts.iter().map(|part| OsStr::from_bytes(part)).collect();
    if last == OPAQUE {
        return Ok(Target::Opaque { parent });
    }
    let Some(hidden) = last.strip_prefix(WHITEOUT) else {
        return Ok(Target::Entry { parent, name: OsStr::from_bytes(last).to_owned() });
    };
    match hidden {
        b"" | b"." | b".." => Err(invalid("a whiteout must name a file")),
        _ => Ok(Target::Whiteout { parent, name: OsStr::from_bytes(hidden).to_owned() }),
    }
}

/// The plain parts of a path; `..` is refused.
pub(super) fn components(path: &[u8]) -> io::Result<Vec<&[u8]>> {
    if path.is_empty() {
        return Err(invalid("empty path"));
    }
    if path.len() > MAX_PATH {
        return Err(invalid(format!("path longer than {MAX_PATH} bytes")));
    }
    let parts: Vec<_> =
        path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(invalid("path contains '..'"));
    }
    if parts.len() > MAX_DEPTH {
        return Err(invalid(format!("path deeper than {MAX_DEPTH} directories")));
    }
    if parts.iter().any(|part| part.len() > MAX_COMPONENT || part.contains(&0)) {
        return Err(invalid(format!(
            "a file name longer than {MAX_COMPONENT} bytes, or with a NUL byte"
        )));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let entry =
            |parent: &str, name: &str| Target::Entry { parent: parent.into(), name: name.into() };
        let whiteout = |parent: &str, name: &str| Target::Whiteout {
            parent: parent.into(),
            name: name.into(),
        };
        let table = [
            ("./", Target::Root),
            ("/", Target::Root),
            ("./a//b/", entry("a", "b")),
            ("/etc/passwd", entry("etc", "passwd")),
            ("a/.wh.b", whiteout("a", "b")),
            ("a/.wh..wh..opq", Target::Opaque { parent: "a".into() }),
            (".wh..wh.plnk", Target::Ignored),
            (".wh..wh.plnk/1.2", Target::Ignored),
            (".wh..wh..opq/x", Target::Ignored),
            (".whx", entry("", ".whx")),
        ];
        for (path, expected) in table {
            assert_eq!(target(path.as_bytes()).unwrap(), expected, "{path}");
        }
        for path in ["", "..", "a/../b", "a/..", ".wh.", "a/.wh..", ".wh...", ".wh.a/b", "a\0b"] {
            assert!(target(path.as_bytes()).is_err(), "{path}");
        }
        assert!(target(&[b'a'; 256]).is_err());
        assert!(target(&b"a/".repeat(300)).is_err());
    }
}
