//! Paths against a real directory tree with hostile links in it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

struct Tree {
    base: PathBuf,
    root: OwnedFd,
}

impl Tree {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("klet-in-root-{name}-{}", std::process::id()));
        std::fs::create_dir_all(base.join("root")).unwrap();
        std::fs::create_dir_all(base.join("canary")).unwrap();
        let root =
            rustix::fs::open(base.join("root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .unwrap();
        Self { base, root }
    }

    fn canary_is_untouched(&self) -> bool {
        std::fs::read_dir(self.base.join("canary")).unwrap().next().is_none()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

fn path(text: &str) -> InRootPath {
    InRootPath::new(text).unwrap()
}

#[test]
fn paths_are_cleaned_lexically() {
    for (text, whole) in [
        ("/a/b", "a/b"),
        ("a//b/", "a/b"),
        ("/mnt/../x/./y", "x/y"),
        ("/../..", "."),
        ("/", "."),
        ("", "."),
    ] {
        assert_eq!(path(text).whole().to_str().unwrap(), whole, "{text}");
    }
    assert!(InRootPath::new("a\0b").is_none());
}

#[test]
fn missing_directories_and_files_are_made() {
    let tree = Tree::new("make");
    path("/a/b/c").directory(tree.root.as_fd(), Symlinks::Inside).unwrap();
    path("/a/d/file").file(tree.root.as_fd(), Symlinks::Inside).unwrap();
    assert!(tree.base.join("root/a/b/c").is_dir());
    assert!(tree.base.join("root/a/d/file").is_file());
}

#[test]
fn a_file_in_the_way_is_not_a_directory() {
    let tree = Tree::new("file");
    std::fs::write(tree.base.join("root/file"), "").unwrap();
    let error = path("/file/x").directory(tree.root.as_fd(), Symlinks::Inside).unwrap_err();
    assert_eq!(error.errno.0, libc::ENOTDIR);
}

#[test]
fn absolute_links_start_at_the_root() {
    let tree = Tree::new("absolute");
    symlink(tree.base.join("canary"), tree.base.join("root/mnt")).unwrap();
    let result = path("/mnt/new").directory(tree.root.as_fd(), Symlinks::Inside);
    assert_eq!(result.unwrap_err().errno.0, libc::EEXIST, "a dangling link is not written through");
    assert!(tree.canary_is_untouched());
}

#[test]
fn links_upwards_stay_inside() {
    let tree = Tree::new("up");
    symlink("../../../..", tree.base.join("root/up")).unwrap();
    path("/up/made").directory(tree.root.as_fd(), Symlinks::Inside).unwrap();
    assert!(tree.base.join("root/made").is_dir());
}

#[test]
fn refused_links_are_refused() {
    let tree = Tree::new("refused");
    std::fs::create_dir(tree.base.join("root/real")).unwrap();
    symlink("real", tree.base.join("root/dev")).unwrap();
    let error = path("/dev").place(tree.root.as_fd(), Symlinks::Refused).unwrap_err();
    assert_eq!(error.errno.0, libc::ELOOP);
    assert!(path("/dev").place(tree.root.as_fd(), Symlinks::Inside).is_ok());
}

#[test]
fn nothing_leads_out_beneath() {
    let tree = Tree::new("beneath");
    let error = open_beneath(tree.root.as_fd(), c"../canary", OFlags::PATH).unwrap_err();
    assert_eq!(error.errno.0, libc::EXDEV);
}
