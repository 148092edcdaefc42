//! Address leases: one small file per pod, written before the address is used.
//!
//! The file is the pod's only record on the network: address and host ports. Veth name, hardware
//! address and nftables elements follow from it.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::error::NetError;
use crate::model::HostPort;

/// A lease file is far smaller; anything beyond is not ours.
const MAX_FILE: u64 = 256 * 1024;
/// Longest UID that may name a file.
const MAX_UID: usize = 128;

/// What is remembered about one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) ip: Ipv4Addr,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_ports: Vec<HostPort>,
}

/// All leases in memory. Files are written by [`LeaseDir`], outside of any lock.
#[derive(Debug)]
pub(crate) struct Leases {
    cidr: Ipv4Net,
    records: BTreeMap<String, Record>,
    used: HashSet<Ipv4Addr>,
    cursor: u32,
}

impl Leases {
    pub(crate) fn new(
        cidr: Ipv4Net,
        records: BTreeMap<String, Record>,
        cursor: Option<Ipv4Addr>,
    ) -> Self {
        let used = records.values().map(|r| r.ip).collect();
        Self { cidr, records, used, cursor: cursor.map_or(0, Ipv4Addr::to_bits) }
    }

    pub(crate) fn get(&self, pod_uid: &str) -> Option<&Record> {
        self.records.get(pod_uid)
    }

    pub(crate) fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }

    /// The pod's record and whether it is new. Addresses go round: the one just given back is the
    /// last to be used again, so that nobody still speaks to its former owner.
    pub(crate) fn reserve(&mut self, pod_uid: &str) -> Result<(Record, bool), NetError> {
        if let Some(record) = self.records.get(pod_uid)
            && self.cidr.contains(&record.ip)
        {
            return Ok((record.clone(), false));
        }
        let ip = self.next_free()?;
        self.cursor = ip.to_bits();
        let record = Record { ip, host_ports: Vec::new() };
        self.put(pod_uid, record.clone());
        Ok((record, true))
    }

    pub(crate) fn put(&mut self, pod_uid: &str, record: Record) {
        self.remove(pod_uid);
        self.used.insert(record.ip);
        self.records.insert(pod_uid.to_owned(), record);
    }

    pub(crate) fn remove(&mut self, pod_uid: &str) -> Option<Record> {
        let record = self.records.remove(pod_uid)?;
        self.used.remove(&record.ip);
        Some(record)
    }

    fn next_free(&self) -> Result<Ipv4Addr, NetError> {
        // Not the network's own address, not the gateway (the first), not the broadcast address.
        let first = self.cidr.network().to_bits() + 2;
        let last = self.cidr.broadcast().to_bits() - 1;
        let start = if (first..last).contains(&self.cursor) { self.cursor + 1 } else { first };
        (start..=last)
            .chain(first..start)
            .map(Ipv4Addr::from_bits)
            .find(|ip| !self.used.contains(ip))
            .ok_or(NetError::Exhausted { cidr: self.cidr, used: self.used.len() })
    }
}

/// The directory that holds the lease files.
#[derive(Debug)]
pub(crate) struct LeaseDir {
    leases: PathBuf,
    cursor: PathBuf,
}

impl LeaseDir {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, NetError> {
        let leases = state_dir.join("leases");
        fs::create_dir_all(&leases).map_err(NetError::file("create", &leases))?;
        Ok(Self { leases, cursor: state_dir.join("cursor") })
    }

    /// Read everything back. A file that cannot be understood is removed with a warning: its pod, if
    /// it lives, gets a new address when its sandbox is made again.
    pub(crate) fn load(&self) -> Result<(BTreeMap<String, Record>, Option<Ipv4Addr>), NetError> {
        let mut records = BTreeMap::new();
        let mut taken = HashSet::new();
        for entry in fs::read_dir(&self.leases).map_err(NetError::file("read", &self.leases))? {
            let path = entry.map_err(NetError::file("read", &self.leases))?.path();
            let uid = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let record = check_uid(uid).ok().and_then(|()| read_record(&path).ok());
            match record.filter(|r| taken.insert(r.ip)) {
                Some(record) => drop(records.insert(uid.to_owned(), record)),
                None => {
                    tracing::warn!(path = %path.display(), "removing a lease file that cannot be used");
                    fs::remove_file(&path).map_err(NetError::file("remove", &path))?;
                }
            }
        }
        let cursor = fs::read_to_string(&self.cursor).ok().and_then(|s| s.trim().parse().ok());
        Ok((records, cursor))
    }

