//! The network as pods and their clients see it, in network namespaces that end with the test.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use super::*;
use crate::model::Protocol;

const TIMEOUT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);

/// Run `test` as if on a machine of its own: in a network namespace that nobody else sees.
fn on_a_machine(test: impl FnOnce(&Path) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let machine = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        route_socket().unwrap().request(link::loopback_up()).unwrap();
        test(&path);
    });
    if let Err(panic) = machine.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Another network namespace: a pod, or a client outside.
struct Space(File);

impl Space {
    fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(made.join().unwrap())
    }

    /// Do something inside. What it opens stays inside.
    fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            inside.join().unwrap()
        })
    }

    fn route_socket(&self) -> OwnedFd {
        self.run(|| route_socket().unwrap().as_fd().try_clone_to_owned().unwrap())
    }

    fn attach(
        &self,
        network: &Network,
        uid: &str,
        ports: &[HostPort],
    ) -> Result<Ipv4Addr, NetError> {
        let lease = network.lease(uid)?;
        network.attach(uid, &lease, self.0.as_fd(), self.route_socket(), ports)?;
        Ok(lease.ip)
    }

    fn listen(&self, port: u16) -> TcpListener {
        self.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap())
    }

    fn connect(&self, to: (Ipv4Addr, u16), timeout: Duration) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to.into(), timeout))
    }
}

/// Connect from `from` (or from the machine itself), and return whom the listener sees.
fn meets(from: Option<&Space>, to: (Ipv4Addr, u16), listener: &TcpListener) -> Ipv4Addr {
    let stream = match from {
        Some(space) => space.connect(to, TIMEOUT),
        None => TcpStream::connect_timeout(&to.into(), TIMEOUT),
    };
    let stream = stream.unwrap_or_else(|e| panic!("connect to {to:?}: {e}"));
    let (_, peer) = listener.accept().unwrap();
    drop(stream);
    match peer {
        SocketAddr::V4(peer) => *peer.ip(),
        SocketAddr::V6(peer) => panic!("{peer}"),
    }
}

fn open(dir: &Path) -> Network {
    Network::open(NetConfig::new(dir.to_owned())).unwrap()
}

fn tcp(host_port: u16, container_port: u16) -> HostPort {
    HostPort { host_ip: None, host_port, container_port, protocol: Protocol::Tcp }
}

fn set(uids: &[&str]) -> BTreeSet<String> {
    uids.iter().map(|&u| u.to_owned()).collect()
}

fn interfaces() -> Vec<String> {
    link::list(&mut route_socket().unwrap()).unwrap().into_iter().map(|l| l.name).collect()
}

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MACHINE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A client at 192.0.2.2 that knows the machine as 192.0.2.1 and has no route to the pods.
fn outside() -> Space {
    let space = Space::new();
    let mut here = route_socket().unwrap();
    let veth =
        Veth { name: "up0", bridge: 0, mtu: 1500, mac: [2, 0, 0, 0, 0, 2], netns: space.0.as_fd() };
    here.request(link::new_veth(&veth)).unwrap();
    let net = "192.0.2.0/24".parse().unwrap();
    let index = link::find(&mut here, "up0").unwrap().unwrap().index;
    here.request(link::add_address(index, MACHINE, net)).unwrap();
    let mut there = Socket::from_fd(space.route_socket());
    let index = link::find(&mut there, POD_INTERFACE).unwrap().unwrap().index;
    there.request(link::add_address(index, OUTSIDE, net)).unwrap();
    there.request(link::set_up(index)).unwrap();
    space
}

