//! The exact texts, and the limits.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn etc_hosts_is_the_kubelets() {
    let ips = [ip("10.1.2.3"), ip("fd00::3")];
    let aliases = [HostAlias {
        ip: "1.2.3.4".into(),
        hostnames: vec!["a.example".into(), "b.example".into()],
    }];
    let pod =
        HostsFor::Pod { ips: &ips, hostname: "web", domain: Some("sub.ns.svc.cluster.local") };
    assert_eq!(
        etc_hosts(pod, &aliases),
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n\
         10.1.2.3\tweb.sub.ns.svc.cluster.local\tweb\nfd00::3\tweb.sub.ns.svc.cluster.local\tweb\n\
         \n# Entries added by HostAliases.\n1.2.3.4\ta.example\tb.example\n"
    );
    let plain = HostsFor::Pod { ips: &ips[..1], hostname: "web", domain: None };
    assert!(etc_hosts(plain, &[]).ends_with("ip6-allrouters\n10.1.2.3\tweb\n"));
    let host = HostsFor::HostNetwork { host_file: "127.0.0.1 localhost\n" };
    assert_eq!(
        etc_hosts(host, &[]),
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"
    );
}

#[test]
fn host_names_are_cut_and_trimmed() {
    assert_eq!(hostname(Some("h"), "pod"), "h");
    assert_eq!(hostname(None, "pod"), "pod");
    assert_eq!(hostname(Some(""), "pod"), "pod");
    let long = format!("{}-.{}", "a".repeat(61), "b".repeat(20));
    assert_eq!(hostname(None, &long), "a".repeat(61));
    assert_eq!(
        pod_domain(Some("s"), "n", "cluster.local").as_deref(),
        Some("s.n.svc.cluster.local")
    );
    assert_eq!(kernel_hostname("h", Some("d"), false).unwrap(), "h");
    assert_eq!(kernel_hostname("h", Some("d"), true).unwrap(), "h.d");
    let error = kernel_hostname("h", Some(&"d".repeat(70)), true).unwrap_err();
    assert!(
        error.ends_with("is too long (64 characters is the max, 72 characters requested)"),
        "{error}"
    );
}

const HOST: &str = "# c\nnameserver 1.1.1.1\nsearch old\nnameserver 2.2.2.2\nsearch corp. . lan\noptions timeout:2 rotate\n";

fn pod(policy: DnsPolicy, config: Option<&DnsConfig>) -> DnsPod<'_> {
    DnsPod { policy, host_network: false, namespace: "ns", name: "p", uid: "u", config }
}

#[test]
fn resolv_conf_follows_the_policy() {
    let cluster = ClusterDns { servers: vec![ip("10.96.0.10")], domain: "cluster.local".into() };
    let first = "search ns.svc.cluster.local svc.cluster.local cluster.local corp lan\nnameserver 10.96.0.10\noptions ndots:5\n";
    let host =
        "search corp lan\nnameserver 1.1.1.1\nnameserver 2.2.2.2\noptions timeout:2 rotate\n";
    let text = |pod| resolv_conf(pod, HOST, Some(&cluster)).0;
    assert_eq!(text(pod(DnsPolicy::ClusterFirst, None)), first);
    assert_eq!(text(DnsPod { host_network: true, ..pod(DnsPolicy::ClusterFirst, None) }), host);
    assert_eq!(
        text(DnsPod { host_network: true, ..pod(DnsPolicy::ClusterFirstWithHostNet, None) }),
        first
    );
    assert_eq!(text(pod(DnsPolicy::Default, None)), host);
    assert_eq!(text(pod(DnsPolicy::None, None)), "");
    let (fallback, warnings) = resolv_conf(pod(DnsPolicy::ClusterFirst, None), HOST, None);
    assert_eq!(fallback, host);
    assert_eq!(warnings[0].reason, "MissingClusterDNS");
}

#[test]
fn dns_config_is_appended_and_its_options_win() {
    let extra = DnsConfig {
        nameservers: vec!["2.2.2.2".into(), "3.3.3.3".into()],
        searches: vec!["lan".into(), "x".into()],
        options: vec![("timeout".into(), Some("9".into())), ("edns0".into(), None)],
    };
    let (text, warnings) = resolv_conf(pod(DnsPolicy::Default, Some(&extra)), HOST, None);
    assert_eq!(
        text,
        "search corp lan x\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n\
         options timeout:9 rotate edns0\n"
    );
    assert!(warnings.is_empty());
}

#[test]
fn excess_is_dropped_with_a_warning() {
    let extra = DnsConfig {
        nameservers: (1..=4).map(|i| format!("9.9.9.{i}")).collect(),
        searches: (0..40).map(|i| format!("{i:0>100}")).chain(["z".repeat(254)]).collect(),
        options: Vec::new(),
    };
    let (text, warnings) = resolv_conf(pod(DnsPolicy::None, Some(&extra)), "", None);
    assert_eq!(text.matches("nameserver").count(), 3);
    let search = text.lines().next().unwrap().strip_prefix("search ").unwrap();
    assert!(search.len() <= 2048 && search.split(' ').count() == 20, "{}", search.len());
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings[0].message.ends_with("the applied nameserver line is: 9.9.9.1 9.9.9.2 9.9.9.3")
    );
}
