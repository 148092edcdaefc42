//! An overlay of image layers and a writable layer, detached.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use klet_sys::features::Features;
use klet_sys::mount::{self, Attributes, FileSystem};
use klet_sys::{SysError, fd};
use rustix::fs::OFlags;
use std::os::fd::AsFd;

use super::c_string;

/// The longest value of a parameter (fsconfig(2)), bytes.
const MAX_VALUE: usize = 255;
/// The longest text of options (mount(2): a page with its end), bytes.
const MAX_OPTIONS: usize = 4095;

pub(super) fn make(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    features: Features,
) -> Result<OwnedFd, SysError> {
    if features.overlay_layers {
        by_parameters(lower, upper, work)
    } else {
        by_options(lower, upper, work)
    }
}

fn by_parameters(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, SysError> {
    let overlay = FileSystem::open(c"overlay")?;
    overlay.set(c"source", c"overlay")?;
    let layers = lower.iter().map(|layer| (c"lowerdir+", layer.as_path()));
    for (key, path) in layers.chain([(c"upperdir", upper), (c"workdir", work)]) {
        let short = path.as_os_str().len() <= MAX_VALUE;
        let opened = if short { None } else { Some(Opened::new(path)?) };
        let value = opened.as_ref().map_or_else(|| text(path), Opened::name)?;
        overlay.set(key, &value).map_err(|error| error.on(path.to_string_lossy()))?;
    }
    overlay.mount(0)
}

/// Descriptors have short names, and no colon, comma or backslash in them.
fn by_options(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, SysError> {
    let layers: Vec<Opened> =
        lower.iter().map(|path| Opened::new(path)).collect::<Result<_, _>>()?;
    let (upper, work_directory) = (Opened::new(upper)?, Opened::new(work)?);
    let names: Vec<String> = layers.iter().map(ToString::to_string).collect();
    let options = format!("lowerdir={},upperdir={upper},workdir={work_directory}", names.join(":"));
    if options.len() > MAX_OPTIONS {
        return Err(SysError::new("mount", libc::E2BIG).on(format!("{} layers", lower.len())));
    }
    // The work directory is this container's own, and overlay looks into it before it is covered.
    let overlay = mount::mount_detached(c"overlay", &text(work)?, &c_string(&options)?)?;
    // It lay in a mount that may be shared with others.
    let private = Attributes { set: 0, clear: 0, propagation: libc::MS_PRIVATE };
    mount::set_attributes(overlay.as_fd(), private, false)?;
    Ok(overlay)
}

fn text(path: &Path) -> Result<CString, SysError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| SysError::new("open", libc::EINVAL))
}

/// A directory by its descriptor.
struct Opened(OwnedFd);

impl Opened {
    fn new(path: &Path) -> Result<Self, SysError> {
        fd::open(&text(path)?, OFlags::PATH | OFlags::DIRECTORY)
            .map(Self)
            .map_err(|error| error.on(path.to_string_lossy()))
    }

    fn name(&self) -> Result<CString, SysError> {
        c_string(&self.to_string())
    }
}

impl std::fmt::Display for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/proc/self/fd/{}", self.0.as_raw_fd())
    }
}
