//! Requests and limits as cgroup settings, the QoS class, and the pod's place in the cgroup tree.

use std::collections::BTreeMap;

use klet_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as Raw;
use klet_api::quantity::Quantity;
use klet_api::{Container, Pod, PodSpec};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

/// CFS period of every container, microseconds (kubelet `cpuCFSQuotaPeriod`).
const PERIOD_US: u64 = 100_000;
/// Smallest quota the kernel takes, microseconds.
const MIN_QUOTA_US: i64 = 1_000;
/// `cpu.shares` bounds.
const MIN_SHARES: i128 = 2;
const MAX_SHARES: i128 = 262_144;

/// `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// The class as `status.qosClass` spells it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Guaranteed" => Some(Self::Guaranteed),
            "Burstable" => Some(Self::Burstable),
            "BestEffort" => Some(Self::BestEffort),
            _ => None,
        }
    }
}

/// The class fixed at creation, `BestEffort` when the object does not tell.
#[must_use]
pub fn qos(pod: &Pod) -> Qos {
    pod.status
        .as_ref()
        .and_then(|status| status.qos_class.as_deref())
        .and_then(Qos::parse)
        .unwrap_or(Qos::BestEffort)
}

/// `/kubepods[/burstable|/besteffort]/pod<uid>` below `parent` (kubelet's cgroupfs layout).
#[must_use]
pub fn pod_cgroup(parent: &str, qos: Qos, uid: &str) -> String {
    let parent = parent.trim_end_matches('/');
    match qos {
        Qos::Guaranteed => format!("{parent}/pod{uid}"),
        Qos::Burstable => format!("{parent}/burstable/pod{uid}"),
        Qos::BestEffort => format!("{parent}/besteffort/pod{uid}"),
    }
}

/// One resource of a list; unreadable quantities were refused by validation and count as absent.
fn amount(list: Option<&BTreeMap<String, Raw>>, name: &str) -> Option<Quantity> {
    list.and_then(|list| list.get(name)).and_then(|raw| Quantity::parse(&raw.0).ok())
}

fn limits(container: &Container) -> Option<&BTreeMap<String, Raw>> {
    container.resources.as_ref().and_then(|resources| resources.limits.as_ref())
}

fn requests(container: &Container) -> Option<&BTreeMap<String, Raw>> {
    container.resources.as_ref().and_then(|resources| resources.requests.as_ref())
}

/// Memory limit in bytes, if there is one.
#[must_use]
pub fn memory_limit(container: &Container) -> Option<i64> {
    amount(limits(container), "memory").map(|q| clamp(q.value())).filter(|&bytes| bytes > 0)
}

fn memory_request(container: &Container) -> i64 {
    amount(requests(container), "memory").map_or(0, |q| clamp(q.value()))
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// cpu request in thousandths: the request, else the limit, else 0.
fn cpu_request(container: &Container) -> i128 {
    amount(requests(container), "cpu")
        .or_else(|| amount(limits(container), "cpu"))
        .map_or(0, |q| q.milli_value())
}

fn cpu_limit(container: &Container) -> Option<i128> {
    amount(limits(container), "cpu").map(|q| q.milli_value()).filter(|&milli| milli > 0)
}

/// `cpu.shares` of a request in thousandths.
fn shares(milli: i128) -> u64 {
    u64::try_from((milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)).unwrap_or(2)
}

/// CFS quota of a limit in thousandths, microseconds per period.
fn quota(milli: i128) -> i64 {
    clamp(milli * i128::from(PERIOD_US) / 1000).max(MIN_QUOTA_US)
}

fn cpu(request: i128, limit: Option<i128>) -> LinuxCpu {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(Some(shares(request)));
    cpu.set_period(Some(PERIOD_US));
    cpu.set_quota(Some(limit.map_or(-1, quota)));
    cpu
}

fn memory(limit: Option<i64>) -> Option<LinuxMemory> {
    let limit = limit?;
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(limit));
    // Swap is accounted with memory: equal values mean none (kubelet `NoSwap`).
    memory.set_swap(Some(limit));
    Some(memory)
}

/// The container's own limits. Version 2 can do more: no swap whatever the limit (kubelet `NoSwap`), and
/// out of memory a container goes as one (kubelet without `singleProcessOOMKill`).
#[must_use]
pub fn container(container: &Container, cgroup_v2: bool) -> LinuxResources {
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu(cpu_request(container), cpu_limit(container))));
    resources.set_memory(memory(memory_limit(container)));
    if cgroup_v2 {
        let files = [("memory.oom.group", "1"), ("memory.swap.max", "0")];
        let files = files.map(|(file, value)| (file.to_owned(), value.to_owned()));
        resources.set_unified(Some(files.into()));
    }
    resources
}

/// The weight of a class of pods that together request this much cpu, thousandths.
#[must_use]
pub fn class(milli: i128) -> LinuxResources {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(Some(shares(milli)));
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu));
    resources
}

