//! emptyDirs over their `sizeLimit` end their pod (kubelet's `emptyDirLimitEviction`).
//!
//! A pod without such a limit costs nothing. With one, a second's tick asks the file system how
//! much of it is used; only when that has grown by as much as is missing to a limit, or a while has
//! passed, are the volumes walked. A walk may take no more than a fiftieth of the time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::PodCondition;
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use klet_api::quantity::Quantity;
use klet_pod::StartFailure;
use klet_volume::PodDirs;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::worker::Worker;
use crate::events::Severity;

const TICK: Duration = Duration::from_secs(1);
/// Longest time between two walks (kubelet's eviction interval).
const LONGEST: Duration = Duration::from_secs(10);
/// A walk is this many times shorter than the pause after it.
const SHARE: u32 = 50;
/// Seconds from the stop signal to SIGKILL (`immediateEvictionGracePeriodSeconds`).
const GRACE: i64 = 1;
const REASON: &str = "Evicted";

/// A size limit: bytes, and as the pod words it.
type Limits = BTreeMap<String, (u64, String)>;

/// Watches the volumes of one pod while it exists.
#[derive(Debug)]
pub struct Usage {
    /// Why the pod must go.
    over: Arc<Mutex<Option<String>>>,
    task: AbortHandle,
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Usage {
    /// Begins to watch a pod that has limits; `wake` tells that one is exceeded.
    #[must_use]
    pub fn watch(pod: &Pod, directory: PathBuf, wake: Arc<Notify>) -> Option<Self> {
        let limits = limits(pod);
        if limits.is_empty() {
            return None;
        }
        let over = Arc::default();
        let task = tokio::spawn(watch(limits, directory, wake, Arc::clone(&over)));
        Some(Self { over, task: task.abort_handle() })
    }

    fn over(&self) -> Option<String> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The limited volumes on disk. Memory is limited by its mount; pods from files are never evicted.
fn limits(pod: &Pod) -> Limits {
    let annotations = pod.metadata.annotations.as_ref();
    let source = annotations.and_then(|notes| notes.get("kubernetes.io/config.source"));
    if source.is_some_and(|source| source == "file") {
        return Limits::new();
    }
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            let source = volume.empty_dir.as_ref()?;
            let on_disk = source.medium.as_deref().unwrap_or_default().is_empty();
            let limit = source.size_limit.as_ref().filter(|_| on_disk)?;
            let bytes = u64::try_from(Quantity::parse(&limit.0).ok()?.value()).ok()?;
            (bytes > 0).then(|| (volume.name.clone(), (bytes, limit.0.clone())))
        })
        .collect()
}

async fn watch(
    limits: Limits,
    directory: PathBuf,
    wake: Arc<Notify>,
    over: Arc<Mutex<Option<String>>>,
) {
    let mut meter = Meter::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let used = used(&directory);
        if !meter.is_due(used, Instant::now()) {
            continue;
        }
        let dirs = PodDirs::new(directory.clone());
        let begun = Instant::now();
        let usage = match tokio::task::spawn_blocking(move || klet_volume::usage(&dirs)).await {
            Ok(Ok(usage)) => usage,
            Ok(Err(error)) => {
                tracing::debug!(%error, "emptyDirs not measured");
                continue;
            }
            Err(_) => return,
        };
        let sizes = usage.into_iter().map(|(name, usage)| (name, usage.bytes)).collect();
        if let Some(message) = exceeded(&limits, &sizes) {
            *over.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
            wake.notify_one();
            return;
        }
        meter = Meter::after(used, begun, begun.elapsed(), room(&limits, &sizes));
    }
}

/// Bytes in use on the file system of the volumes; 0 if it does not say.
fn used(directory: &Path) -> u64 {
    rustix::fs::statvfs(directory)
        .map_or(0, |all| all.f_blocks.saturating_sub(all.f_bfree) * all.f_frsize)
}

/// The first volume over its limit, in the kubelet's words.
fn exceeded(limits: &Limits, sizes: &BTreeMap<String, u64>) -> Option<String> {
    limits.iter().find_map(|(name, (limit, text))| {
        (sizes.get(name)? > limit)
            .then(|| format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{text}\". "))
    })
}

