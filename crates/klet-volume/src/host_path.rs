//! hostPath: a path of the node, checked as its type asks.

use std::fs::{self, DirBuilder, File, FileType};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use klet_api::k8s_openapi::api::core::v1::HostPathVolumeSource;

pub(crate) fn check(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => {
            make_missing(&path).map_err(failed)?;
            is(&path, FileType::is_dir, "a directory")?;
        }
        "FileOrCreate" => {
            if !path.exists() {
                let create = File::options().write(true).create_new(true).mode(0o644).open(&path);
                create.map_err(failed)?;
            }
            is(&path, FileType::is_file, "a file")?;
        }
        "Directory" => is(&path, FileType::is_dir, "a directory")?,
        "File" => is(&path, FileType::is_file, "a file")?,
        "Socket" => is(&path, FileType::is_socket, "a socket file")?,
        "CharDevice" => is(&path, FileType::is_char_device, "a character device")?,
        "BlockDevice" => is(&path, FileType::is_block_device, "a block device")?,
        // No check: the directory is made where nothing is, as runtimes do.
        _ => make_missing(&path).map_err(failed)?,
    }
    Ok(path)
}

fn make_missing(path: &Path) -> std::io::Result<()> {
    if path.exists() { Ok(()) } else { DirBuilder::new().recursive(true).mode(0o755).create(path) }
}

fn is(path: &Path, test: fn(&FileType) -> bool, what: &str) -> Result<(), String> {
    let fits = fs::metadata(path).is_ok_and(|metadata| test(&metadata.file_type()));
    if fits {
        return Ok(());
    }
    Err(format!("hostPath type check failed: {} is not {what}", path.display()))
}
