//! From OCI resources to the control files to write: pure.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::error::CgroupError;

/// Kernel minimum of a CFS quota, microseconds.
const MIN_QUOTA_US: i64 = 1000;
/// Period when none is given, microseconds (kernel default).
const DEFAULT_PERIOD_US: u64 = 100_000;

/// What a refused write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A limit somebody asked for: an error.
    Required,
    /// A refinement: a warning.
    Optional,
    /// Restates the kernel's default: nothing is lost when the file is missing.
    Default,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Knob {
    /// v1: whose hierarchy the file is in.
    pub(super) controller: &'static str,
    pub(super) file: String,
    pub(super) value: String,
    pub(super) need: Need,
}

#[derive(Debug, Default)]
struct Plan(Vec<Knob>);

impl Plan {
    fn add(&mut self, controller: &'static str, file: &str, value: impl ToString, need: Need) {
        let (file, value) = (file.to_owned(), value.to_string());
        self.0.push(Knob { controller, file, value, need });
    }

    fn maybe(&mut self, c: &'static str, file: &str, value: Option<impl ToString>, need: Need) {
        if let Some(value) = value {
            self.add(c, file, value, need);
        }
    }
}

/// The writes for cgroup v1 (Documentation/admin-guide/cgroup-v1).
pub(super) fn v1(resources: &LinuxResources) -> Result<Vec<Knob>, CgroupError> {
    use Need::{Optional, Required};
    let mut plan = Plan::default();
    if let Some(memory) = resources.memory() {
        check_swap(memory)?;
        plan.maybe("memory", "memory.limit_in_bytes", memory.limit(), Required);
        plan.maybe("memory", "memory.memsw.limit_in_bytes", memory.swap(), Optional);
        plan.maybe("memory", "memory.soft_limit_in_bytes", memory.reservation(), Optional);
        plan.maybe("memory", "memory.swappiness", memory.swappiness(), Optional);
        if memory.disable_oom_killer() == Some(true) {
            plan.add("memory", "memory.oom_control", 1, Optional);
        }
    }
    if let Some(cpu) = resources.cpu() {
        plan.maybe("cpu", "cpu.shares", cpu.shares(), Optional);
        plan.maybe("cpu", "cpu.cfs_period_us", cpu.period().filter(|p| *p > 0), Required);
        let quota = cpu.quota().filter(|q| *q != 0).map(least_quota);
        let need = if quota == Some(-1) { Need::Default } else { Required };
        plan.maybe("cpu", "cpu.cfs_quota_us", quota, need);
        plan.maybe("cpu", "cpu.cfs_burst_us", cpu.burst(), Optional);
        plan.maybe("cpu", "cpu.idle", cpu.idle(), Optional);
        cpuset(&mut plan, cpu);
    }
    tail(&mut plan, resources, ".limit_in_bytes");
    if resources.block_io().is_some() {
        plan.add("blkio", "blkio.*", "block I/O limits", Optional);
    }
    for (file, value) in sorted(resources) {
        plan.add("unified", file, value, Required);
    }
    Ok(plan.0)
}

/// The writes for cgroup v2 (Documentation/admin-guide/cgroup-v2).
pub(super) fn v2(resources: &LinuxResources) -> Result<Vec<Knob>, CgroupError> {
    use Need::{Optional, Required};
    let mut plan = Plan::default();
    if let Some(memory) = resources.memory() {
        check_swap(memory)?;
        let need = if memory.limit().is_some_and(|l| l > 0) { Required } else { Need::Default };
        plan.maybe("memory", "memory.max", memory.limit().map(or_max), need);
        plan.maybe("memory", "memory.swap.max", swap_max(memory), Optional);
        plan.maybe("memory", "memory.low", memory.reservation().map(or_max), Optional);
    }
    if let Some(cpu) = resources.cpu() {
        plan.maybe("cpu", "cpu.weight", cpu.shares().filter(|s| *s > 0).map(weight), Optional);
        if let Some((value, need)) = cpu_max(cpu) {
            plan.add("cpu", "cpu.max", value, need);
        }
        plan.maybe("cpu", "cpu.max.burst", cpu.burst(), Optional);
        plan.maybe("cpu", "cpu.idle", cpu.idle(), Optional);
        cpuset(&mut plan, cpu);
    }
    tail(&mut plan, resources, ".max");
    let io_weight = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|w| *w > 0);
    plan.maybe(
        "io",
        "io.weight",
        io_weight.map(|w| format!("default {}", io_weight_v2(w))),
        Optional,
    );
    for (file, value) in sorted(resources) {
        // Where there is no such file, there is no swap to keep away from.
        let no_swap = (file, value) == ("memory.swap.max", "0");
        plan.add("unified", file, value, if no_swap { Need::Default } else { Required });
    }
    Ok(plan.0)
}

