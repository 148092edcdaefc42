//! The texts of the files that a pod sees: host name, `/etc/hosts`, `/etc/resolv.conf`.
//! Pure, and byte for byte what the kubelet writes.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Longest host name label (RFC 1123).
const MAX_LABEL: usize = 63;
/// Longest name the kernel takes (`HOST_NAME_MAX`).
const MAX_KERNEL_NAME: usize = 64;
/// What the resolver of the C library honours, and the kubelet's limits.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_LENGTH: usize = 253;
const MAX_SEARCH_LINE: usize = 2048;
/// Lines of a host file beyond this are ignored.
const MAX_HOST_FILE: usize = 64 * 1024;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const LOCAL_NAMES: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// `spec.hostAliases[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// The names it gets.
    pub hostnames: Vec<String>,
}

/// Whose network a pod's `/etc/hosts` describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostsFor<'a> {
    /// A pod with addresses of its own.
    Pod {
        /// Its addresses, the primary one first.
        ips: &'a [IpAddr],
        /// Its host name.
        hostname: &'a str,
        /// Its domain (`SUBDOMAIN.NS.svc.CLUSTERDOMAIN`), if `spec.subdomain` is set.
        domain: Option<&'a str>,
    },
    /// A pod on the host's network.
    HostNetwork {
        /// The host's own `/etc/hosts`.
        host_file: &'a str,
    },
}

/// The content of `/etc/hosts`.
#[must_use]
pub fn etc_hosts(network: HostsFor<'_>, aliases: &[HostAlias]) -> String {
    let mut text = match network {
        HostsFor::HostNetwork { host_file } => format!("{HEADER_HOST_NETWORK}{host_file}"),
        HostsFor::Pod { .. } => format!("{HEADER}{LOCAL_NAMES}"),
    };
    if let HostsFor::Pod { ips, hostname, domain } = network {
        for ip in ips {
            match domain.filter(|d| !d.is_empty()) {
                Some(domain) => writeln!(text, "{ip}\t{hostname}.{domain}\t{hostname}"),
                None => writeln!(text, "{ip}\t{hostname}"),
            }
            .expect("writing to a string cannot fail");
        }
    }
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        writeln!(text, "{}\t{}", alias.ip, alias.hostnames.join("\t"))
            .expect("writing to a string cannot fail");
    }
    text
}

/// The pod's host name: `spec.hostname` or the pod's name, cut to what a label may hold.
#[must_use]
pub fn hostname(spec_hostname: Option<&str>, pod_name: &str) -> String {
    let name = spec_hostname.filter(|h| !h.is_empty()).unwrap_or(pod_name);
    let cut: String = name.chars().take(MAX_LABEL).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's domain, if it has a subdomain.
#[must_use]
pub fn pod_domain(
    subdomain: Option<&str>,
    namespace: &str,
    cluster_domain: &str,
) -> Option<String> {
    subdomain.filter(|s| !s.is_empty()).map(|s| format!("{s}.{namespace}.svc.{cluster_domain}"))
}

/// The name for the kernel: the short one, or with `setHostnameAsFQDN` the full one.
///
/// # Errors
/// The kubelet's text if the full name is longer than the kernel takes.
pub fn kernel_hostname(
    hostname: &str,
    domain: Option<&str>,
    as_fqdn: bool,
) -> Result<String, String> {
    let Some(domain) = domain.filter(|d| as_fqdn && !d.is_empty()) else {
        return Ok(hostname.to_owned());
    };
    let fqdn = format!("{hostname}.{domain}");
    if fqdn.len() <= MAX_KERNEL_NAME {
        return Ok(fqdn);
    }
    Err(format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long \
         ({MAX_KERNEL_NAME} characters is the max, {} characters requested)",
        fqdn.len()
    ))
}

/// `spec.dnsPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsPolicy {
    /// Cluster DNS; as `Default` on the host's network.
    #[default]
    ClusterFirst,
    /// Cluster DNS also on the host's network.
    ClusterFirstWithHostNet,
    /// The host's settings.
    Default,
    /// Only `dnsConfig`.
    None,
}

impl DnsPolicy {
    /// Read `spec.dnsPolicy`; an absent or unknown one is the API's default.
    #[must_use]
    pub fn parse(policy: Option<&str>) -> Self {
        match policy {
            Some("ClusterFirstWithHostNet") => Self::ClusterFirstWithHostNet,
            Some("Default") => Self::Default,
            Some("None") => Self::None,
            _ => Self::ClusterFirst,
        }
    }
}

/// A name service configuration: what `resolv.conf` and `spec.dnsConfig` can say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsConfig {
    /// Servers, in order of preference.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options: name and value, if it has one.
    pub options: Vec<(String, Option<String>)>,
}

/// The name service of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDns {
    /// Its addresses.
    pub servers: Vec<IpAddr>,
    /// The cluster's domain, or empty.
    pub domain: String,
}

/// Something that the user should hear about, as an event of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The event's reason: `MissingClusterDNS` or `DNSConfigForming`.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

