//! `kletd`: runs Kubernetes pods on this machine.
//!
//! This file only wires the parts together; `docs/architecture.md` says where each thing lives.
#![forbid(unsafe_code)]

mod api;
mod config;
mod events;
mod files;
mod http;
mod machine;
mod node;
mod node_object;
mod objects;
mod pod;
mod prober;
mod qos;
mod repair;
mod shim;
mod socket;
mod static_pods;
mod timeline;
mod wait;

use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use klet_api::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use klet_apiserver::{ApiServer, Registry};
use klet_cgroup::Cgroups;
use klet_image::ImageStore;
use klet_net::{NetConfig, Network};
use klet_pod::NodeFacts;
use klet_spec::resources;
use klet_store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use api::Backend;
use config::{Config, Flags};
use node::{Node, NodeRef};
use pod::dispatch::{self, Workers};
use qos::Classes;

/// Files that kletd may want to hold open.
const FILES: u64 = 8192;
/// How often old events are removed.
const EVENT_EXPIRY: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("kletd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    let config = Config::load(flags)?;
    start_logging(config.log_level);
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One thread runs what waits, another pool what blocks: two would wake each other for every event.
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // On a worker, where accepting a connection and answering it need not wake each other.
    runtime.block_on(async { tokio::spawn(serve(config)).await? })
}

/// Descriptors enough for a thousand watches and hundreds of pods, as far as the machine allows.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = FILES.min(hard);
    if soft < wanted
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        tracing::warn!(%error, "kletd may open no more than {soft} files");
    }
}

fn start_logging(level: tracing::Level) {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(coloured)
        .with_target(false);
    tracing_subscriber::registry().with(format).with(Targets::new().with_default(level)).init();
}

async fn serve(config: Config) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("kletd must run as root: it makes namespaces, mounts and cgroups");
    }
    if let Some(lacking) = klet_sys::features::lacking() {
        bail!(
            "the kernel, or a filter of system calls around kletd, lacks {}(2), which Linux has since \
             {}: kletd needs Linux 5.12 or later",
            lacking.call,
            lacking.since
        );
    }
    for directory in [&config.root, &config.run] {
        make_private(directory)?;
    }
    let opened = objects::open(&config.root.join("store")).await?;
    let store = opened.store;
    // Before anything is made that two daemons would fight about.
    socket::must_be_free(&config.socket)?;
    let pods = config.root.join("pods");
    make_private(&pods)?;
    klet_volume::share(&pods)
        .with_context(|| format!("cannot share mounts below {}", pods.display()))?;
    let node = make_node(config, &store)?;
    node.registry.ensure_defaults().await.context("cannot create the first namespaces")?;
    tokio::spawn(node_object::keep_trying(node.clone()));
    if let Some(restore) = opened.restore {
        objects::restore(&node, restore).await?;
    }
    let workers = Workers::default();
    let backend = Arc::new(Backend { node: node.clone(), workers: workers.clone() });
    let server = ApiServer::new(klet_apiserver::Config {
        store,
        node_name: node.config.node_name.clone(),
        node: backend.clone(),
        admission: Arc::new(api::admission::OneNode { ledger: node.ledger.clone() }),
        extension: Some(backend),
    });
    let listener = socket::listen(&node.config.socket)?;
    tokio::spawn(dispatch::follow_sources::<ConfigMap>(node.clone(), workers.clone()));
    tokio::spawn(dispatch::follow_sources::<Secret>(node.clone(), workers.clone()));
    tokio::spawn(dispatch::run(node.clone(), workers));
    tokio::spawn(expire_events(node.clone()));
    tokio::spawn(static_pods::run(node.clone()));
    tokio::spawn(repair::run(node.clone()));
    tracing::info!(socket = %node.config.socket.display(), node = node.config.node_name, "ready");
    // Not being under systemd is fine.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    klet_apiserver::serve_unix(listener, server, terminated()?).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = std::fs::remove_file(&node.config.socket);
    tracing::info!("stopped; pods go on running");
    Ok(())
}

fn make_node(config: Config, store: &Store) -> anyhow::Result<NodeRef> {
    let cgroups = Cgroups::detect().context("cannot find the control groups")?;
    for controller in cgroups.missing() {
        tracing::warn!("the {controller} cgroup controller is missing: its limits cannot be kept");
    }
    let pod_cidr = config
        .pod_cidr
        .parse()
        .with_context(|| format!("--pod-cidr {:?} is not an IPv4 range", config.pod_cidr))?;
    let network = NetConfig {
        bridge: config.bridge.clone(),
        pod_cidr,
        ..NetConfig::new(config.root.join("net"))
    };
    let gateway = network.gateway();
    let registry = Registry::new(store.clone());
    let machine = machine::look(cgroups.is_v2());
    let all = resources::node(machine::cpus() as i128 * 1000, machine.memory_bytes);
    let classes = Classes::open(cgroups.clone(), &config.cgroup_parent, &all)?;
    let allocatable = machine::allocatable(&machine, &config.root);
    let offer = klet_pod::fit::Offer {
        name: config.node_name.clone(),
        labels: node_object::labels(&config.node_name),
        allocatable: allocatable.clone(),
        unsafe_sysctls: config.allowed_unsafe_sysctls.clone(),
    };
    let launcher =
        shim::Launcher::new(config.run.clone(), config.cgroup_parent.clone(), cgroups.clone())?;
    Ok(Arc::new(Node {
        images: ImageStore::open(&config.root).context("cannot open the image store")?,
        network: Network::open(network).context("cannot set up the pod network")?,
        events: events::Recorder::start(registry.clone(), &config.node_name),
        timelines: timeline::Timelines::default(),
        facts: NodeFacts { name: config.node_name.clone(), host_ips: machine::host_ips(gateway) },
        ledger: pod::ledger::Ledger::new(offer),
        allocatable,
        adopting: !pod::orphans::names(&config.run.join("pods")).is_empty(),
        started: Instant::now(),
        machine,
        registry,
        cgroups,
        classes,
        launcher,
        config,
    }))
}

fn make_private(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot prepare the directory {}", directory.display()))
}

fn terminated() -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // The terminal it was started from may close: from here on its signal ends nobody.
    let _ = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn expire_events(node: NodeRef) {
    let mut ticks = tokio::time::interval(EVENT_EXPIRY);
    loop {
        ticks.tick().await;
        events::expire(&node.registry).await;
    }
}
