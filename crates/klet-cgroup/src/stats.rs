//! What a cgroup uses, parsed from its files.

use super::file::keyed;

/// Usage of one cgroup. A value the kernel does not offer is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time consumed so far, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Times a period ended with the quota used up.
    pub throttled: Option<u64>,
    /// Memory charged, bytes, page cache included.
    pub memory_bytes: Option<u64>,
    /// Memory charged less what can be dropped at once (inactive page cache): the kubelet's working set.
    pub working_set_bytes: Option<u64>,
    /// Anonymous memory, bytes.
    pub rss_bytes: Option<u64>,
    /// Most memory charged at any time, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Tasks (threads included).
    pub pids: Option<u64>,
}

/// Texts of the files; a missing file is `None`.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) cpu_usage: Option<String>,
    pub(super) cpu_stat: Option<String>,
    pub(super) memory_usage: Option<String>,
    pub(super) memory_stat: Option<String>,
    pub(super) memory_peak: Option<String>,
    pub(super) pids: Option<String>,
}

pub(super) fn parse(texts: &Texts, v2: bool) -> Stats {
    let number = |text: &Option<String>| text.as_deref().and_then(|t| t.trim().parse().ok());
    let key = |text: &Option<String>, key| text.as_deref().and_then(|t| keyed(t, key));
    let (inactive, rss) =
        if v2 { ("inactive_file", "anon") } else { ("total_inactive_file", "total_rss") };
    let cpu_ns = if v2 {
        key(&texts.cpu_stat, "usage_usec").map(|us: u64| us.saturating_mul(1000))
    } else {
        number(&texts.cpu_usage)
    };
    let memory_bytes: Option<u64> = number(&texts.memory_usage);
    let inactive = key(&texts.memory_stat, inactive).unwrap_or(0);
    Stats {
        cpu_ns,
        throttled: key(&texts.cpu_stat, "nr_throttled"),
        memory_bytes,
        working_set_bytes: memory_bytes.map(|bytes| bytes.saturating_sub(inactive)),
        rss_bytes: key(&texts.memory_stat, rss),
        memory_peak_bytes: number(&texts.memory_peak),
        pids: number(&texts.pids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn both_versions() {
        let v2 = Texts {
            cpu_stat: some("usage_usec 7\nuser_usec 1\nnr_throttled 3\n"),
            memory_usage: some("1000\n"),
            memory_stat: some("anon 400\nfile 600\ninactive_file 150\n"),
            ..Texts::default()
        };
        let expected = Stats {
            cpu_ns: Some(7000),
            throttled: Some(3),
            memory_bytes: Some(1000),
            working_set_bytes: Some(850),
            rss_bytes: Some(400),
            ..Stats::default()
        };
        assert_eq!(parse(&v2, true), expected);
        let v1 = Texts {
            cpu_usage: some("9\n"),
            memory_usage: some("100\n"),
            memory_stat: some("rss 1\ntotal_rss 4\ntotal_inactive_file 300\n"),
            memory_peak: some("120\n"),
            pids: some("5\n"),
            ..Texts::default()
        };
        let expected = Stats {
            cpu_ns: Some(9),
            memory_bytes: Some(100),
            working_set_bytes: Some(0),
            rss_bytes: Some(4),
            memory_peak_bytes: Some(120),
            pids: Some(5),
            ..Stats::default()
        };
        assert_eq!(parse(&v1, false), expected);
    }
}