    /// Write the pod's record so that it survives the daemon. It need not survive the machine, which no
    /// pod does either, so nobody waits for the disk; a file that a crash of the machine left empty is
    /// removed by [`Self::load`].
    pub(crate) fn store(&self, pod_uid: &str, record: &Record) -> Result<(), NetError> {
        let path = self.leases.join(pod_uid);
        // The leading dot keeps a half-written file from ever being taken for a lease.
        let temporary = self.leases.join(format!(".{pod_uid}"));
        let text = serde_json::to_vec(record)
            .map_err(io::Error::other)
            .map_err(NetError::file("encode", &path))?;
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(NetError::file("write", &path))
    }

    /// Remember where the addresses go on. Losing this in a crash is harmless: no pod survives one.
    pub(crate) fn store_cursor(&self, ip: Ipv4Addr) {
        if let Err(error) = fs::write(&self.cursor, ip.to_string()) {
            tracing::warn!(%error, path = %self.cursor.display(), "cannot remember the last address given out");
        }
    }

    pub(crate) fn remove(&self, pod_uid: &str) -> Result<(), NetError> {
        let path = self.leases.join(pod_uid);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(NetError::file("remove", &path)(e))
            }
            _ => Ok(()),
        }
    }
}

/// A UID becomes a file name: letters, digits, `-`, `_`, `.`, not starting with a dot.
pub(crate) fn check_uid(uid: &str) -> Result<(), NetError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good =
        !uid.is_empty() && uid.len() <= MAX_UID && !uid.starts_with('.') && uid.bytes().all(plain);
    if good { Ok(()) } else { Err(NetError::PodUid(uid.chars().take(MAX_UID).collect())) }
}

fn read_record(path: &Path) -> io::Result<Record> {
    if fs::symlink_metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other("too large"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(cidr: &str) -> Leases {
        Leases::new(cidr.parse().unwrap(), BTreeMap::new(), None)
    }

    #[test]
    fn addresses_go_round_and_are_not_reused_at_once() {
        let mut leases = leases("10.0.0.0/29");
        let ip = |l: &mut Leases, uid: &str| l.reserve(uid).unwrap().0.ip.octets()[3];
        assert_eq!([ip(&mut leases, "a"), ip(&mut leases, "b"), ip(&mut leases, "a")], [2, 3, 2]);
        leases.remove("b");
        assert_eq!(ip(&mut leases, "c"), 4, "the address just given back comes last");
        assert_eq!([ip(&mut leases, "d"), ip(&mut leases, "e"), ip(&mut leases, "f")], [5, 6, 3]);
        assert!(matches!(leases.reserve("g"), Err(NetError::Exhausted { used: 5, .. })));
        leases.remove("d");
        assert_eq!(ip(&mut leases, "g"), 5);
    }

    #[test]
    fn a_lease_of_another_range_is_replaced() {
        let old = Record { ip: Ipv4Addr::new(192, 168, 0, 9), host_ports: Vec::new() };
        let mut leases =
            Leases::new("10.0.0.0/24".parse().unwrap(), [("a".into(), old)].into(), None);
        let (record, new) = leases.reserve("a").unwrap();
        assert!(new);
        assert_eq!(record.ip, Ipv4Addr::new(10, 0, 0, 2));
    }

    #[test]
    fn files_survive_and_rubbish_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = LeaseDir::open(dir.path()).unwrap();
        let record = Record { ip: Ipv4Addr::new(10, 0, 0, 7), host_ports: Vec::new() };
        store.store("good", &record).unwrap();
        store.store_cursor(record.ip);
        store.store("twin", &record).unwrap();
        fs::write(dir.path().join("leases/.good"), "{").unwrap();
        fs::write(dir.path().join("leases/bad"), "{").unwrap();
        let (records, cursor) = store.load().unwrap();
        assert_eq!(records.len(), 1, "two files with one address: only one may count");
        assert_eq!(cursor, Some(record.ip));
        assert_eq!(fs::read_dir(dir.path().join("leases")).unwrap().count(), 1);
        let uid = records.keys().next().unwrap();
        store.remove(uid).unwrap();
        store.remove(uid).unwrap();
        assert!(store.load().unwrap().0.is_empty());
    }

    #[test]
    fn a_uid_cannot_leave_the_directory() {
        for bad in ["", ".", "..", ".x", "a/b", "../a", "a\0", "ä", &"x".repeat(129)] {
            assert!(check_uid(bad).is_err(), "{bad:?}");
        }
        assert!(check_uid("0f3a-4_x.y").is_ok());
    }
}
