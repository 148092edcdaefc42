//! The files that klet writes for a pod and binds into its containers.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use klet_api::{Container, Pod};
use klet_net::files::{
    ClusterDns, DnsConfig, DnsPod, DnsPolicy, HostAlias, HostsFor, etc_hosts, hostname,
    kernel_hostname as kernel_name, pod_domain, resolv_conf,
};
use klet_spec::mounts::ManagedFiles;

use super::{Identity, ids};
use crate::events::Severity;
use crate::files::write_atomically;
use crate::node::Node;

/// The node's own resolver configuration.
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";

/// Writes the files that all containers of the pod share.
///
/// # Errors
/// A file cannot be written.
pub fn write_pod_files(
    node: &Node,
    pod: &Pod,
    identity: &Identity,
    ips: &[IpAddr],
) -> anyhow::Result<()> {
    let dir = &identity.dir;
    write_atomically(&dir.join("etc-hosts"), hosts(node, pod, identity, ips).as_bytes())
        .context("cannot write the pod's /etc/hosts")?;
    let name = format!("{}\n", short_hostname(pod, identity));
    write_atomically(&dir.join("hostname"), name.as_bytes())?;
    let text = dns(node, pod, identity);
    write_atomically(&dir.join("resolv.conf"), text.as_bytes())
        .context("cannot write the pod's /etc/resolv.conf")
}

fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

fn short_hostname(pod: &Pod, identity: &Identity) -> String {
    hostname(pod.spec.as_ref().and_then(|spec| spec.hostname.as_deref()), &identity.name)
}

fn domain(node: &Node, pod: &Pod, identity: &Identity) -> Option<String> {
    let subdomain = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref());
    pod_domain(subdomain, &identity.namespace, &node.config.cluster_domain)
}

/// The name the pod's UTS namespace gets; the node's own for pods in its network.
///
/// # Errors
/// A fully qualified name that is too long for the kernel.
pub fn kernel_hostname(node: &Node, pod: &Pod, identity: &Identity) -> anyhow::Result<String> {
    if is_host_network(pod) {
        return Ok(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned());
    }
    let as_fqdn = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let domain = domain(node, pod, identity);
    kernel_name(&short_hostname(pod, identity), domain.as_deref(), as_fqdn)
        .map_err(|error| anyhow!(error))
}

fn hosts(node: &Node, pod: &Pod, identity: &Identity, ips: &[IpAddr]) -> String {
    let aliases: Vec<HostAlias> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.host_aliases.iter().flatten())
        .map(|alias| HostAlias {
            ip: alias.ip.clone(),
            hostnames: alias.hostnames.clone().unwrap_or_default(),
        })
        .collect();
    if is_host_network(pod) {
        let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        return etc_hosts(HostsFor::HostNetwork { host_file: &own }, &aliases);
    }
    let domain = domain(node, pod, identity);
    let name = short_hostname(pod, identity);
    etc_hosts(HostsFor::Pod { ips, hostname: &name, domain: domain.as_deref() }, &aliases)
}

fn dns(node: &Node, pod: &Pod, identity: &Identity) -> String {
    let spec = pod.spec.as_ref();
    let config = spec.and_then(|spec| spec.dns_config.as_ref()).map(|config| DnsConfig {
        nameservers: config.nameservers.clone().unwrap_or_default(),
        searches: config.searches.clone().unwrap_or_default(),
        options: config
            .options
            .iter()
            .flatten()
            .map(|option| (option.name.clone().unwrap_or_default(), option.value.clone()))
            .collect(),
    });
    let cluster = node.config.cluster_dns.map(|server| ClusterDns {
        servers: vec![IpAddr::V4(server)],
        domain: node.config.cluster_domain.clone(),
    });
    let asked = DnsPod {
        policy: DnsPolicy::parse(spec.and_then(|spec| spec.dns_policy.as_deref())),
        host_network: is_host_network(pod),
        namespace: &identity.namespace,
        name: &identity.name,
        uid: &identity.uid,
        config: config.as_ref(),
    };
    let host = std::fs::read_to_string(HOST_RESOLV_CONF).unwrap_or_default();
    let (text, warnings) = resolv_conf(asked, &host, cluster.as_ref());
    for warning in warnings {
        node.events.pod(pod, Severity::Warning, warning.reason, warning.message);
    }
    text
}

/// The files of one container: the pod's, and a new termination log.
///
/// # Errors
/// The termination log cannot be made.
pub fn for_container(identity: &Identity, container: &Container) -> anyhow::Result<ManagedFiles> {
    let present = |name: &str| -> Option<PathBuf> { Some(identity.dir.join(name)) };
    let directory = identity.dir.join("containers").join(&container.name);
    std::fs::create_dir_all(&directory)?;
    let log = directory.join(ids::short()?);
    std::fs::write(&log, b"")?;
    // Any user of the container may leave a last word.
    std::fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    Ok(ManagedFiles {
        hosts: present("etc-hosts"),
        resolv_conf: present("resolv.conf"),
        hostname: present("hostname"),
        termination_log: Some((log, path.to_owned())),
        shm: identity.run.shm(),
    })
}