#[test]
fn pods_meet_each_other_the_machine_and_the_world() {
    on_a_machine(|dir| {
        let network = open(dir);
        let (a, b) = (Space::new(), Space::new());
        let ip_a = a.attach(&network, "a", &[]).unwrap();
        let ip_b = b.attach(&network, "b", &[]).unwrap();
        assert_ne!(ip_a, ip_b);
        let in_b = b.listen(80);
        assert_eq!(meets(Some(&a), (ip_b, 80), &in_b), ip_a, "pods see each other's addresses");
        assert_eq!(meets(None, (ip_b, 80), &in_b), network.config().gateway());
        let here = TcpListener::bind(("0.0.0.0", 81)).unwrap();
        assert_eq!(meets(Some(&a), (network.config().gateway(), 81), &here), ip_a);
        let local = a.listen(82);
        assert_eq!(meets(Some(&a), (Ipv4Addr::LOCALHOST, 82), &local), Ipv4Addr::LOCALHOST);
        let world = outside();
        let out_there = world.listen(83);
        assert_eq!(
            meets(Some(&a), (OUTSIDE, 83), &out_there),
            MACHINE,
            "the world sees the machine"
        );
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");
    });
}

#[test]
fn host_ports_lead_into_the_pod() {
    on_a_machine(|dir| {
        let network = open(dir);
        let world = outside();
        let (pod, other) = (Space::new(), Space::new());
        let one_address = HostPort { host_ip: Some(MACHINE), ..tcp(8081, 81) };
        let udp = HostPort { protocol: Protocol::Udp, ..tcp(8080, 80) };
        let ip = pod.attach(&network, "pod", &[tcp(8080, 80), one_address, udp]).unwrap();
        other.attach(&network, "other", &[]).unwrap();
        let gateway = network.config().gateway();
        let (in_80, in_81) = (pod.listen(80), pod.listen(81));
        assert_eq!(
            meets(Some(&world), (MACHINE, 8080), &in_80),
            OUTSIDE,
            "the client's address is kept"
        );
        assert_eq!(meets(Some(&world), (MACHINE, 8081), &in_81), OUTSIDE);
        meets(None, (MACHINE, 8080), &in_80);
        meets(None, (gateway, 8080), &in_80);
        meets(Some(&other), (MACHINE, 8080), &in_80);
        meets(Some(&pod), (MACHINE, 8080), &in_80);
        assert!(
            TcpStream::connect_timeout(&(gateway, 8081).into(), SHORT).is_err(),
            "only on its address"
        );
        let refused = TcpStream::connect(("127.0.0.1", 8080)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "refused at once, not lost");

        let in_udp = pod.run(|| UdpSocket::bind((ip, 80)).unwrap());
        in_udp.set_read_timeout(Some(TIMEOUT)).unwrap();
        let client = world.run(|| UdpSocket::bind((OUTSIDE, 0)).unwrap());
        client.send_to(b"hello", (MACHINE, 8080)).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(in_udp.recv_from(&mut buffer).unwrap().0, 5);

        network.detach("pod").unwrap();
        assert!(world.connect((MACHINE, 8080), SHORT).is_err());
        network.detach("pod").unwrap();
    });
}

#[test]
fn a_host_port_has_one_owner() {
    on_a_machine(|dir| {
        let network = open(dir);
        let (a, b) = (Space::new(), Space::new());
        a.attach(&network, "a", &[tcp(8080, 80)]).unwrap();
        let error = b.attach(&network, "b", &[tcp(8080, 81)]).unwrap_err();
        assert_eq!(error.to_string(), "host port 8080/TCP is in use by pod a");
        assert_eq!(network.host_port_owner("b", &[tcp(8080, 81)]).unwrap().1, "a");
        network.detach("a").unwrap();
        b.attach(&network, "b", &[tcp(8080, 81)]).unwrap();
    });
}

#[test]
fn leases_and_host_ports_survive_the_daemon() {
    on_a_machine(|dir| {
        let pod = Space::new();
        let before = open(dir);
        let ip = pod.attach(&before, "pod", &[tcp(8080, 80)]).unwrap();
        let inside = pod.listen(80);
        drop(before);
        let after = open(dir);
        assert_eq!(after.lease("pod").unwrap().ip, ip);
        meets(None, (after.config().gateway(), 8080), &inside);
        assert_eq!(
            after.reconcile(&set(&["pod"])).unwrap(),
            Report::default(),
            "nothing to repair"
        );
    });
}

