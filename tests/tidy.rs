//! What must stay true of the source tree.

use std::fs;
use std::path::{Path, PathBuf};

use klet_e2e::workspace;

/// Who may depend on whom: arrows only lead downwards, and only where this list has them.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "kletd",
        &[
            "klet-api",
            "klet-apiserver",
            "klet-cgroup",
            "klet-cri",
            "klet-image",
            "klet-net",
            "klet-pod",
            "klet-spec",
            "klet-store",
            "klet-sys",
            "klet-volume",
        ],
    ),
    ("kletctl", &["klet-api"]),
    ("klet-shim", &["klet-cri", "klet-runtime", "klet-sys"]),
    ("klet-apiserver", &["klet-api", "klet-store"]),
    ("klet-runtime", &["klet-cgroup", "klet-sys"]),
    ("klet-cgroup", &["klet-sys"]),
    ("klet-image", &["klet-sys"]),
    ("klet-net", &["klet-sys"]),
    ("klet-volume", &["klet-api", "klet-sys"]),
    ("klet-pod", &["klet-api"]),
    ("klet-spec", &["klet-api"]),
    ("klet-store", &[]),
    ("klet-api", &[]),
    ("klet-cri", &[]),
    ("klet-sys", &[]),
];

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the source tree can be read").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in ["crates", "rootfs-fixtures", "tests"] {
        rust_files(&workspace().join(directory), &mut found);
    }
    found
}

#[test]
fn dependencies_lead_downwards() {
    for (name, allowed) in ARROWS {
        let manifest = workspace().join("crates").join(name).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("every listed crate exists");
        let normal = text.split("[dev-dependencies]").next().unwrap_or_default();
        for line in normal.lines().filter(|line| line.starts_with("klet-")) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
    let crates = fs::read_dir(workspace().join("crates")).expect("crates can be listed").count();
    assert_eq!(crates, ARROWS.len(), "every crate has its row");
}

#[test]
fn unsafe_code_stands_in_klet_sys_alone() {
    let pause = Path::new("crates/klet-shim/pause/pause.rs");
    for path in sources() {
        let relative = path.strip_prefix(workspace()).expect("inside").to_path_buf();
        if relative.starts_with("crates/klet-sys")
            || relative == pause
            || relative == Path::new("tests/tidy.rs")
        {
            continue;
        }
        let text = fs::read_to_string(&path).expect("sources are text");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            assert!(!code.contains("unsafe {"), "{}:{}: unsafe", relative.display(), number + 1);
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("sources are text");
        assert!(text.starts_with("//!"), "{} has no header", path.display());
    }
}

#[test]
fn the_map_names_places_that_exist() {
    let map = fs::read_to_string(workspace().join("docs/architecture.md")).expect("the map exists");
    for word in map.split('`').filter(|word| word.starts_with("crates/")) {
        assert!(workspace().join(word).exists(), "docs/architecture.md names {word}");
    }
}

/// Where `](TARGET)` leads, of every link in a document that is no address.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or(target))
}

fn documents(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the documents can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut found = vec![workspace().join("README.md"), workspace().join("CHANGELOG.md")];
    documents(&workspace().join("docs"), &mut found);
    let mut count = 0;
    for document in found {
        let text = fs::read_to_string(&document).expect("documents are text");
        for target in links(&text) {
            let place = document.parent().map_or_else(PathBuf::new, |parent| parent.join(target));
            assert!(place.exists(), "{} links to {target}", document.display());
            count += 1;
        }
    }
    assert!(count > 10, "the links are found");
}
