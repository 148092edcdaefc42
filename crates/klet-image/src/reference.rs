//! Image names, by docker's rules (the grammar of `distribution/reference`).
//!
//! `busybox` means `docker.io/library/busybox:latest`; `host:5000/a/b:tag@sha256:…` means what it says.
//! The first component is a registry host only if it has a dot, a colon or an upper-case letter, or is `localhost`.

use std::fmt;

/// Longest repository name (host and path), in bytes.
const MAX_NAME: usize = 255;
const DEFAULT_HOST: &str = "docker.io";

/// A parsed image name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a name is not an image name. The texts are the kubelet's and docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The grammar does not match.
    #[error("couldn't parse image name {0:?}: invalid reference format")]
    Format(String),
    /// Repository paths are lower case.
    #[error(
        "couldn't parse image name {0:?}: invalid reference format: repository name ({1}) must be lowercase"
    )]
    Uppercase(String, String),
    /// More than 255 bytes.
    #[error(
        "couldn't parse image name {0:?}: repository name must not be more than {MAX_NAME} characters"
    )]
    TooLong(String),
    /// 64 hexadecimal digits alone would be taken for an image id.
    #[error(
        "couldn't parse image name {0:?}: invalid repository name, cannot specify 64-byte hexadecimal strings"
    )]
    Hexadecimal(String),
    /// An id prefix fits several images.
    #[error("image id {0:?} is ambiguous; give more of it")]
    Ambiguous(String),
}

impl Reference {
    /// Parses `name[:tag][@digest]`; without tag and digest the tag is `latest`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let invalid = || ReferenceError::Format(text.to_owned());
        if is_hex(text, 64) {
            return Err(ReferenceError::Hexadecimal(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(invalid()),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid());
        }
        let (host, path) = split_host(name);
        if !host.is_none_or(is_host) {
            return Err(invalid());
        }
        if !is_path(path) {
            let lower = path.to_ascii_lowercase();
            let uppercase = path != lower && is_path(&lower);
            return Err(if uppercase {
                ReferenceError::Uppercase(text.to_owned(), path.to_owned())
            } else {
                invalid()
            });
        }
        let (host, path) = canonical(host, path);
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(text.to_owned()));
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { host, path, tag, digest })
    }

    /// Registry host, e.g. `docker.io`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Repository path below the host, e.g. `library/busybox`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and path, e.g. `docker.io/library/busybox`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The tag; `None` only if there is a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, `sha256:<hex>`.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The short form users write: without `docker.io/`, `library/` and digest-less defaults kept.
    #[must_use]
    pub fn familiar(&self) -> String {
        let name = if self.host == DEFAULT_HOST {
            let official = self.path.strip_prefix("library/").filter(|name| !name.contains('/'));
            official.unwrap_or(&self.path).to_owned()
        } else {
            self.repository()
        };
        name + &self.suffix()
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.host, self.path, self.suffix())
    }
}

/// A tag follows the last colon, unless a slash follows that colon (then it is a port).
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !name.is_empty() => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, path)) if looks_like_host(first) => (Some(first), path),
        _ => (None, name),
    }
}

fn looks_like_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn canonical(host: Option<&str>, path: &str) -> (String, String) {
    let host = match host {
        None | Some("index.docker.io") => DEFAULT_HOST,
        Some(host) => host,
    };
    let official = host == DEFAULT_HOST && !path.contains('/');
    (host.to_owned(), if official { format!("library/{path}") } else { path.to_owned() })
}

/// `domain-component(.domain-component)*[:port]` or `[IPv6][:port]`.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                let inner = address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return inner && !address.is_empty() && is_port_suffix(port);
            }
            None => return false,
        },
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    is_port_suffix(port) && name.split('.').all(is_domain_component)
}

fn is_port_suffix(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn is_domain_component(part: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edge = |byte: Option<u8>| byte.is_some_and(alphanumeric);
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    edge(part.bytes().next())
        && edge(part.bytes().last())
        && separators
            .into_iter()
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
        || text.strip_prefix("sha512:").is_some_and(|hex| is_hex(hex, 128))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