#[test]
fn attaching_again_makes_the_pair_anew() {
    on_a_machine(|dir| {
        let network = open(dir);
        let (first, second) = (Space::new(), Space::new());
        first.attach(&network, "pod", &[tcp(8080, 80)]).unwrap();
        first.attach(&network, "pod", &[tcp(8080, 80)]).unwrap();
        let ip = second.attach(&network, "pod", &[tcp(8080, 80)]).unwrap();
        let inside = second.listen(80);
        meets(None, (ip, 80), &inside);
        assert_eq!(interfaces().len(), 3, "{:?}", interfaces());
    });
}

#[test]
fn a_failed_attachment_leaves_nothing() {
    on_a_machine(|dir| {
        let network = open(dir);
        let (pod, elsewhere) = (Space::new(), Space::new());
        let lease = network.lease("pod").unwrap();
        // The socket is from another namespace: eth0 is not there.
        let wrong = elsewhere.route_socket();
        let error =
            network.attach("pod", &lease, pod.0.as_fd(), wrong, &[tcp(8080, 80)]).unwrap_err();
        assert!(error.to_string().contains("eth0"), "{error}");
        assert_eq!(interfaces(), ["lo", "klet0"]);
        assert_eq!(network.host_port_owner("other", &[tcp(8080, 80)]), None);
        assert_eq!(network.reconcile(&set(&["pod"])).unwrap(), Report::default());
        let stranger = Lease { ip: Ipv4Addr::new(10, 88, 9, 9), ..lease };
        let refused = network.attach("pod", &stranger, pod.0.as_fd(), pod.route_socket(), &[]);
        assert!(matches!(refused, Err(NetError::NotLeased { .. })));
    });
}

#[test]
fn reconcile_removes_what_has_no_owner() {
    on_a_machine(|dir| {
        let network = open(dir);
        let (dead, alive) = (Space::new(), Space::new());
        dead.attach(&network, "dead", &[tcp(8080, 80)]).unwrap();
        let ip = alive.attach(&network, "alive", &[tcp(8081, 80)]).unwrap();
        let inside = alive.listen(80);
        let report = network.reconcile(&set(&["alive"])).unwrap();
        assert_eq!(report.leases_removed, ["dead"]);
        assert_eq!(report.interfaces_removed, [bridge::veth_name("dead")]);
        assert!(!report.bridge_restored && !report.table_restored);
        meets(None, (ip, 80), &inside);
        assert_eq!(network.reconcile(&set(&["alive"])).unwrap(), Report::default());
    });
}

#[test]
fn what_somebody_else_removed_comes_back() {
    on_a_machine(|dir| {
        let network = open(dir);
        let pod = Space::new();
        let ip = pod.attach(&network, "pod", &[tcp(8080, 80)]).unwrap();
        let inside = pod.listen(80);
        ruleset::drop_table(&mut filter_socket().unwrap(), network.config()).unwrap();
        assert!(network.reconcile(&set(&["pod"])).unwrap().table_restored);
        meets(None, (network.config().gateway(), 8080), &inside);

        let targets = network.all_targets();
        ruleset::remove(&mut filter_socket().unwrap(), network.config(), &targets).unwrap();
        assert!(
            network.reconcile(&set(&["pod"])).unwrap().table_restored,
            "a missing element is noticed"
        );

        remove_link(&mut route_socket().unwrap(), "klet0").unwrap();
        let report = network.reconcile(&set(&["pod"])).unwrap();
        assert!(report.bridge_restored);
        meets(None, (ip, 80), &inside);
    });
}