/// The user's own v2 files, in a fixed order.
fn sorted(resources: &LinuxResources) -> BTreeMap<&str, &str> {
    let unified = resources.unified().iter().flatten();
    unified.map(|(file, value)| (file.as_str(), value.as_str())).collect()
}

fn cpuset(plan: &mut Plan, cpu: &LinuxCpu) {
    let named = |set: &Option<String>| set.clone().filter(|s| !s.is_empty());
    plan.maybe("cpuset", "cpuset.cpus", named(cpu.cpus()), Need::Required);
    plan.maybe("cpuset", "cpuset.mems", named(cpu.mems()), Need::Required);
}

/// What is the same in both versions but for a suffix.
fn tail(plan: &mut Plan, resources: &LinuxResources, hugetlb_suffix: &str) {
    if let Some(pids) = resources.pids() {
        let (value, need) = match pids.limit() {
            limit if limit > 0 => (limit.to_string(), Need::Required),
            _ => ("max".to_owned(), Need::Default),
        };
        plan.add("pids", "pids.max", value, need);
    }
    for HugePages { size, limit, need } in hugepages(resources.hugepage_limits().as_deref()) {
        plan.add("hugetlb", &format!("hugetlb.{size}{hugetlb_suffix}"), limit, need);
    }
}

struct HugePages {
    size: String,
    limit: i64,
    need: Need,
}

/// A limit of none at all costs nothing where huge pages do not exist.
fn hugepages(limits: Option<&[LinuxHugepageLimit]>) -> impl Iterator<Item = HugePages> {
    limits.unwrap_or_default().iter().map(|limit| HugePages {
        size: limit.page_size().clone(),
        limit: limit.limit(),
        need: if limit.limit() == 0 { Need::Default } else { Need::Required },
    })
}

fn least_quota(quota: i64) -> i64 {
    if quota < 0 { -1 } else { quota.max(MIN_QUOTA_US) }
}

fn cpu_max(cpu: &LinuxCpu) -> Option<(String, Need)> {
    let quota = cpu.quota().filter(|q| *q != 0);
    let period = cpu.period().filter(|p| *p > 0);
    let value = |quota: &str| format!("{quota} {}", period.unwrap_or(DEFAULT_PERIOD_US));
    match (quota, period) {
        (None, None) => None,
        (Some(quota), _) if quota > 0 => {
            Some((value(&least_quota(quota).to_string()), Need::Required))
        }
        _ => Some((value("max"), Need::Default)),
    }
}

fn or_max(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

/// OCI's swap counts memory and swap together, v2's file swap alone.
fn swap_max(memory: &LinuxMemory) -> Option<String> {
    match (memory.swap()?, memory.limit()) {
        (both, _) if both < 0 => Some("max".to_owned()),
        (0, _) => None,
        (both, Some(limit)) => Some(or_max(both - limit.max(0))),
        (_, None) => None,
    }
}

fn check_swap(memory: &LinuxMemory) -> Result<(), CgroupError> {
    let Some(both) = memory.swap().filter(|swap| *swap > 0) else { return Ok(()) };
    match memory.limit() {
        Some(limit) if (1..=both).contains(&limit) => Ok(()),
        Some(limit) => Err(CgroupError::Resources(format!(
            "memory+swap limit {both} is below the memory limit {limit}"
        ))),
        None => Err(CgroupError::Resources(format!(
            "memory+swap limit {both} needs a memory limit beside it"
        ))),
    }
}

/// cpu.shares to cpu.weight as recent runtimes do: the defaults (1024 and 100) and both ends meet.
pub(super) fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// blkio.weight (10 to 1000) to io.weight (1 to 10000).
fn io_weight_v2(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