/// The limits of all pods together: cpu in thousandths, memory in bytes.
#[must_use]
pub fn node(milli: i128, memory_bytes: i64) -> LinuxResources {
    let mut resources = class(milli);
    resources.set_memory(memory(Some(memory_bytes)));
    resources
}

/// The pod's limits: effective requests, and the sum of limits where every container has one.
#[must_use]
pub fn pod(spec: &PodSpec, qos: Qos, pids_limit: Option<i64>) -> LinuxResources {
    let mut resources = LinuxResources::default();
    let request = match qos {
        Qos::BestEffort => 0,
        Qos::Guaranteed | Qos::Burstable => pod_cpu_request(spec),
    };
    resources.set_cpu(Some(cpu(request, effective(spec, cpu_limit))));
    let bytes = effective(spec, |c| memory_limit(c).map(i128::from)).map(clamp);
    resources.set_memory(memory(bytes));
    if let Some(limit) = pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    resources
}

/// The pod's effective cpu request, thousandths.
#[must_use]
pub fn pod_cpu_request(spec: &PodSpec) -> i128 {
    effective(spec, |container| Some(cpu_request(container))).unwrap_or(0)
}

/// Is this init container a sidecar?
fn sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The largest sum that can be in use at one time; `None` if any container leaves it open.
fn effective(spec: &PodSpec, of: impl Fn(&Container) -> Option<i128>) -> Option<i128> {
    let mut running = 0;
    let mut peak = 0;
    for init in spec.init_containers.iter().flatten() {
        let own = of(init)?;
        if sidecar(init) {
            running += own;
            peak = peak.max(running);
        } else {
            peak = peak.max(running + own);
        }
    }
    let apps = spec.containers.iter().map(&of).sum::<Option<i128>>()?;
    Some(peak.max(running + apps))
}

/// `oom_score_adj` of a container (kubelet `GetContainerOOMScoreAdjust`).
#[must_use]
pub fn oom_score_adj(qos: Qos, container: &Container, node_memory: i64) -> i32 {
    match qos {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = i128::from(memory_request(container));
            let adjust = 1000 - 1000 * request / i128::from(node_memory.max(1));
            i32::try_from(adjust.clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let list = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), Raw((*v).to_owned()))).collect())
        };
        Container {
            resources: Some(klet_api::k8s_openapi::api::core::v1::ResourceRequirements {
                requests: list(requests),
                limits: list(limits),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn cpu_and_memory_become_kernel_values() {
        let c = with(&[("cpu", "200m")], &[("cpu", "200m"), ("memory", "64Mi")]);
        let resources = container(&c, false);
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.shares(), cpu.quota()), (Some(204), Some(20_000)));
        let memory = resources.memory().as_ref().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(64 << 20)));
        assert!(resources.unified().is_none(), "version 1 has no such files");
        let none = container(&Container::default(), true);
        let unified = none.unified().as_ref().unwrap();
        assert_eq!((&*unified["memory.oom.group"], &*unified["memory.swap.max"]), ("1", "0"));
        assert_eq!(none.cpu().as_ref().unwrap().shares(), Some(2));
        assert_eq!(none.cpu().as_ref().unwrap().quota(), Some(-1));
        assert!(none.memory().is_none());
    }

    #[test]
    fn a_pod_is_limited_only_where_every_container_is() {
        let limited = with(&[], &[("memory", "10Mi")]);
        let open = Container::default();
        let spec = |init: Vec<Container>, apps: Vec<Container>| PodSpec {
            init_containers: Some(init),
            containers: apps,
            ..Default::default()
        };
        let bytes = |s: &PodSpec| {
            pod(s, Qos::Burstable, None).memory().as_ref().and_then(|memory| memory.limit())
        };
        assert_eq!(bytes(&spec(vec![], vec![limited.clone(), limited.clone()])), Some(20 << 20));
        assert_eq!(bytes(&spec(vec![], vec![limited.clone(), open])), None);
        let big = with(&[], &[("memory", "50Mi")]);
        assert_eq!(bytes(&spec(vec![big], vec![limited])), Some(50 << 20));
    }

    #[test]
    fn oom_scores_follow_the_class() {
        let half = with(&[("memory", "512Mi")], &[]);
        assert_eq!(oom_score_adj(Qos::Guaranteed, &half, 1 << 30), -997);
        assert_eq!(oom_score_adj(Qos::BestEffort, &half, 1 << 30), 1000);
        assert_eq!(oom_score_adj(Qos::Burstable, &half, 1 << 30), 500);
        assert_eq!(oom_score_adj(Qos::Burstable, &Container::default(), 1 << 30), 999);
    }

    #[test]
    fn pod_cgroups_stand_where_the_kubelet_puts_them() {
        assert_eq!(pod_cgroup("/kubepods", Qos::Guaranteed, "u"), "/kubepods/podu");
        assert_eq!(pod_cgroup("/kubepods/", Qos::BestEffort, "u"), "/kubepods/besteffort/podu");
    }
}
