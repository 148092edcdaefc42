//! The pod network of this machine: leases, bridge, pairs and host ports brought together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use klet_sys::netlink::{self, Socket};

use crate::bridge::{self, Bridge};
use crate::error::NetError;
use crate::lease::{LeaseDir, Leases, Record, check_uid};
use crate::link::{self, POD_INTERFACE, Veth, errno};
use crate::model::{Attachment, HostPort, Lease, NetConfig, Report};
use crate::ports::{self, host_port_conflict};
use crate::ruleset::{self, Target};
use crate::sysctl;

const MAX_INTERFACE_NAME: usize = 15;
const MAX_TABLE_NAME: usize = 64;

/// The pod network. All calls are synchronous and may come from any thread of the network namespace
/// in which it was opened; calls for one pod must not overlap.
#[derive(Debug)]
pub struct Network {
    config: NetConfig,
    dir: LeaseDir,
    leases: Mutex<Leases>,
    bridge: Mutex<Bridge>,
    /// Held over every change of the table, so that a rebuild never works from old records.
    table: Mutex<()>,
}

impl Network {
    /// Bring the network up: bridge, forwarding, table; and read the leases back.
    ///
    /// # Errors
    /// [`NetError::Clash`] if the host already uses a part of the pod range; [`NetError::Config`],
    /// [`NetError::File`], [`NetError::Kernel`].
    pub fn open(config: NetConfig) -> Result<Self, NetError> {
        check(&config)?;
        let dir = LeaseDir::open(&config.state_dir)?;
        let (records, cursor) = dir.load()?;
        let (bridge, _) = bridge::ensure(&mut route_socket()?, &config)?;
        sysctl::enable_forwarding(&config.state_dir)?;
        sysctl::ignore_router_advertisements(&config.bridge);
        let leases = Mutex::new(Leases::new(config.pod_cidr, records, cursor));
        let network =
            Self { config, dir, leases, bridge: Mutex::new(bridge), table: Mutex::new(()) };
        network.rebuild_table()?;
        Ok(network)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &NetConfig {
        &self.config
    }

    /// Reserve an address for the pod, on record. The same again for a pod that has one.
    ///
    /// # Errors
    /// [`NetError::Exhausted`], [`NetError::PodUid`], [`NetError::File`].
    pub fn lease(&self, pod_uid: &str) -> Result<Lease, NetError> {
        check_uid(pod_uid)?;
        let (record, new) = lock(&self.leases).reserve(pod_uid)?;
        if new {
            if let Err(error) = self.dir.store(pod_uid, &record) {
                lock(&self.leases).remove(pod_uid);
                return Err(error);
            }
            self.dir.store_cursor(record.ip);
        }
        Ok(Lease {
            ip: record.ip,
            prefix: self.config.pod_cidr.prefix_len(),
            gateway: self.config.gateway(),
        })
    }

    /// Put a pod on the network. `netns` is its network namespace and `route_socket` a
    /// `NETLINK_ROUTE` socket opened inside of it. Either everything is done or nothing remains;
    /// a repetition makes the pair anew.
    ///
    /// # Errors
    /// [`NetError::NotLeased`], [`NetError::HostPort`] if another pod has a port,
    /// [`NetError::HostPortTaken`] if another process has, [`NetError::Kernel`].
    pub fn attach(
        &self,
        pod_uid: &str,
        lease: &Lease,
        netns: BorrowedFd<'_>,
        route_socket: OwnedFd,
        host_ports: &[HostPort],
    ) -> Result<Attachment, NetError> {
        // Held from the claim to the opening: who looks in between would miss the elements.
        let table = (!host_ports.is_empty()).then(|| lock(&self.table));
        self.claim_ports(pod_uid, lease, host_ports)?;
        let name = bridge::veth_name(pod_uid);
        let done = self
            .make_pair(&name, lease, netns)
            .and_then(|()| configure_inside(Socket::from_fd(route_socket), lease))
            .and_then(|()| match &table {
                Some(table) => self.open_ports(host_ports, lease.ip, table),
                None => Ok(()),
            });
        if let Err(error) = done {
            self.undo(pod_uid, &name, lease.ip, host_ports, table.as_ref());
            return Err(error);
        }
        Ok(Attachment { host_interface: name, ips: vec![lease.ip] })
    }

    /// Take a pod off the network: its host ports and its lease. The interface dies with the pod's
    /// namespace (removing it here would wait for the kernel's grace period); one that does not is
    /// found by [`Network::reconcile`]. Repeatable.
    ///
    /// # Errors
    /// [`NetError::PodUid`], [`NetError::File`], [`NetError::Kernel`]: call again.
    pub fn detach(&self, pod_uid: &str) -> Result<(), NetError> {
        check_uid(pod_uid)?;
        let Some(record) = lock(&self.leases).get(pod_uid).cloned() else {
            return self.dir.remove(pod_uid);
        };
        // Held until the lease is gone: who looks in between would put the elements back.
        let table = (!record.host_ports.is_empty()).then(|| lock(&self.table));
        if let Some(table) = &table {
            self.close_ports(&record.host_ports, record.ip, table)?;
        }
        self.dir.remove(pod_uid)?;
        lock(&self.leases).remove(pod_uid);
        Ok(())
    }

    /// Make the network be what it should for these pods: remove leases, interfaces and elements
    /// without owner, restore bridge and table if somebody removed or changed them.
    ///
    /// # Errors
    /// [`NetError::File`], [`NetError::Kernel`]; what was done until then stays done.
    pub fn reconcile(&self, live: &BTreeSet<String>) -> Result<Report, NetError> {
        let mut removed = Vec::new();
        let dead: Vec<String> = lock(&self.leases)
            .records()
            .keys()
            .filter(|uid| !live.contains(*uid))
            .cloned()
            .collect();
        for uid in dead {
            self.detach(&uid)?;
            removed.push(uid);
        }
        Ok(Report { leases_removed: removed, ..self.repair()? })
    }

    /// Restore what somebody else removed or changed: bridge, forwarding, the pods' interfaces on
    /// the bridge, the table. Leases stay as they are.
    ///
    /// # Errors
    /// [`NetError::File`], [`NetError::Kernel`]; what was done until then stays done.
    pub fn repair(&self) -> Result<Report, NetError> {
        let mut report = Report::default();
        let mut socket = route_socket()?;
        let (bridge, restored) = bridge::ensure(&mut socket, &self.config)?;
        *lock(&self.bridge) = bridge;
        report.bridge_restored = restored;
        if restored {
            sysctl::ignore_router_advertisements(&self.config.bridge);
        }
        sysctl::enable_forwarding(&self.config.state_dir)?;
        let owned = lock(&self.leases).records().keys().map(|uid| bridge::veth_name(uid)).collect();
        report.interfaces_removed = bridge::sweep(&mut socket, &bridge, &owned)?;
        report.table_restored = self.verify_table()?;
        Ok(report)
    }

    /// Which of `wanted` another pod than `pod_uid` has, and that pod's UID.
    #[must_use]
    pub fn host_port_owner(
        &self,
        pod_uid: &str,
        wanted: &[HostPort],
    ) -> Option<(HostPort, String)> {
        find_conflict(lock(&self.leases).records(), pod_uid, wanted)
    }

    /// Leave the host as it was before klet: remove the table and the bridge (the pods' interfaces
    /// with it) and put forwarding back. For the removal of klet, with no pod running. Repeatable.
    ///
    /// # Errors
    /// [`NetError::File`], [`NetError::Kernel`].
    pub fn uninstall(self) -> Result<(), NetError> {
        let mut socket = route_socket()?;
        let bridge = *lock(&self.bridge);
        bridge::sweep(&mut socket, &bridge, &BTreeSet::new())?;
        if let Some(link) =
            link::find(&mut socket, &self.config.bridge).map_err(self.on_bridge("find"))?
        {
            socket.request(link::delete(link.index)).map_err(self.on_bridge("remove"))?;
        }
        ruleset::drop_table(&mut filter_socket()?, &self.config)
            .map_err(self.on_table("remove"))?;
        sysctl::restore_forwarding(&self.config.state_dir)
    }

    /// Check that the pod holds the lease and that its host ports are free, and record them
    /// before the first packet can arrive.
    fn claim_ports(
        &self,
        pod_uid: &str,
        lease: &Lease,
        host_ports: &[HostPort],
    ) -> Result<(), NetError> {
        check_uid(pod_uid)?;
        let before = lock(&self.leases).get(pod_uid).map(|record| record.host_ports.clone());
        for port in host_ports.iter().filter(|port| !before.iter().flatten().any(|b| b == *port)) {
            ports::must_be_free(port)?;
        }
        let record = {
            let mut leases = lock(&self.leases);
            let mut record =
                leases.get(pod_uid).filter(|r| r.ip == lease.ip).cloned().ok_or_else(|| {
                    NetError::NotLeased { pod_uid: pod_uid.to_owned(), ip: lease.ip }
                })?;
            if let Some((port, owner)) = find_conflict(leases.records(), pod_uid, host_ports) {
                return Err(NetError::HostPort { port, owner });
            }
            if record.host_ports == host_ports {
                return Ok(());
            }
            record.host_ports = host_ports.to_vec();
            leases.put(pod_uid, record.clone());
            record
        };
        self.dir.store(pod_uid, &record)
    }

    fn make_pair(&self, name: &str, lease: &Lease, netns: BorrowedFd<'_>) -> Result<(), NetError> {
        let bridge = *lock(&self.bridge);
        let mut socket = route_socket()?;
        let veth = Veth {
            name,
            bridge: bridge.index,
            mtu: bridge.mtu,
            mac: bridge::mac_of(lease.ip),
            netns,
        };
        match socket.request(link::new_veth(&veth)) {
            // Left by an attempt that was interrupted, or still dying with the pod's last sandbox.
            Err(error) if error.errno() == Some(errno::EEXIST) => {
                remove_link(&mut socket, name).map_err(NetError::kernel("remove", name))?;
                socket.request(link::new_veth(&veth)).map_err(NetError::kernel("create", name))?;
            }
            other => other.map_err(NetError::kernel("create", name))?,
        }
        let made = link::find(&mut socket, name).map_err(NetError::kernel("find", name))?;
        let Some(made) = made else { return Ok(()) };
        socket.request(link::allow_hairpin(made.index)).map_err(NetError::kernel("configure", name))
    }

    /// Best effort: the error that made it necessary is the one to report.
    fn undo(
        &self,
        pod_uid: &str,
        name: &str,
        ip: Ipv4Addr,
        host_ports: &[HostPort],
        table: Option<&MutexGuard<'_, ()>>,
    ) {
        let closed = table.map_or(Ok(()), |table| self.close_ports(host_ports, ip, table));
        let outcome = closed.and_then(|()| {
            let record = Record { ip, host_ports: Vec::new() };
            lock(&self.leases).put(pod_uid, record.clone());
            self.dir.store(pod_uid, &record)?;
            remove_link(&mut route_socket()?, name).map_err(NetError::kernel("remove", name))
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, pod_uid, "cannot undo all of a failed attachment");
        }
    }

    fn open_ports(
        &self,
        ports: &[HostPort],
        ip: Ipv4Addr,
        _table: &MutexGuard<'_, ()>,
    ) -> Result<(), NetError> {
        ruleset::add(&mut filter_socket()?, &self.config, &targets(ports, ip))
            .map_err(self.on_table("add host ports to"))
    }

    fn close_ports(
        &self,
        ports: &[HostPort],
        ip: Ipv4Addr,
        _table: &MutexGuard<'_, ()>,
    ) -> Result<(), NetError> {
        ruleset::remove(&mut filter_socket()?, &self.config, &targets(ports, ip))
            .map_err(self.on_table("remove host ports from"))
    }

    fn rebuild_table(&self) -> Result<(), NetError> {
        let _table = lock(&self.table);
        ruleset::rebuild(&mut filter_socket()?, &self.config, &self.all_targets())
            .map_err(self.on_table("write"))
    }

    fn verify_table(&self) -> Result<bool, NetError> {
        let _table = lock(&self.table);
        let mut socket = filter_socket()?;
        let targets = self.all_targets();
        if ruleset::is_intact(&mut socket, &self.config, &targets).map_err(self.on_table("read"))? {
            return Ok(false);
        }
        ruleset::rebuild(&mut socket, &self.config, &targets).map_err(self.on_table("write"))?;
        Ok(true)
    }

    fn all_targets(&self) -> Vec<Target> {
        lock(&self.leases).records().values().flat_map(|r| targets(&r.host_ports, r.ip)).collect()
    }

    fn on_table(&self, step: &'static str) -> impl FnOnce(netlink::Error) -> NetError + use<> {
        NetError::kernel(step, &format!("nftables table inet {}", self.config.table))
    }

    fn on_bridge(&self, step: &'static str) -> impl FnOnce(netlink::Error) -> NetError + use<> {
        NetError::kernel(step, &self.config.bridge)
    }
}

/// Loopback, address, default route: through a socket that lives inside the pod.
fn configure_inside(mut socket: Socket, lease: &Lease) -> Result<(), NetError> {
    let failed = |step| NetError::kernel(step, "eth0 of the pod");
    let inside = link::find(&mut socket, POD_INTERFACE).map_err(failed("find"))?;
    let index = inside
        .map(|l| l.index)
        .ok_or(netlink::Error::Protocol("the interface is not there"))
        .map_err(failed("find"))?;
    let net =
        ipnet::Ipv4Net::new(lease.ip, lease.prefix).map_err(|e| NetError::Config(e.to_string()))?;
    let messages = vec![
        link::loopback_up(),
        link::add_address(index, lease.ip, net),
        link::set_up(index),
        link::default_route(index, lease.gateway),
    ];
    let steps = ["bring up lo for", "give an address to", "bring up", "add a default route over"];
    for (result, step) in
        socket.apply(messages).map_err(failed("configure"))?.into_iter().zip(steps)
    {
        result.map_err(failed(step))?;
    }
    Ok(())
}

fn find_conflict(
    records: &BTreeMap<String, Record>,
    pod_uid: &str,
    wanted: &[HostPort],
) -> Option<(HostPort, String)> {
    let others = records.iter().filter(|(uid, _)| *uid != pod_uid);
    others
        .into_iter()
        .find_map(|(uid, r)| Some((host_port_conflict(wanted, &r.host_ports)?, uid.clone())))
}

fn targets(ports: &[HostPort], ip: Ipv4Addr) -> Vec<Target> {
    ports.iter().map(|port| (*port, ip)).collect()
}

fn remove_link(socket: &mut Socket, name: &str) -> Result<(), netlink::Error> {
    let Some(link) = link::find(socket, name)? else { return Ok(()) };
    match socket.request(link::delete(link.index)) {
        Err(error) if error.errno() == Some(errno::ENODEV) => Ok(()),
        other => other,
    }
}

fn check(config: &NetConfig) -> Result<(), NetError> {
    let plain = |s: &str, max| {
        !s.is_empty()
            && s.len() <= max
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let cidr = config.pod_cidr;
    if !plain(&config.bridge, MAX_INTERFACE_NAME) {
        return Err(NetError::Config(format!(
            "{:?} cannot be the name of a bridge",
            config.bridge
        )));
    }
    if !plain(&config.table, MAX_TABLE_NAME) {
        return Err(NetError::Config(format!("{:?} cannot be the name of a table", config.table)));
    }
    if !(8..=29).contains(&cidr.prefix_len()) || cidr.addr() != cidr.network() {
        let text = format!(
            "{cidr} cannot be the pod range: give a network address with a prefix of /8 to /29"
        );
        return Err(NetError::Config(text));
    }
    Ok(())
}

fn route_socket() -> Result<Socket, NetError> {
    Socket::open(netlink::Protocol::Route).map_err(NetError::kernel("open", "a route socket"))
}

fn filter_socket() -> Result<Socket, NetError> {
    Socket::open(netlink::Protocol::Netfilter)
        .map_err(NetError::kernel("open", "a netfilter socket"))
}

/// Nothing panics while these are held, and the data would still be whole if it did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
