//! The kubelet's atomic writer: all files of a volume change at the same moment.
//!
//! The data lies in a directory named after the time; `..data` links to it and is replaced by one
//! rename; each top-level name links through `..data`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use jiff::Timestamp;

use crate::payload::Files;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Brings the volume to this content; writes nothing when it has it already.
pub(crate) fn write(volume: &Path, files: &Files, now: Timestamp) -> io::Result<()> {
    fs::create_dir_all(volume)?;
    if is_current(volume, files) {
        return Ok(());
    }
    let old = fs::read_link(volume.join(DATA)).ok();
    let name = format!("..{}", now.strftime("%Y_%m_%d_%H_%M_%S.%f"));
    let fresh = volume.join(&name);
    fs::create_dir_all(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, content) in files {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &content.bytes)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(content.mode))?;
    }
    let link = volume.join(DATA_NEW);
    let _ = fs::remove_file(&link);
    symlink(&name, &link)?;
    fs::rename(&link, volume.join(DATA))?;
    update_names(volume, files)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != name.as_str()) {
        fs::remove_dir_all(volume.join(old))?;
    }
    Ok(())
}

fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn update_names(volume: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().map(|path| top(path)).collect();
    for name in &wanted {
        let link = volume.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(volume)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_current(volume: &Path, files: &Files) -> bool {
    let data = volume.join(DATA);
    let same = |(path, content): (&String, &crate::payload::Content)| {
        let file = data.join(path);
        fs::read(&file).is_ok_and(|bytes| bytes == content.bytes)
            && fs::metadata(&file)
                .is_ok_and(|meta| meta.permissions().mode() & 0o7777 == content.mode)
    };
    data.exists() && count(&data) == files.len() && files.iter().all(same)
}

/// Files below a directory.
fn count(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}
