//! Mount propagation is only possible where the host's mount takes part in it.

use std::path::Path;

/// Checks that a volume's source lies on a mount that shares (`Bidirectional`) or at least receives
/// (`HostToContainer`) mounts, as containerd does.
///
/// # Errors
/// The text for the container's event.
pub fn check(source: &Path, propagation: Option<&str>) -> Result<(), String> {
    let wanted: &[&str] = match propagation {
        Some("Bidirectional") => &["shared:"],
        Some("HostToContainer") => &["shared:", "master:"],
        _ => return Ok(()),
    };
    let path = std::fs::canonicalize(source)
        .map_err(|error| format!("cannot resolve {}: {error}", source.display()))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("cannot read /proc/self/mountinfo: {error}"))?;
    let Some((point, tags)) = mount_of(&mounts, &path) else { return Ok(()) };
    if tags.iter().any(|tag| wanted.iter().any(|wanted| tag.starts_with(wanted))) {
        return Ok(());
    }
    let kind = if wanted.len() == 1 { "shared mount" } else { "shared or slave mount" };
    Err(format!(
        "path {:?} is mounted on {point:?} but it is not a {kind}",
        source.display().to_string()
    ))
}

/// The mount point that holds `path`, and its optional fields (proc_pid_mountinfo(5)). Of mounts on
/// the same place the last one is seen.
fn mount_of<'a>(mountinfo: &'a str, path: &Path) -> Option<(String, Vec<&'a str>)> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let point = unescape(fields.next()?);
            let tags = fields.skip(1).take_while(|field| *field != "-").collect();
            path.starts_with(&point).then_some((point, tags))
        })
        .max_by_key(|(point, _)| Path::new(point).components().count())
}

/// Octal escapes stand for space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /srv rw master:1 - tmpfs tmpfs rw
31 30 0:26 / /srv/a\\040b rw - tmpfs tmpfs rw
32 22 0:27 / /both rw - tmpfs tmpfs rw
33 32 0:28 / /both rw shared:7 master:2 - tmpfs tmpfs rw
";

    #[test]
    fn the_innermost_and_last_mount_decides() {
        for (path, point, tags) in [
            ("/home/x", "/", vec!["shared:1"]),
            ("/srv/x", "/srv", vec!["master:1"]),
            ("/srvx", "/", vec!["shared:1"]),
            ("/srv/a b/c", "/srv/a b", vec![]),
            ("/both", "/both", vec!["shared:7", "master:2"]),
        ] {
            assert_eq!(mount_of(MOUNTS, Path::new(path)), Some((point.to_owned(), tags)), "{path}");
        }
    }

    #[test]
    fn only_propagation_asks_for_more() {
        assert_eq!(check(Path::new("/nonexistent"), None), Ok(()));
        assert_eq!(check(Path::new("/nonexistent"), Some("None")), Ok(()));
        assert!(check(Path::new("/nonexistent"), Some("Bidirectional")).is_err());
    }
}