/// The least that is missing to a limit.
fn room(limits: &Limits, sizes: &BTreeMap<String, u64>) -> u64 {
    let left = limits
        .iter()
        .map(|(name, (limit, _))| limit.saturating_sub(sizes.get(name).copied().unwrap_or(0)));
    left.min().unwrap_or(u64::MAX)
}

/// When to walk the volumes again.
#[derive(Debug, Default)]
struct Meter {
    last: Option<Walk>,
}

#[derive(Debug)]
struct Walk {
    /// Bytes in use on the whole file system then.
    used: u64,
    begun: Instant,
    took: Duration,
    room: u64,
}

impl Meter {
    fn after(used: u64, begun: Instant, took: Duration, room: u64) -> Self {
        Self { last: Some(Walk { used, begun, took, room }) }
    }

    fn is_due(&self, used: u64, now: Instant) -> bool {
        let Some(walk) = &self.last else { return true };
        let passed = now.saturating_duration_since(walk.begun);
        let pause = walk.took * SHARE;
        // What others remove may hide growth: so never longer than `LONGEST`.
        passed >= pause && (used.saturating_sub(walk.used) > walk.room || passed >= LONGEST)
    }
}

impl Worker {
    /// Dooms a pod whose volumes have grown over their limits.
    pub fn evict_if_over(&mut self) {
        let status = self.pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let ends = self.pod.metadata.deletion_timestamp.is_some()
            || matches!(phase, Some("Succeeded" | "Failed"));
        if ends || self.memory.doomed.is_some() {
            return;
        }
        let Some(message) = self.usage.as_ref().and_then(Usage::over) else { return };
        self.node.events.pod(&self.pod, Severity::Warning, REASON, message.clone());
        let conditions = self.pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("TerminationByKubelet".to_owned()),
            message: Some(message.clone()),
            last_probe_time: None,
            last_transition_time: Some(Time(Timestamp::now())),
            observed_generation: self.pod.metadata.generation,
        });
        self.memory.doomed = Some(StartFailure { reason: REASON.to_owned(), message });
        self.memory.doomed_grace = Some(GRACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_limits_on_disk_count_and_not_those_of_static_pods() {
        let text = r#"{"metadata": {}, "spec": {"containers": [], "volumes": [
            {"name": "a", "emptyDir": {"sizeLimit": "5Mi"}},
            {"name": "b", "emptyDir": {"sizeLimit": "5Mi", "medium": "Memory"}},
            {"name": "c", "emptyDir": {}}, {"name": "d", "emptyDir": {"sizeLimit": "0"}},
            {"name": "e", "hostPath": {"path": "/"}}]}}"#;
        let found = limits(&pod(text));
        assert_eq!(found, [("a".to_owned(), (5 << 20, "5Mi".to_owned()))].into());
        let fixed = text.replace(
            r#""metadata": {}"#,
            r#""metadata": {"annotations": {"kubernetes.io/config.source": "file"}}"#,
        );
        assert!(limits(&pod(&fixed)).is_empty());
    }

    #[test]
    fn the_limit_itself_may_be_used() {
        let limits = [("d".to_owned(), (5 << 20, "5Mi".to_owned()))].into();
        let sizes = |bytes: u64| [("d".to_owned(), bytes)].into();
        assert_eq!(exceeded(&limits, &sizes(5 << 20)), None);
        assert_eq!(
            exceeded(&limits, &sizes((5 << 20) + 1)).unwrap(),
            "Usage of EmptyDir volume \"d\" exceeds the limit \"5Mi\". "
        );
        assert_eq!(exceeded(&limits, &BTreeMap::new()), None, "not there yet");
        assert_eq!(room(&limits, &sizes(1 << 20)), 4 << 20);
    }

    #[test]
    fn volumes_are_walked_when_they_may_have_grown_too_large() {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        assert!(Meter::default().is_due(0, begun));
        let meter = Meter::after(1000, begun, Duration::from_millis(1), 500);
        assert!(!meter.is_due(1500, at(1000)), "there is room left");
        assert!(meter.is_due(1501, at(1000)));
        assert!(!meter.is_due(1501, at(40)), "walks are a fiftieth of the time");
        assert!(!meter.is_due(900, at(9999)));
        assert!(meter.is_due(900, at(10_000)));
    }
}
