//! emptyDir: a directory, or memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use klet_api::k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use klet_api::quantity::Quantity;

use crate::mounts;

/// Any user of the pod may write.
const MODE: u32 = 0o777;

pub(crate) fn make(path: &Path, source: &EmptyDirVolumeSource) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    match source.medium.as_deref().unwrap_or_default() {
        "" => {
            fs::create_dir_all(path).map_err(text)?;
            fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(text)
        }
        "Memory" => {
            let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
            let bytes = limit.and_then(|limit| u64::try_from(limit.value()).ok());
            mounts::tmpfs(path, bytes.filter(|bytes| *bytes > 0), MODE).map_err(text)
        }
        other => Err(format!("unknown storage medium {other:?}")),
    }
}
