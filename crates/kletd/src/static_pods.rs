//! Static pods: manifests in a directory, kept running without anybody asking.
//!
//! A file is one Pod. A changed file ends the old pod gracefully and then starts the new one; a
//! removed file ends its pod; a file that goes bad changes nothing but the log, and neither does a
//! directory that cannot be read. The directory may come, go and come again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use klet_api::{Pod, decode, defaults, manifest, validate};
use klet_apiserver::{Admission, RegistryError, TypedWatch};
use klet_store::EventKind;
use rustix::fs::inotify::WatchFlags;
use sha2::{Digest, Sha256};

use crate::api::admission::OneNode;
use crate::node::NodeRef;
use crate::wait::Watcher;

/// Largest manifest (kubelet `maxConfigLength`), bytes.
const MAX_BYTES: u64 = 10 << 20;
/// `kubernetes.io/config.source` of pods that came from a file.
const SOURCE: &str = "kubernetes.io/config.source";
const HASH: &str = "kubernetes.io/config.hash";
const SEEN: &str = "kubernetes.io/config.seen";
/// The file a static pod came from.
const FILE: &str = "klet.dev/config.file";

/// How soon something that failed is tried again (kubelet `fileCheckFrequency`).
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// What the directory says.
#[derive(Debug, Default)]
struct Scan {
    /// Pods by name, the manifest's hash in their annotations.
    wanted: BTreeMap<(String, String), Pod>,
    /// Files that make no sense at the moment.
    bad: BTreeSet<String>,
}

/// What to do about one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Create((String, String)),
    End { key: (String, String), uid: String },
}

