//! Static pods: manifests in a directory, kept running without anybody asking.
//!
//! A file is one Pod. A changed file ends the old pod gracefully and then starts the new one; a
//! removed file ends its pod; a file that goes bad changes nothing but the log.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use klet_api::{Pod, decode, defaults, manifest, validate};
use klet_apiserver::{Admission, MIRROR, RegistryError, node_uid};
use klet_store::EventKind;
use rustix::fs::inotify::WatchFlags;
use sha2::{Digest, Sha256};

use crate::api::admission::OneNode;
use crate::events::Severity;
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

/// What the directory says.
#[derive(Debug, Default)]
struct Scan {
    /// Pods by name, the manifest's hash in their annotations.
    wanted: BTreeMap<(String, String), Pod>,
    /// Files that are not followed at the moment, and why.
    bad: Told,
}

/// Why files are not followed.
type Told = BTreeMap<String, String>;

impl Scan {
    /// Of several files with one pod's name the first is followed.
    fn add(&mut self, file: String, pod: Pod) {
        match self.wanted.entry(key(&pod)) {
            Entry::Vacant(free) => drop(free.insert(pod)),
            Entry::Occupied(first) => {
                let name = &first.key().1;
                let other = note(first.get(), FILE).unwrap_or_default();
                let why = format!("duplicate pod name {name:?}, which {other} has");
                self.bad.insert(file, why);
            }
        }
    }
}

/// What to do about one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Create((String, String)),
    End { key: (String, String), uid: String },
}

/// Pause before a directory that cannot be watched is looked at again (kubelet's rescan).
const RESCAN: Duration = Duration::from_secs(20);

/// Keeps the pods of the manifest directory running, for ever.
pub async fn run(node: NodeRef) {
    let directory = node.config.manifests.clone();
    let mut told = Told::new();
    loop {
        if let Err(error) = follow(&node, &directory, &mut told).await {
            tracing::warn!("static pods in {}: {error:#}", directory.display());
            tokio::time::sleep(RESCAN).await;
        }
    }
}

/// A directory that is not there holds no pods; it may come and go.
async fn follow(node: &NodeRef, directory: &Path, told: &mut Told) -> anyhow::Result<()> {
    let (_, version) = node.registry.list::<Pod>(None);
    let Ok(mut ended) = node.registry.watch::<Pod>(None, version) else { return Ok(()) };
    loop {
        // Made before the look: what happens after it is not missed.
        let place = nearest(directory);
        let watcher = Watcher::new(&place, flags()).context("cannot be watched")?;
        if nearest(directory) != place {
            continue;
        }
        let again = !reconcile(node, directory, told).await;
        loop {
            tokio::select! {
                changed = watcher.changed() => break changed?,
                () = tokio::time::sleep(RESCAN), if again => break,
                event = ended.next() => match event {
                    Some(event) if event.kind == EventKind::Deleted => break,
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    }
}

fn flags() -> WatchFlags {
    WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVE
        | WatchFlags::DELETE
        | WatchFlags::CREATE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
}

/// The directory, or the nearest one above it that exists.
fn nearest(directory: &Path) -> PathBuf {
    let above = directory.ancestors().find(|path| path.is_dir());
    above.unwrap_or(Path::new("/")).to_owned()
}

/// Whether everything is as the directory says; if not, it may be at another try.
async fn reconcile(node: &NodeRef, directory: &Path, told: &mut Told) -> bool {
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
    tell(node, directory, &scan, &present, told);
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

/// Says of each file once why it is not followed: in the log, and as an event of the pod that came
/// from it, or of the node.
fn tell(node: &NodeRef, directory: &Path, scan: &Scan, present: &[Pod], told: &mut Told) {
    for (file, why) in &scan.bad {
        if told.get(file) == Some(why) {
            continue;
        }
        let path = directory.join(file);
        tracing::warn!("static pod manifest {}: {why}", path.display());
        match present.iter().find(|pod| note(pod, FILE) == Some(file)) {
            Some(pod) => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let text = format!("Error validating pod {name} from file due to {why}, ignoring");
                node.events.pod(pod, Severity::Warning, "FailedValidation", text);
            }
            None => {
                let text =
                    format!("Error validating pod from {} due to {why}, ignoring", path.display());
                node.events.node(Severity::Warning, "FailedValidation", text);
            }
        }
    }
    told.clone_from(&scan.bad);
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
        let from_bad_file = note(pod, FILE).is_some_and(|file| scan.bad.contains_key(file));
        let same =
            scan.wanted.get(&key).is_some_and(|wanted| note(wanted, HASH) == note(pod, HASH));
        if !same && !from_bad_file && pod.metadata.deletion_timestamp.is_none() {
            let uid = node_uid(pod).to_owned();
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
                scan.bad.insert(file, error.to_string());
                continue;
            }
        }
        match read(node, &path, &file) {
            Ok(pod) => scan.add(file, pod),
            Err(error) => drop(scan.bad.insert(file, format!("{error:#}"))),
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
    let hash = uid(&text, path, &node.config.node_name);
    disown(&mut pod);
    let name = pod.metadata.name.take().unwrap_or_default();
    pod.metadata.name = Some(format!("{name}-{}", node.config.node_name));
    defaults::default_pod(&mut pod);
    let errors = validate::pod_create(&pod);
    if !errors.is_empty() {
        let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
        bail!("invalid pod: [{}]", list.join(", "));
    }
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.config.node_name.clone());
    }
    let bound = OneNode { ledger: node.ledger.clone() }.pod(&mut pod);
    bound.map_err(|error| anyhow::anyhow!("{error}"))?;
    let annotations = pod.metadata.annotations.get_or_insert_default();
    for (key, value) in [(SOURCE, "file"), (HASH, &hash), (MIRROR, &hash), (FILE, file)] {
        annotations.insert(key.to_owned(), value.to_owned());
    }
    annotations.insert(SEEN.to_owned(), Timestamp::now().to_string());
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

/// The UID of the pod: the same file says the same pod, whoever reads it when.
fn uid(text: &str, path: &Path, node_name: &str) -> String {
    let mut digest = Sha256::new();
    for part in [text.as_bytes(), path.as_os_str().as_encoded_bytes(), node_name.as_bytes()] {
        digest.update(part);
        digest.update([0]);
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
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
            bad: bad.iter().map(|file| ((*file).to_owned(), "why".to_owned())).collect(),
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
    fn the_first_of_two_files_has_the_name() {
        let mut scan = Scan::default();
        scan.add("a.yaml".to_owned(), pod("p", "1", "a.yaml"));
        scan.add("b.yaml".to_owned(), pod("p", "2", "b.yaml"));
        assert_eq!(note(&scan.wanted[&id("p")], HASH), Some("1"));
        assert_eq!(scan.bad["b.yaml"], "duplicate pod name \"p\", which a.yaml has");
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
        let watch = |directory: &Path| Watcher::new(&nearest(directory), flags());
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
