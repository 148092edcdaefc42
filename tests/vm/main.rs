//! The kernel and end-to-end tests on cgroup v2 and an older kernel: in a virtual machine.
//!
//! `vm [NAME [FILTER...]]` boots Debian's cloud kernel under QEMU with nothing but the test programs,
//! the binaries under test and a few tools in memory, runs the test programs whose name begins with
//! NAME (or all), and exits as they do. Every file has the path it has on the host. `KLET_VM_ACCEL=kvm`
//! is quicker where it works.

mod archive;
mod kernel;
mod machine;

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use klet_e2e::{binary, images, workspace};
use serde_json::Value;

use archive::Archive;
use kernel::{Kernel, run};
use machine::Machine;

/// Whose tests touch the kernel.
const PACKAGES: [&str; 5] = ["klet-sys", "klet-cgroup", "klet-runtime", "klet-shim", "klet-e2e"];

/// Tests that look at the source tree or at this program, not at a kernel.
const ELSEWHERE: [&str; 3] = ["tidy", "vm", "tour"];

/// Programs that tests execute; busybox stands in for everything else.
const TOOLS: [&str; 9] =
    ["busybox", "ip", "kill", "mount", "nft", "nsenter", "setsid", "sh", "unshare"];

/// Longest run: emulation on a busy machine is some twenty times slower than the machine.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// How many times longer than on the host facts may take to become true, unless `KLET_PATIENCE` says.
const PATIENCE: &str = "5";

/// A test program.
#[derive(Debug)]
struct Test {
    name: String,
    /// The directory its package is in.
    directory: PathBuf,
    program: PathBuf,
}

fn main() -> ExitCode {
    match vm() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn vm() -> anyhow::Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let chosen = arguments.next().unwrap_or_default();
    let filters: Vec<String> = arguments.collect();
    let directory = workspace().join("target/vm");
    std::fs::create_dir_all(&directory)?;
    let kernel = Kernel::get(&directory.join("kernel")).context("cannot get a kernel")?;
    let (mut tests, helpers) = compile()?;
    tests.retain(|test| test.name.starts_with(&chosen));
    ensure!(!tests.is_empty(), "no test program is named {chosen:?}");
    let archive = directory.join("initramfs");
    pack(&archive, &kernel, &tests, &helpers, &filters).context("cannot pack the machine")?;
    let console = directory.join("console.log");
    let machine = Machine {
        kernel: &kernel.image,
        archive: &archive,
        console: &console,
        accelerator: &std::env::var("KLET_VM_ACCEL").unwrap_or_else(|_| "tcg".to_owned()),
        deadline: DEADLINE,
    };
    let begun = Instant::now();
    let mut out = std::io::stdout().lock();
    let verdict = machine.run(&mut out);
    let passed = verdict.as_ref().is_ok_and(|words| words == "passed");
    if !passed {
        let text = std::fs::read(&console).unwrap_or_default();
        writeln!(out, "== console\n{}", String::from_utf8_lossy(&text))?;
    }
    writeln!(out, "\nvm: {}, {} s", verdict?, begun.elapsed().as_secs())?;
    Ok(passed)
}

/// Compiles the tests as `cargo test` does. Returns them, and the binaries they execute.
fn compile() -> anyhow::Result<(Vec<Test>, Vec<PathBuf>)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.current_dir(workspace());
    command.args(["test", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
    command.args(PACKAGES.iter().flat_map(|package| ["-p", package]));
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the tests do not compile");
    let (mut tests, mut helpers) = (Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line)?;
        let Some(program) = message["executable"].as_str().map(PathBuf::from) else { continue };
        let target = message["target"]["name"].as_str().unwrap_or_default();
        if ELSEWHERE.contains(&target) {
            continue;
        }
        if message["profile"]["test"] == false {
            helpers.push(program);
            continue;
        }
        let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
        let directory = manifest.parent().unwrap_or(Path::new("/")).to_owned();
        let package = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = match target.replace('_', "-") {
            lib if lib == package => lib,
            target => format!("{package}/{target}"),
        };
        // The end-to-end tests are what people name.
        let name = name.trim_start_matches("tests/").to_owned();
        tests.push(Test { name, directory, program });
    }
    Ok((tests, helpers))
}