/// Keeps the pods of the manifest directory running, for ever.
pub async fn run(node: NodeRef) {
    let directory = node.config.manifests.clone();
    loop {
        if let Err(error) = follow(&node, &directory).await {
            tracing::error!("static pods are not watched, trying again: {error:#}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

async fn follow(node: &NodeRef, directory: &Path) -> anyhow::Result<()> {
    loop {
        let (_, version) = node.registry.list::<Pod>(None);
        let Ok(mut ended) = node.registry.watch::<Pod>(None, version) else { continue };
        loop {
            // Before the look, so that no change is missed; anew each time, because the directory
            // may have become another one.
            let watcher = watch(directory)
                .with_context(|| format!("cannot watch {}", directory.display()))?;
            let again = !reconcile(node, directory).await;
            tokio::select! {
                changed = watcher.changed() => changed?,
                gone = until_one_ends(&mut ended) => if !gone { break },
                () = tokio::time::sleep(LOOK_AGAIN), if again => {}
            }
        }
    }
}

/// Returns true when a pod is gone, false when the watch is over.
async fn until_one_ends(pods: &mut TypedWatch<Pod>) -> bool {
    while let Some(event) = pods.next().await {
        if event.kind == EventKind::Deleted {
            return true;
        }
    }
    false
}

/// Watches the directory, or the nearest one above it that exists.
fn watch(directory: &Path) -> io::Result<Watcher> {
    let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    let inside =
        WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::CREATE;
    let nearest = || directory.ancestors().find(|path| path.is_dir());
    loop {
        let path = nearest().ok_or(io::ErrorKind::NotFound)?;
        let flags =
            if path == directory { inside } else { WatchFlags::CREATE | WatchFlags::MOVED_TO };
        match Watcher::new(path, flags | gone) {
            // A nearer one may have been made meanwhile.
            Ok(watcher) if nearest() == Some(path) => return Ok(watcher),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether everything is as the directory says; if not, it may be at another try.
async fn reconcile(node: &NodeRef, directory: &Path) -> bool {
    let scan = match scan(node, directory) {
        Ok(scan) => scan,
        Err(error) => {
            // Nothing is known, so nothing changes.
            tracing::warn!(%error, "cannot read {}", directory.display());
            return false;
        }
    };
    let mut whole = scan.bad.is_empty();
    let (pods, _) = node.registry.list::<Pod>(None);
    let present: Vec<Pod> =
        pods.into_iter().filter(|pod| note(pod, SOURCE) == Some("file")).collect();
    for step in decide(&scan, &present) {
        let done = match &step {
            Step::Create(key) => create(node, &scan.wanted[key]).await,
            Step::End { key: (namespace, name), uid } => {
                node.registry.delete_pod(namespace, name, uid).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(?step, %error, "static pod");
            whole = false;
        }
    }
    whole
}

fn note<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn key(pod: &Pod) -> (String, String) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    (text(&pod.metadata.namespace), text(&pod.metadata.name))
}

/// What brings the pods that are there to the ones that are wanted.
fn decide(scan: &Scan, present: &[Pod]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut known = BTreeSet::new();
    for pod in present {
        let key = key(pod);
        known.insert(key.clone());
        let from_bad_file = note(pod, FILE).is_some_and(|file| scan.bad.contains(file));
        let same =
            scan.wanted.get(&key).is_some_and(|wanted| note(wanted, HASH) == note(pod, HASH));
        if !same && !from_bad_file && pod.metadata.deletion_timestamp.is_none() {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            steps.push(Step::End { key, uid });
        }
    }
    let missing = scan.wanted.keys().filter(|key| !known.contains(key));
    steps.extend(missing.cloned().map(Step::Create));
    steps
}

async fn create(node: &NodeRef, pod: &Pod) -> Result<(), RegistryError> {
    let (namespace, name) = key(pod);
    node.registry.create(Some(&namespace), &name, pod).await.map(drop)
}

/// # Errors
/// The directory cannot be read; one that does not exist is empty.
fn scan(node: &NodeRef, directory: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for path in files(directory)? {
        let file =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if file.starts_with('.') {
            continue;
        }
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::warn!("static pod manifest {}: {error}", path.display());
                scan.bad.insert(file);
                continue;
            }
        }
        match read(node, &path, &file) {
            Ok(pod) => {
                scan.wanted.entry(key(&pod)).or_insert(pod);
            }
            Err(error) => {
                tracing::warn!("static pod manifest {}: {error:#}", path.display());
                scan.bad.insert(file);
            }
        }
    }
    Ok(scan)
}

/// What is in the directory, by name.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn read(node: &NodeRef, path: &Path, file: &str) -> anyhow::Result<Pod> {
    if path.metadata()?.len() > MAX_BYTES {
        bail!("is larger than {MAX_BYTES} bytes");
    }
    let text = std::fs::read_to_string(path)?;
    let documents = manifest::parse(&text, &path.to_string_lossy())?;
    let [document] = documents.as_slice() else {
        bail!("holds {} objects, not one Pod", documents.len())
    };
    if document.kind() != "Pod" {
        bail!("is a {:?}, not a Pod", document.kind());
    }
    let mut pod: Pod = decode::from_value::<Pod>(&document.value)?.into_strict()?;
    let digest = Sha256::digest(text.as_bytes());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    disown(&mut pod);
    let name = pod.metadata.name.take().unwrap_or_default();
    pod.metadata.name = Some(format!("{name}-{}", node.config.node_name));
    defaults::default_pod(&mut pod);
    let errors = validate::pod_create(&pod);
    if !errors.is_empty() {
        let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
        bail!("invalid pod: [{}]", list.join(", "));
    }
    let annotations = pod.metadata.annotations.get_or_insert_default();
    for (key, value) in [(SOURCE, "file"), (HASH, hash.as_str()), (FILE, file)] {
        annotations.insert(key.to_owned(), value.to_owned());
    }
    annotations.insert(SEEN.to_owned(), Timestamp::now().to_string());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.config.node_name.clone());
    }
    let bound = OneNode { ledger: node.ledger.clone() }.pod(&mut pod);
    bound.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(pod)
}

/// Takes away what only the server writes: a manifest may be the print of a pod that was.
fn disown(pod: &mut Pod) {
    let meta = &mut pod.metadata;
    meta.uid = None;
    meta.resource_version = None;
    meta.generation = None;
    meta.creation_timestamp = None;
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    pod.status = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, hash: &str, file: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.namespace = Some("default".to_owned());
        pod.metadata.uid = Some(format!("uid-{name}"));
        let notes = [(HASH, hash), (FILE, file), (SOURCE, "file")];
        let notes = notes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        pod.metadata.annotations = Some(notes.into());
        pod
    }

    fn wanted(pods: &[Pod], bad: &[&str]) -> Scan {
        Scan {
            wanted: pods.iter().map(|pod| (key(pod), pod.clone())).collect(),
            bad: bad.iter().map(ToString::to_string).collect(),
        }
    }

    fn id(name: &str) -> (String, String) {
        ("default".to_owned(), name.to_owned())
    }

    fn end(name: &str) -> Step {
        Step::End { key: id(name), uid: format!("uid-{name}") }
    }

    #[test]
    fn files_and_pods_are_brought_together() {
        let (old, new) = (pod("a", "1", "a.yaml"), pod("a", "2", "a.yaml"));
        let one = std::slice::from_ref(&old);
        assert_eq!(decide(&wanted(one, &[]), &[]), [Step::Create(id("a"))], "new file");
        assert_eq!(decide(&wanted(one, &[]), one), [], "nothing changed");
        assert_eq!(decide(&wanted(&[], &[]), one), [end("a")], "removed file");
        assert_eq!(
            decide(&wanted(std::slice::from_ref(&new), &[]), one),
            [end("a")],
            "old ends first"
        );
        assert_eq!(decide(&wanted(&[new], &[]), &[]), [Step::Create(id("a"))], "then the new one");
    }

    #[test]
    fn a_file_that_goes_bad_changes_nothing() {
        let old = pod("a", "1", "a.yaml");
        assert_eq!(decide(&wanted(&[], &["a.yaml"]), std::slice::from_ref(&old)), []);
    }

    #[test]
    fn a_directory_that_does_not_exist_is_empty_and_one_that_cannot_be_read_is_not() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        assert_eq!(files(&root.join("none")).unwrap(), [] as [PathBuf; 0]);
        std::fs::write(root.join("b.yaml"), "").unwrap();
        std::fs::write(root.join("a.yaml"), "").unwrap();
        assert_eq!(files(root).unwrap(), [root.join("a.yaml"), root.join("b.yaml")]);
        assert!(files(&root.join("a.yaml")).is_err(), "no directory");
    }

    #[test]
    fn a_manifest_does_not_say_who_the_pod_is() {
        let text = r#"{"metadata": {"name": "a", "uid": "../..", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1,
            "deletionTimestamp": "2026-01-01T00:00:00Z", "labels": {"k": "v"}},
            "status": {"phase": "Failed"}}"#;
        let mut pod: Pod = serde_json::from_str(text).unwrap();
        disown(&mut pod);
        let bare = r#"{"metadata": {"name": "a", "labels": {"k": "v"}}}"#;
        assert_eq!(pod, serde_json::from_str(bare).unwrap());
    }

    #[tokio::test]
    async fn a_directory_is_watched_before_it_exists_and_when_it_comes_again() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        let directory = root.join("a/manifests");
        let above = watch(&directory).unwrap();
        std::fs::create_dir_all(&directory).unwrap();
        above.changed().await.unwrap();
        for _ in 0..2 {
            let inside = watch(&directory).unwrap();
            std::fs::write(directory.join("p.yaml"), "").unwrap();
            inside.changed().await.unwrap();
            let inside = watch(&directory).unwrap();
            std::fs::remove_dir_all(&directory).unwrap();
            inside.changed().await.unwrap();
            let above = watch(&directory).unwrap();
            std::fs::create_dir(&directory).unwrap();
            above.changed().await.unwrap();
        }
    }
}
