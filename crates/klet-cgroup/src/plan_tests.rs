//! Tables for the conversions of resources.

use serde_json::{Value, json};

use super::*;

fn resources(value: Value) -> LinuxResources {
    serde_json::from_value(value).unwrap()
}

fn writes(knobs: Vec<Knob>) -> Vec<String> {
    let mark = |need| match need {
        Need::Required => "!",
        Need::Optional => "?",
        Need::Default => "",
    };
    knobs.into_iter().map(|k| format!("{}={}{}", k.file, k.value, mark(k.need))).collect()
}

#[test]
fn weights() {
    let table = [
        (0, 1),
        (2, 1),
        (102, 17),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ];
    for (shares, expected) in table {
        assert_eq!(weight(shares), expected, "{shares}");
    }
    assert!((2..262_144u64).step_by(97).all(|s| weight(s) <= weight(s + 97)));
}

#[test]
fn both_versions() {
    #[rustfmt::skip]
    let table: &[(Value, &[&str], &[&str])] = &[
        (json!({}), &[], &[]),
        (json!({"memory": {"limit": 1000, "swap": 1000}}),
         &["memory.limit_in_bytes=1000!", "memory.memsw.limit_in_bytes=1000?"],
         &["memory.max=1000!", "memory.swap.max=0?"]),
        (json!({"memory": {"limit": -1, "swap": -1}}),
         &["memory.limit_in_bytes=-1!", "memory.memsw.limit_in_bytes=-1?"],
         &["memory.max=max", "memory.swap.max=max?"]),
        (json!({"unified": {"memory.swap.max": "0", "memory.high": "7"}}),
         &["memory.high=7!", "memory.swap.max=0!"], &["memory.high=7!", "memory.swap.max=0"]),
        (json!({"memory": {"limit": 1000, "swap": 1500}, "unified": {"memory.oom.group": "0"}}),
         &["memory.limit_in_bytes=1000!", "memory.memsw.limit_in_bytes=1500?", "memory.oom.group=0!"],
         &["memory.max=1000!", "memory.swap.max=500?", "memory.oom.group=0!"]),
        (json!({"cpu": {"shares": 1024, "quota": 10, "period": 100_000}}),
         &["cpu.shares=1024?", "cpu.cfs_period_us=100000!", "cpu.cfs_quota_us=1000!"],
         &["cpu.weight=100?", "cpu.max=1000 100000!"]),
        (json!({"cpu": {"quota": -1, "period": 50_000}}),
         &["cpu.cfs_period_us=50000!", "cpu.cfs_quota_us=-1"],
         &["cpu.max=max 50000"]),
        (json!({"cpu": {"quota": 5000, "cpus": "0-1", "mems": ""}}),
         &["cpu.cfs_quota_us=5000!", "cpuset.cpus=0-1!"],
         &["cpu.max=5000 100000!", "cpuset.cpus=0-1!"]),
        (json!({"pids": {"limit": 64}}), &["pids.max=64!"], &["pids.max=64!"]),
        (json!({"pids": {"limit": -1}}), &["pids.max=max"], &["pids.max=max"]),
        (json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 7}]}),
         &["hugetlb.2MB.limit_in_bytes=0", "hugetlb.1GB.limit_in_bytes=7!"],
         &["hugetlb.2MB.max=0", "hugetlb.1GB.max=7!"]),
        (json!({"blockIO": {"weight": 1000}}), &["blkio.*=block I/O limits?"],
         &["io.weight=default 10000?"]),
    ];
    for (value, first, second) in table {
        let resources = resources(value.clone());
        assert_eq!(writes(v1(&resources).unwrap()), *first, "v1 {value}");
        assert_eq!(writes(v2(&resources).unwrap()), *second, "v2 {value}");
    }
}

#[test]
fn contradictions_are_told() {
    for value in [json!({"memory": {"limit": 10, "swap": 5}}), json!({"memory": {"swap": 5}})] {
        let resources = resources(value);
        assert!(matches!(v1(&resources), Err(CgroupError::Resources(_))));
        assert!(matches!(v2(&resources), Err(CgroupError::Resources(_))));
    }
}