/// Writes the machine's whole file system.
fn pack(
    path: &Path,
    kernel: &Kernel,
    tests: &[Test],
    helpers: &[PathBuf],
    filters: &[String],
) -> anyhow::Result<()> {
    let mut archive = Archive::new(BufWriter::new(std::fs::File::create(path)?));
    for directory in
        ["etc", "mnt", "proc", "root", "run", "sys", "dev", "tmp", "usr/bin", "usr/sbin"]
    {
        archive.directory(&Path::new("/").join(directory))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        archive.symlink(&Path::new("/").join(name), &format!("usr/{name}"))?;
    }
    archive.bytes(Path::new("/init"), 0o755, include_bytes!("init.sh"))?;
    let patience = std::env::var("KLET_PATIENCE").unwrap_or_else(|_| PATIENCE.to_owned());
    let environment = format!(
        "export KLET_PATIENCE={patience} KLET_BIN={} KLET_IMAGES={}\n",
        binary("").display(),
        images().display()
    );
    archive.bytes(Path::new("/environment"), 0o644, environment.as_bytes())?;
    archive.bytes(Path::new("/etc/passwd"), 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.bytes(Path::new("/etc/group"), 0o644, b"root:x:0:\n")?;
    let mut modules = String::new();
    for module in kernel.modules()? {
        let name = Path::new("/modules.d").join(module.file_name().unwrap_or_default());
        archive.file(&module, &name)?;
        modules.push_str(&format!("{}\n", name.display()));
    }
    archive.bytes(Path::new("/modules"), 0o644, modules.as_bytes())?;
    let mut list = String::new();
    for test in tests {
        let (name, directory) = (&test.name, test.directory.display());
        let words = filters.join(" ");
        list.push_str(&format!("{name} {directory} {} {words}\n", test.program.display()));
        archive.directory(&test.directory)?;
    }
    archive.bytes(Path::new("/tests"), 0o644, list.as_bytes())?;
    let mut programs: Vec<PathBuf> = tests.iter().map(|test| test.program.clone()).collect();
    programs.extend(helpers.iter().cloned());
    programs.extend(["kletd", "kletctl"].map(binary).into_iter().filter(|path| path.exists()));
    for tool in TOOLS {
        programs.extend(run(Command::new("which").arg(tool)).map(|path| path.trim().into()));
    }
    for program in &programs {
        archive.file(program, &canonical(program))?;
    }
    for library in libraries(&programs)? {
        archive.file(&library, &canonical(&library))?;
    }
    // Manifests that tests apply.
    tree(&mut archive, &workspace().join("docs"))?;
    for entry in std::fs::read_dir(images()).context("make images")?.flatten() {
        if entry.path().extension().is_some_and(|end| end == "tar") {
            archive.file(&entry.path(), &entry.path())?;
        }
    }
    archive.finish()?;
    Ok(())
}

/// A directory with all that is in it.
fn tree<W: Write>(archive: &mut Archive<W>, directory: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            tree(archive, &entry.path())?;
        } else {
            archive.file(&entry.path(), &entry.path())?;
        }
    }
    Ok(())
}

/// `/bin/x` is `/usr/bin/x`: the machine has the directories of a merged `/usr` only.
fn canonical(path: &Path) -> PathBuf {
    for name in ["bin", "sbin", "lib", "lib64"] {
        if let Ok(rest) = path.strip_prefix(Path::new("/").join(name)) {
            return Path::new("/usr").join(name).join(rest);
        }
    }
    path.to_owned()
}

/// What the dynamic linker would load for these.
fn libraries(programs: &[PathBuf]) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for program in programs {
        // It fails for static programs: they need nothing.
        let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        found.extend(paths.map(PathBuf::from).filter(|path| path.exists()));
    }
    Ok(found)
}