/// The pod as the name service sees it.
#[derive(Debug, Clone, Copy)]
pub struct DnsPod<'a> {
    /// `spec.dnsPolicy`.
    pub policy: DnsPolicy,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name, for the warnings.
    pub name: &'a str,
    /// The pod's UID, for the warnings.
    pub uid: &'a str,
    /// `spec.dnsConfig`.
    pub config: Option<&'a DnsConfig>,
}

/// The content of `/etc/resolv.conf` and what to warn about. `host_file` is the host's own.
#[must_use]
pub fn resolv_conf(
    pod: DnsPod<'_>,
    host_file: &str,
    cluster: Option<&ClusterDns>,
) -> (String, Vec<Warning>) {
    let host = parse_resolv_conf(host_file);
    let mut warnings = Vec::new();
    let mut config = match pod.policy {
        DnsPolicy::None => DnsConfig::default(),
        DnsPolicy::Default => host,
        DnsPolicy::ClusterFirst if pod.host_network => host,
        DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet => {
            match cluster.filter(|c| !c.servers.is_empty()) {
                Some(cluster) => cluster_first(cluster, pod.namespace, host),
                None => {
                    warnings.push(missing_cluster_dns(pod));
                    host
                }
            }
        }
    };
    if let Some(extra) = pod.config {
        merge(&mut config, extra);
    }
    limit(&mut config, &mut warnings);
    (render(&config), warnings)
}

/// Read a `resolv.conf` as the kubelet does: servers add up, the last `search` line counts.
#[must_use]
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    let bounded = text.get(..MAX_HOST_FILE).unwrap_or(text);
    for line in bounded.lines().filter(|l| !l.trim_start().starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.nameservers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                config.searches = words
                    .map(|w| w.trim_end_matches('.'))
                    .filter(|w| !w.is_empty())
                    .map(Into::into)
                    .collect();
            }
            Some("options") => {
                for word in words {
                    let (name, value) =
                        word.split_once(':').map_or((word, None), |(n, v)| (n, Some(v)));
                    set_option(&mut config.options, name, value);
                }
            }
            _ => {}
        }
    }
    config
}

fn cluster_first(cluster: &ClusterDns, namespace: &str, host: DnsConfig) -> DnsConfig {
    let domain = cluster.domain.as_str();
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches =
            vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    }
    searches.extend(host.searches);
    DnsConfig {
        nameservers: cluster.servers.iter().map(IpAddr::to_string).collect(),
        searches: unique(searches),
        options: vec![("ndots".into(), Some("5".into()))],
    }
}

fn merge(config: &mut DnsConfig, extra: &DnsConfig) {
    config.nameservers.extend_from_slice(&extra.nameservers);
    config.searches.extend_from_slice(&extra.searches);
    config.nameservers = unique(std::mem::take(&mut config.nameservers));
    config.searches = unique(std::mem::take(&mut config.searches));
    for (name, value) in &extra.options {
        set_option(&mut config.options, name, value.as_deref());
    }
}

fn set_option(options: &mut Vec<(String, Option<String>)>, name: &str, value: Option<&str>) {
    let value = value.map(str::to_owned);
    match options.iter_mut().find(|(n, _)| n == name) {
        Some(existing) => existing.1 = value,
        None => options.push((name.to_owned(), value)),
    }
}

fn unique(list: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    list.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

fn limit(config: &mut DnsConfig, warnings: &mut Vec<Warning>) {
    let mut warn = |message| warnings.push(Warning { reason: "DNSConfigForming", message });
    if config.nameservers.len() > MAX_NAMESERVERS {
        config.nameservers.truncate(MAX_NAMESERVERS);
        let line = config.nameservers.join(" ");
        warn(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {line}"
        ));
    }
    let before = config.searches.len();
    config.searches.retain(|s| s.len() <= MAX_SEARCH_LENGTH);
    config.searches.truncate(MAX_SEARCHES);
    while config.searches.iter().map(|s| s.len() + 1).sum::<usize>() > MAX_SEARCH_LINE + 1 {
        config.searches.pop();
    }
    if config.searches.len() < before {
        let line = config.searches.join(" ");
        warn(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {line}"
        ));
    }
}

fn missing_cluster_dns(pod: DnsPod<'_>) -> Warning {
    Warning {
        reason: "MissingClusterDNS",
        message: format!(
            "pod: \"{}_{}({})\". kubelet does not have ClusterDNS IP configured and cannot create Pod using \
             \"{}\" policy. Falling back to \"Default\" policy.",
            pod.name,
            pod.namespace,
            pod.uid,
            if pod.policy == DnsPolicy::ClusterFirst {
                "ClusterFirst"
            } else {
                "ClusterFirstWithHostNet"
            }
        ),
    }
}

fn render(config: &DnsConfig) -> String {
    let mut text = String::new();
    let mut line = |word: &str, rest: &str| {
        for part in [word, " ", rest, "\n"] {
            text.push_str(part);
        }
    };
    if !config.searches.is_empty() {
        line("search", &config.searches.join(" "));
    }
    for server in &config.nameservers {
        line("nameserver", server);
    }
    if !config.options.is_empty() {
        let words: Vec<_> = config
            .options
            .iter()
            .map(|(n, v)| v.as_ref().map_or_else(|| n.clone(), |v| format!("{n}:{v}")))
            .collect();
        line("options", &words.join(" "));
    }
    text
}

#[cfg(test)]
mod tests;
