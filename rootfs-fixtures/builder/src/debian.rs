//! Debian packages: downloaded with apt, unpacked with dpkg, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Packages kept in a cache directory.
pub(crate) struct Packages {
    cache: PathBuf,
}

impl Packages {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { cache: directory.join("cache") }
    }

    /// Unpacks a package into `root`.
    pub(crate) fn unpack(&self, package: &str, root: &Path) -> anyhow::Result<()> {
        let file = self.fetch(package)?;
        run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(root))
            .with_context(|| format!("cannot unpack {package}"))
    }

    /// The version of the packaged program, without Debian's epoch and revision.
    pub(crate) fn upstream_version(&self, package: &str) -> anyhow::Result<String> {
        let file = self.fetch(package)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.split('_').nth(1).with_context(|| format!("no version in {name}"))?;
        let version = version.rsplit_once("%3a").map_or(version, |(_, version)| version);
        Ok(version.split('-').next().unwrap_or(version).to_owned())
    }

    fn fetch(&self, package: &str) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(&self.cache)?;
        if let Some(found) = self.find(package)? {
            return Ok(found);
        }
        let download = || {
            let options = ["-q", "-o", "APT::Sandbox::User=root", "download", package];
            run(Command::new("apt-get").args(options).current_dir(&self.cache))
        };
        if download().is_err() {
            run(Command::new("apt-get").args(["update", "-q"]))?;
            download().with_context(|| format!("cannot download the Debian package {package}"))?;
        }
        self.find(package)?.with_context(|| format!("apt-get downloaded no file for {package}"))
    }

    fn find(&self, package: &str) -> anyhow::Result<Option<PathBuf>> {
        let prefix = format!("{package}_");
        for entry in std::fs::read_dir(&self.cache)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && name.ends_with(".deb") {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }
}

/// Runs a command to its end; its failure is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
