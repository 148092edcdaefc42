//! Configuration: flags, then `/etc/klet/kletd.toml`, then defaults.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use serde::Deserialize;

use crate::socket::check_lengths;

/// `kletd`: runs Kubernetes pods on this machine.
#[derive(Debug, Clone, Default, Parser, Deserialize)]
#[command(
    name = "kletd",
    version,
    about = "Runs Kubernetes pods on this machine, without a cluster"
)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Flags {
    /// Configuration file; every key in it is one of these flags
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Durable state: objects, images, snapshots [default: /var/lib/klet]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// State that ends with a reboot: sockets, shims [default: /run/klet]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Container logs [default: /var/log/pods]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Static pods [default: /etc/klet/manifests]
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Where the API socket is [default: klet.sock in --run]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The cgroup below which pods live [default: /kubepods]
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Address range of pods [default: 10.88.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,
    /// Name of the bridge that pods are attached to [default: klet0]
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// DNS domain of the cluster [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// DNS server of pods with the ClusterFirst policy [default: none, such pods use the host's]
    #[arg(long, value_name = "IP")]
    pub cluster_dns: Option<Ipv4Addr>,
    /// Most processes in one pod [default: 4096]
    #[arg(long, value_name = "N")]
    pub pod_pids_limit: Option<i64>,
    /// Sysctls that pods may set beside the safe ones, such as net.core.somaxconn or net.*
    /// [default: none]
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub allowed_unsafe_sysctls: Option<Vec<String>>,
    /// Least level of log lines: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// The settled configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub root: PathBuf,
    pub run: PathBuf,
    pub log_dir: PathBuf,
    pub manifests: PathBuf,
    pub socket: PathBuf,
    pub cgroup_parent: String,
    pub node_name: String,
    pub pod_cidr: String,
    pub bridge: String,
    pub cluster_domain: String,
    pub cluster_dns: Option<Ipv4Addr>,
    pub pod_pids_limit: i64,
    pub allowed_unsafe_sysctls: Vec<String>,
    pub log_level: tracing::Level,
}

const DEFAULT_FILE: &str = "/etc/klet/kletd.toml";

impl Config {
    /// Reads the configuration file and lets the flags win.
    ///
    /// # Errors
    /// A file that was named but cannot be read, an unknown key, a value that makes no sense.
    pub fn load(flags: Flags) -> anyhow::Result<Self> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => Flags::default(),
        };
        Self::settle(flags, file)
    }

    fn settle(flags: Flags, file: Flags) -> anyhow::Result<Self> {
        let run = flags.run.or(file.run).unwrap_or_else(|| "/run/klet".into());
        let cgroup_parent =
            flags.cgroup_parent.or(file.cgroup_parent).unwrap_or_else(|| "/kubepods".into());
        if !cgroup_parent.starts_with('/') || cgroup_parent.split('/').any(|part| part == "..") {
            bail!("--cgroup-parent {cgroup_parent:?} must be an absolute path without \"..\"");
        }
        let socket = flags.socket.or(file.socket).unwrap_or_else(|| run.join("klet.sock"));
        check_lengths(&run, &socket)?;
        let level = flags.log_level.or(file.log_level).unwrap_or_else(|| "info".into());
        Ok(Self {
            socket,
            root: flags.root.or(file.root).unwrap_or_else(|| "/var/lib/klet".into()),
            log_dir: flags.log_dir.or(file.log_dir).unwrap_or_else(|| "/var/log/pods".into()),
            manifests: flags
                .manifests
                .or(file.manifests)
                .unwrap_or_else(|| "/etc/klet/manifests".into()),
            node_name: match flags.node_name.or(file.node_name) {
                Some(name) => name,
                None => host_name()?,
            },
            pod_cidr: flags.pod_cidr.or(file.pod_cidr).unwrap_or_else(|| "10.88.0.0/16".into()),
            bridge: flags.bridge.or(file.bridge).unwrap_or_else(|| "klet0".into()),
            cluster_domain: flags
                .cluster_domain
                .or(file.cluster_domain)
                .unwrap_or_else(|| "cluster.local".into()),
            cluster_dns: flags.cluster_dns.or(file.cluster_dns),
            pod_pids_limit: flags.pod_pids_limit.or(file.pod_pids_limit).unwrap_or(4096),
            allowed_unsafe_sysctls: flags
                .allowed_unsafe_sysctls
                .or(file.allowed_unsafe_sysctls)
                .unwrap_or_default(),
            log_level: level.parse().with_context(|| {
                format!("--log-level {level:?} is none of error, warn, info, debug, trace")
            })?,
            run,
            cgroup_parent,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Flags> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    parse(&text)
        .map_err(|(line, column, message)| anyhow!("{}:{line}:{column}: {message}", path.display()))
}

/// Line, column and text of what is wrong.
fn parse(text: &str) -> Result<Flags, (usize, usize, String)> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text[..text.floor_char_boundary(start)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        (line, column, error.message().to_owned())
    })
}

/// The host's name as a node name: lower case.
fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("cannot read the host name")?;
    Ok(name.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file: Flags =
            toml::from_str("root = \"/f\"\nrun = \"/fr\"\nnode-name = \"n\"").unwrap();
        let flags = Flags::parse_from(["kletd", "--root", "/x"]);
        let config = Config::settle(flags, file).unwrap();
        assert_eq!(config.root, Path::new("/x"));
        assert_eq!(config.socket, Path::new("/fr/klet.sock"));
        assert_eq!(config.cgroup_parent, "/kubepods");
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused() {
        let (line, column, message) = parse("run = \"/r\"\nrot = \"/f\"\n").unwrap_err();
        assert_eq!((line, column), (2, 1));
        assert!(message.contains("unknown field `rot`, expected one of"), "{message}");
        assert_eq!(parse("run = \"/r").unwrap_err().0, 1);
        let bad = Flags { cgroup_parent: Some("/a/../b".into()), ..Flags::default() };
        assert!(Config::settle(bad, Flags::default()).is_err());
        let bad = Flags { log_level: Some("loud".into()), ..Flags::default() };
        assert!(Config::settle(bad, Flags::default()).is_err());
    }
}