#[test]
fn the_monitor_hears_of_damage() {
    on_a_machine(|dir| {
        let network = open(dir);
        let mut monitor = crate::Monitor::open(network.config()).unwrap();
        assert!(!monitor.damaged());
        let pod = Space::new();
        pod.attach(&network, "pod", &[tcp(8080, 80)]).unwrap();
        // Whatever was heard of our own doing, nothing needs repair.
        monitor.damaged();
        assert_eq!(network.repair().unwrap(), Report::default());
        assert!(!monitor.damaged());

        remove_link(&mut route_socket().unwrap(), "klet0").unwrap();
        assert!(monitor.damaged());
        assert!(network.repair().unwrap().bridge_restored);
        monitor.damaged();

        ruleset::drop_table(&mut filter_socket().unwrap(), network.config()).unwrap();
        assert!(monitor.damaged());
        assert!(network.repair().unwrap().table_restored);
        monitor.damaged();
        assert_eq!(network.repair().unwrap(), Report::default());
        assert!(!monitor.damaged());
    });
}

#[test]
fn two_hundred_pods_come_and_go() {
    on_a_machine(|dir| {
        let network = open(dir);
        let mut addresses = BTreeSet::new();
        for round in 0..200 {
            let (uid, pod) = (format!("pod-{round}"), Space::new());
            addresses.insert(pod.attach(&network, &uid, &[tcp(8080, 80)]).unwrap());
            network.detach(&uid).unwrap();
        }
        assert_eq!(addresses.len(), 200, "an address given back is not used again at once");
        network.reconcile(&BTreeSet::new()).unwrap();
        assert_eq!(interfaces(), ["lo", "klet0"]);
        assert_eq!(std::fs::read_dir(dir.join("leases")).unwrap().count(), 0);
        assert!(ruleset::is_intact(&mut filter_socket().unwrap(), network.config(), &[]).unwrap());
    });
}

#[test]
fn a_pod_cannot_speak_with_a_foreign_address() {
    on_a_machine(|dir| {
        let network = open(dir);
        let pod = Space::new();
        pod.attach(&network, "pod", &[]).unwrap();
        let foreign = Ipv4Addr::new(203, 0, 113, 7);
        let mut inside = Socket::from_fd(pod.route_socket());
        let index = link::find(&mut inside, POD_INTERFACE).unwrap().unwrap().index;
        inside
            .request(link::add_address(index, foreign, "203.0.113.7/32".parse().unwrap()))
            .unwrap();
        let here = UdpSocket::bind(("0.0.0.0", 99)).unwrap();
        here.set_read_timeout(Some(TIMEOUT)).unwrap();
        let send = |from: Ipv4Addr| {
            pod.run(|| {
                UdpSocket::bind((from, 0))
                    .unwrap()
                    .send_to(b"x", (network.config().gateway(), 99))
                    .unwrap()
            })
        };
        send(foreign);
        send(network.lease("pod").unwrap().ip);
        let (_, first) = here.recv_from(&mut [0; 8]).unwrap();
        assert_ne!(first.ip(), std::net::IpAddr::V4(foreign));
    });
}

#[test]
fn the_machines_own_networks_are_respected() {
    on_a_machine(|dir| {
        let _world = outside();
        let config = NetConfig {
            pod_cidr: "192.0.2.0/25".parse().unwrap(),
            ..NetConfig::new(dir.to_owned())
        };
        let error = Network::open(config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pod network 192.0.2.0/25 clashes with address 192.0.2.1/24 of up0: choose another range with --pod-cidr"
        );
        assert_eq!(interfaces(), ["lo", "up0"]);
        let bad = NetConfig {
            pod_cidr: "10.88.0.1/16".parse().unwrap(),
            ..NetConfig::new(dir.to_owned())
        };
        assert!(matches!(Network::open(bad), Err(NetError::Config(_))));
        let taken = NetConfig { bridge: "up0".into(), ..NetConfig::new(dir.to_owned()) };
        assert!(Network::open(taken).unwrap_err().to_string().contains("is not a bridge"));
    });
}

#[test]
fn uninstalling_leaves_the_machine_as_it_was() {
    on_a_machine(|dir| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let network = open(dir);
        let pod = Space::new();
        pod.attach(&network, "pod", &[]).unwrap();
        let config = network.config().clone();
        network.uninstall().unwrap();
        assert_eq!(interfaces(), ["lo"]);
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "0");
        assert!(!ruleset::is_intact(&mut filter_socket().unwrap(), &config, &[]).unwrap());
    });
}
