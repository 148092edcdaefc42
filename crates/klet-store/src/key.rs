//! The name of an object in the store, and its bytes on the disk.

use std::fmt;

/// Names one object: API group, resource (plural), namespace and name.
///
/// Sorted by group, resource, namespace, name, so that a list is one range of the map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// API group; empty for the core group.
    pub group: String,
    /// Plural resource name, e.g. `pods`.
    pub resource: String,
    /// Namespace; `None` for cluster-scoped resources.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    #[must_use]
    pub fn new(group: &str, resource: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// Whether every part can be stored: NUL separates the parts, and an empty
    /// namespace stands for none.
    pub(crate) fn is_storable(&self) -> bool {
        let parts = [&self.group, &self.resource, &self.name];
        let namespace = self.namespace.as_deref().unwrap_or("-");
        parts.iter().all(|part| !part.contains('\0'))
            && !self.name.is_empty()
            && !namespace.is_empty()
            && !namespace.contains('\0')
    }

    /// `group NUL resource NUL namespace NUL name`; sorts as the key does.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let namespace = self.namespace.as_deref().unwrap_or("");
        [&self.group, &self.resource, namespace, &self.name].join("\0").into_bytes()
    }

    /// The inverse of [`Key::encode`]; `None` for bytes that it never writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.split('\0');
        let (group, resource) = (parts.next()?, parts.next()?);
        let (namespace, name) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let namespace = (!namespace.is_empty()).then_some(namespace);
        Some(Self::new(group, resource, namespace, name))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " {namespace}/{}", self.name)
        } else {
            write!(f, " {}", self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn bytes_round_trip_and_keep_the_order() {
        let keys = [
            Key::new("", "nodes", None, "n"),
            Key::new("", "pods", Some("a"), "b"),
            Key::new("", "pods", Some("a"), "b.c"),
            Key::new("", "pods", Some("a-b"), "a"),
            Key::new("apps", "deployments", Some("a"), "b"),
        ];
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].encode() < pair[1].encode());
        }
        for key in keys {
            assert_eq!(Key::decode(&key.encode()), Some(key));
        }
    }

    #[test]
    fn foreign_bytes_are_no_key() {
        for bytes in [&b"pods"[..], b"a\0b\0c", b"a\0b\0c\0d\0e", b"\xff\0b\0c\0d"] {
            assert_eq!(Key::decode(bytes), None);
        }
    }

    #[test]
    fn separators_and_empty_names_cannot_be_stored() {
        assert!(Key::new("", "pods", Some("a"), "b").is_storable());
        for (namespace, name) in
            [(Some("a"), "b\0c"), (Some("a\0b"), "c"), (Some(""), "c"), (None, "")]
        {
            assert!(!Key::new("", "pods", namespace, name).is_storable());
        }
    }
}
