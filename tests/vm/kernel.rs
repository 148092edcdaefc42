//! The kernel of the test machine: Debian's cloud kernel, downloaded and unpacked, never installed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// Always the newest of the release; it depends on the package with the files.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// What klet needs of the kernel that is not built in.
const MODULES: [&str; 9] = [
    "overlay",
    "veth",
    "bridge",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_masq",
    "nft_nat",
];

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The kernel unpacked in `directory`; gets it there first if it is not.
    pub(crate) fn get(directory: &Path) -> anyhow::Result<Self> {
        if let Some(kernel) = Self::find(directory)? {
            return Ok(kernel);
        }
        let new = directory.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        std::fs::create_dir_all(&new)?;
        if download(PACKAGE, &new).is_err() {
            run(Command::new("apt-get").args(["update", "-q"]))?;
            download(PACKAGE, &new)?;
        }
        let depends =
            run(Command::new("dpkg-deb").arg("-f").arg(package_in(&new)?).arg("Depends"))?;
        let files = depends.split([' ', ',', '\n']).next().unwrap_or_default();
        std::fs::remove_file(package_in(&new)?)?;
        download(files, &new)?;
        let package = package_in(&new)?;
        run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&new))?;
        std::fs::remove_file(package)?;
        // Complete or not there at all.
        std::fs::rename(&new, directory)?;
        Self::find(directory)?.context("the kernel's package holds no kernel")
    }

    fn find(directory: &Path) -> anyhow::Result<Option<Self>> {
        let Ok(boot) = std::fs::read_dir(directory.join("boot")) else { return Ok(None) };
        for entry in boot {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(version) = name.strip_prefix("vmlinuz-") {
                let modules = directory.join("lib/modules").join(version);
                return Ok(Some(Self { image: entry.path(), modules }));
            }
        }
        Ok(None)
    }

    /// Files of the modules needed, in the order in which they can be inserted.
    pub(crate) fn modules(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = HashMap::new();
        find_modules(&self.modules, &mut files)?;
        let builtin = std::fs::read_to_string(self.modules.join("modules.builtin"))?;
        let needs = |name: &str| {
            let Some(path) = files.get(name) else {
                let known = builtin.lines().any(|path| name_of(path) == name);
                ensure!(known, "{} has no module {name}", self.modules.display());
                return Ok(None);
            };
            Ok(Some(dependencies(&std::fs::read(path)?)))
        };
        let mut order = Vec::new();
        for name in MODULES {
            insert(name, &needs, &mut order)?;
        }
        Ok(order.iter().filter_map(|name| files.get(name).cloned()).collect())
    }
}

fn find_modules(directory: &Path, found: &mut HashMap<String, PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_modules(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            found.insert(name_of(&path.to_string_lossy()), path);
        }
    }
    Ok(())
}

/// A module's name; in file names a dash may stand for the underscore.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// What a module says about itself: `depends=a,b` among other strings in its `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let found = module.windows(KEY.len()).position(|window| window == KEY);
    let text = found.map_or(&[][..], |at| &module[at + KEY.len()..]);
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = text.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    names.map(|name| name_of(&String::from_utf8_lossy(name))).collect()
}

/// Appends the module after all it needs; `needs` says `None` of what the kernel has built in.
fn insert(
    name: &str,
    needs: &impl Fn(&str) -> anyhow::Result<Option<Vec<String>>>,
    order: &mut Vec<String>,
) -> anyhow::Result<()> {
    if order.iter().any(|known| known == name) {
        return Ok(());
    }
    let Some(dependencies) = needs(name)? else { return Ok(()) };
    for dependency in dependencies {
        insert(&dependency, needs, order)?;
    }
    order.push(name.to_owned());
    Ok(())
}

fn download(package: &str, into: &Path) -> anyhow::Result<()> {
    let options = ["-q", "-o", "APT::Sandbox::User=root", "download", package];
    run(Command::new("apt-get").args(options).current_dir(into)).map(drop)
}

fn package_in(directory: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let mut packages = entries.filter(|path| path.extension().is_some_and(|end| end == "deb"));
    packages.next().with_context(|| format!("no package in {}", directory.display()))
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let needs = |name: &str| match name {
            "a" => Ok(Some(vec!["b".to_owned(), "c_d".to_owned()])),
            "b" => Ok(Some(dependencies(b"x\0license=GPL\0depends=c-d,e\0name=b\0"))),
            "c_d" => Ok(Some(dependencies(b"\0depends=\0"))),
            "e" => Ok(None),
            _ => bail!("no module {name}"),
        };
        let mut order = Vec::new();
        for name in ["e", "a", "b"] {
            insert(name, &needs, &mut order).unwrap();
        }
        assert_eq!(order, ["c_d", "b", "a"]);
        assert!(insert("z", &needs, &mut order).is_err());
    }
}
