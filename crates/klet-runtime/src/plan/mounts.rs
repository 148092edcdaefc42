//! Mount entries of a spec: types and options (mount(8), config.md "Linux mount options").

use klet_sys::mount::Attributes;

use super::{PlanError, text};

/// One mount of the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, inside the root; lexically clean.
    pub destination: String,
    /// What is mounted there.
    pub source: MountSource,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and all below it (`rro` and the like).
    pub recursive: Attributes,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        path: String,
        /// With the mounts below it.
        recursive: bool,
    },
    /// A new instance of a file system.
    FileSystem {
        /// Its type, as fsopen(2) knows it.
        kind: String,
        /// Its parameters, with values where they have them.
        parameters: Vec<(String, Option<String>)>,
    },
    /// The container's own view of the control groups.
    Cgroup,
}

/// What one mount option changes.
enum Change {
    Set(u64),
    Clear(u64),
    AccessTime(u64),
    Propagation(u64),
}

const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// The options that are attributes of a mount. Each also exists with a leading `r`: recursively.
fn attribute(option: &str) -> Option<Change> {
    Some(match option {
        "ro" => Change::Set(libc::MOUNT_ATTR_RDONLY),
        "rw" => Change::Clear(libc::MOUNT_ATTR_RDONLY),
        "nosuid" => Change::Set(libc::MOUNT_ATTR_NOSUID),
        "suid" => Change::Clear(libc::MOUNT_ATTR_NOSUID),
        "nodev" => Change::Set(libc::MOUNT_ATTR_NODEV),
        "dev" => Change::Clear(libc::MOUNT_ATTR_NODEV),
        "noexec" => Change::Set(libc::MOUNT_ATTR_NOEXEC),
        "exec" => Change::Clear(libc::MOUNT_ATTR_NOEXEC),
        "nodiratime" => Change::Set(libc::MOUNT_ATTR_NODIRATIME),
        "diratime" => Change::Clear(libc::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => Change::Set(libc::MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => Change::Clear(libc::MOUNT_ATTR_NOSYMFOLLOW),
        "noatime" => Change::AccessTime(libc::MOUNT_ATTR_NOATIME),
        "strictatime" => Change::AccessTime(libc::MOUNT_ATTR_STRICTATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => {
            Change::AccessTime(libc::MOUNT_ATTR_RELATIME)
        }
        "private" => Change::Propagation(libc::MS_PRIVATE),
        "slave" => Change::Propagation(libc::MS_SLAVE),
        "shared" => Change::Propagation(libc::MS_SHARED),
        "unbindable" => Change::Propagation(libc::MS_UNBINDABLE),
        _ => return None,
    })
}

impl Change {
    fn apply(&self, to: &mut Attributes) {
        match *self {
            Self::Set(flag) => {
                to.set |= flag;
                to.clear &= !flag;
            }
            Self::Clear(flag) => {
                to.clear |= flag;
                to.set &= !flag;
            }
            Self::AccessTime(mode) => {
                to.clear |= ATIME;
                to.set = to.set & !ATIME | mode;
            }
            Self::Propagation(kind) => to.propagation = kind,
        }
    }
}

/// Options without meaning for a single mount call.
const IGNORED: [&str; 6] = ["defaults", "async", "loud", "silent", "tmpcopyup", "nofail"];

pub(super) fn mount(entry: &oci_spec::runtime::Mount) -> Result<Mount, PlanError> {
    let destination = clean(&text(entry.destination(), "mount destination")?);
    let refused =
        |why: &str| PlanError::Mount { destination: destination.clone(), why: why.to_owned() };
    if destination == "/" {
        return Err(refused("the root itself cannot be covered"));
    }
    let mut attributes = Attributes::default();
    let mut recursive = Attributes::default();
    let mut bind = None;
    let mut parameters = Vec::new();
    if let Some(source) = entry.source() {
        // What `mount` and `df` show in the first column.
        let source = text(source, "mount source")?;
        parameters.push(("source".to_owned(), Some(source)));
    }
    for option in entry.options().as_deref().unwrap_or_default() {
        let rest = option.strip_prefix('r').and_then(attribute);
        match option.as_str() {
            "bind" => bind = bind.or(Some(false)),
            "rbind" => bind = Some(true),
            ignored if IGNORED.contains(&ignored) => {}
            other => match (attribute(other), rest) {
                (Some(change), _) => change.apply(&mut attributes),
                (None, Some(change)) => change.apply(&mut recursive),
                (None, None) => parameters.push(parameter(other)?),
            },
        }
    }
    if bind.is_none() && entry.typ().as_deref() == Some("bind") {
        bind = Some(false);
    }
    let source = match (bind, entry.typ().as_deref()) {
        (Some(recursive), _) => {
            if let Some((unknown, _)) = parameters.iter().find(|(key, _)| key != "source") {
                return Err(refused(&format!("unknown bind option {unknown:?}")));
            }
            let path =
                entry.source().as_ref().ok_or_else(|| refused("a bind mount needs a source"))?;
            MountSource::Bind { path: text(path, "mount source")?, recursive }
        }
        (None, Some("cgroup" | "cgroup2")) => MountSource::Cgroup,
        (None, Some(kind)) => MountSource::FileSystem { kind: kind.to_owned(), parameters },
        (None, None) => return Err(refused("neither a type nor a bind option is given")),
    };
    Ok(Mount { destination, source, attributes, recursive })
}

fn parameter(option: &str) -> Result<(String, Option<String>), PlanError> {
    if option.contains('\0') {
        return Err(PlanError::Nul("mount option"));
    }
    Ok(match option.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    })
}

/// Resolves `.`, `..` and repeated slashes without looking at the file system, as runc does.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Result<Mount, PlanError> {
        mount(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn options_become_attributes() {
        let mount = entry(
            r#"{"destination":"/a/../dev","type":"tmpfs","source":"tmpfs",
                "options":["nosuid","strictatime","mode=755","size=65536k","ro","rw"]}"#,
        )
        .unwrap();
        assert_eq!(mount.destination, "/dev");
        assert_eq!(mount.attributes.set, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_STRICTATIME);
        assert_eq!(mount.attributes.clear, libc::MOUNT_ATTR_RDONLY | ATIME);
        let parameters = vec![
            ("source".to_owned(), Some("tmpfs".to_owned())),
            ("mode".to_owned(), Some("755".to_owned())),
            ("size".to_owned(), Some("65536k".to_owned())),
        ];
        assert_eq!(mount.source, MountSource::FileSystem { kind: "tmpfs".to_owned(), parameters });
    }

    #[test]
    fn binds_tell_own_from_recursive_attributes() {
        let mount = entry(
            r#"{"destination":"/data","source":"/x","options":["rbind","rprivate","ro","rro"]}"#,
        )
        .unwrap();
        assert_eq!(mount.source, MountSource::Bind { path: "/x".to_owned(), recursive: true });
        assert_eq!(mount.attributes.set, libc::MOUNT_ATTR_RDONLY);
        assert_eq!(mount.recursive.set, libc::MOUNT_ATTR_RDONLY);
        assert_eq!(mount.recursive.propagation, libc::MS_PRIVATE);
    }

    #[test]
    fn what_cannot_be_mounted_is_refused() {
        for json in [
            r#"{"destination":"/","type":"tmpfs"}"#,
            r#"{"destination":"/a/..","type":"tmpfs"}"#,
            r#"{"destination":"/a"}"#,
            r#"{"destination":"/a","options":["bind"]}"#,
            r#"{"destination":"/a","source":"/b","options":["bind","size=1"]}"#,
            r#"{"destination":"/a","type":"tmpfs","options":["si\u0000ze=1"]}"#,
        ] {
            assert!(entry(json).is_err(), "{json}");
        }
    }
}
