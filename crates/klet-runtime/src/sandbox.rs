//! The process that holds a pod's shared namespaces.

use std::os::fd::OwnedFd;

use klet_sys::capability::Set;
use klet_sys::mount::FileSystem;
use klet_sys::{SysError, fd, memfd, namespace};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::cgroup::Cgroups;
use crate::error::StartError;
use crate::input::{SandboxInput, StartedSandbox, Stdio};
use crate::launch::{Launch, Undo, entrance};
use crate::plan::{CapabilitySets, Identity, PlanError, Step, sysctl};
use crate::prepare::{Sources, Streams, prepare};

/// The user the sandbox process runs as, the one of Kubernetes' pause image.
const PAUSE_USER: u32 = 65535;

/// Starts the sandbox: namespaces, their kernel parameters and host name, and the pause program on an
/// empty read-only root. The caller must be single-threaded.
///
/// # Errors
/// [`StartError`]; namespaces, process and cgroup are gone again.
pub fn start_sandbox(
    input: &SandboxInput<'_>,
    cgroups: &Cgroups,
) -> Result<StartedSandbox, StartError> {
    let steps = plan(input)?;
    let undo = Undo::new(cgroups.container(input.cgroup));
    undo.cgroup().create()?;
    let (tasks, cgroup) = entrance(undo.cgroup())?;
    let network = input.new_network.then(Network::new).transpose().map_err(StartError::prepare)?;
    let joined = network.as_ref().map(|network| network.namespace.try_clone());
    let joined =
        joined.transpose().map_err(|_| StartError::prepare(SysError::new("dup", libc::EMFILE)))?;
    let arguments = ["/pause".to_owned()];
    let sources = Sources {
        rootfs: None,
        process: None,
        host_mounts: None,
        filter: None,
        arguments: &arguments,
        environment: Vec::new(),
        cgroup_v2: cgroups.is_v2(),
        tasks,
        namespaces: joined.into_iter().collect(),
        root: Some(empty_root().map_err(StartError::prepare)?),
        image: Some(memfd::sealed(c"pause", input.pause).map_err(StartError::prepare)?),
    };
    let prepared = prepare(&steps, sources)?;
    let streams = null_streams().map_err(StartError::prepare)?;
    let launch = Launch {
        steps: &steps,
        prepared,
        streams,
        namespaces: namespaces(input),
        process_namespace: None,
        cgroup,
    };
    let launched = launch.run(|| false)?;
    let (network_namespace, route_socket) = network.map(|n| (n.namespace, n.route)).unzip();
    Ok(StartedSandbox {
        pid: launched.pid,
        pidfd: launched.pidfd,
        cgroup: undo.keep(),
        network_namespace,
        route_socket,
        warnings: launched.warnings,
    })
}

fn namespaces(input: &SandboxInput<'_>) -> i32 {
    let wanted = [
        (true, libc::CLONE_NEWNS),
        (input.new_ipc, libc::CLONE_NEWIPC),
        (input.new_pid, libc::CLONE_NEWPID),
        (input.new_uts, libc::CLONE_NEWUTS),
    ];
    wanted.into_iter().filter(|(wanted, _)| *wanted).fold(0, |flags, (_, flag)| flags | flag)
}

fn plan(input: &SandboxInput<'_>) -> Result<Vec<Step>, PlanError> {
    let mut steps = vec![Step::EnterCgroup, Step::OomScoreAdj(input.oom_score_adj)];
    if input.new_network {
        steps.push(Step::JoinNamespace("network".to_owned()));
    }
    for (name, value) in input.sysctls {
        steps.push(sysctl(name, value, input.new_network, input.new_ipc)?);
    }
    if input.new_uts {
        steps.push(Step::HostName(input.hostname.to_owned()));
    }
    let identity = Identity { user: PAUSE_USER, group: PAUSE_USER, groups: Vec::new() };
    steps.extend([
        Step::SlavePropagation,
        Step::AttachRoot,
        Step::Pivot,
        Step::StandardStreams,
        Step::NewKeyring,
        Step::Bound(Set(0)),
        Step::User(identity),
        Step::Capabilities(CapabilitySets::default()),
        Step::NoNewPrivileges,
        Step::CleanUp,
        Step::Execute("/pause".to_owned()),
    ]);
    Ok(steps)
}

fn empty_root() -> Result<OwnedFd, SysError> {
    let root = FileSystem::open(c"tmpfs")?;
    for (key, value) in [(c"mode", c"555"), (c"nr_blocks", c"1"), (c"nr_inodes", c"1")] {
        root.set(key, value)?;
    }
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    root.mount(attributes | libc::MOUNT_ATTR_NOEXEC)
}

/// The sandbox has no files, so its streams are the host's null device.
fn null_streams() -> Result<Streams, SysError> {
    let null = || fd::above_standard_streams(fd::open(c"/dev/null", OFlags::RDWR)?);
    Ok(Streams::Plain(Stdio { stdin: Some(null()?), stdout: null()?, stderr: null()? }))
}

/// A new network namespace and a socket to configure it with. The caller visits it to make the
/// socket, because a socket belongs to the namespace it was made in.
struct Network {
    namespace: OwnedFd,
    route: OwnedFd,
}

impl Network {
    fn new() -> Result<Self, SysError> {
        let own = fd::open(c"/proc/thread-self/ns/net", OFlags::RDONLY)?;
        namespace::unshare(libc::CLONE_NEWNET)?;
        let made = Self::visit();
        namespace::join(&own).expect("a process may always return to its own network namespace");
        made
    }

    fn visit() -> Result<Self, SysError> {
        let namespace = fd::open(c"/proc/thread-self/ns/net", OFlags::RDONLY)?;
        // Protocol 0 of the family is NETLINK_ROUTE.
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let route = socket_with(family, kind, SocketFlags::CLOEXEC, None)
            .map_err(|errno| SysError::new("socket(NETLINK_ROUTE)", errno.raw_os_error()))?;
        Ok(Self { namespace, route })
    }
}
