//! Device access rules: from the OCI list to one normal form, and from that to v1 lines or to
//! the v2 BPF program. Pure, but for [`attach`].

use std::os::fd::AsFd;
use std::path::Path;

use klet_sys::bpf;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::error::CgroupError;
use super::file;

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// The kind of a device node; the values are `BPF_DEVCG_DEV_*` of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Block = 1,
    Character = 2,
}

/// Which devices; `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Devices {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Devices {
    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

/// A list of rules brought to what the kernel keeps: a default and its exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    /// Everything is allowed except the exceptions; else nothing but them is.
    pub(super) default_allow: bool,
    exceptions: Vec<(Devices, u8)>,
}

/// Applies `rules` in order, later ones over earlier ones. Before the first rule all is allowed,
/// as in a new cgroup.
pub(super) fn policy(rules: &[LinuxDeviceCgroup]) -> Result<Policy, CgroupError> {
    let mut policy = Policy { default_allow: true, exceptions: Vec::new() };
    for rule in rules {
        policy.add(rule)?;
    }
    Ok(policy)
}

impl Policy {
    /// Nothing is forbidden.
    pub(super) fn is_open(&self) -> bool {
        self.default_allow && self.exceptions.is_empty()
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), CgroupError> {
        let access = access(rule)?;
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => return self.add_all(rule, access),
            Some(LinuxDeviceType::B) => Kind::Block,
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Character,
            Some(LinuxDeviceType::P) => return refuse(rule, "a FIFO is no device"),
        };
        let devices = Devices {
            kind,
            major: number(rule, rule.major())?,
            minor: number(rule, rule.minor())?,
        };
        if rule.allow() == self.default_allow {
            self.take_back(rule, devices, access)
        } else {
            self.except(devices, access);
            Ok(())
        }
    }

    /// A rule for all devices sets the default and forgets what was before.
    fn add_all(&mut self, rule: &LinuxDeviceCgroup, access: u8) -> Result<(), CgroupError> {
        if access != ALL
            || rule.major().is_some_and(|n| n >= 0)
            || rule.minor().is_some_and(|n| n >= 0)
        {
            return refuse(rule, "a rule for all devices must be for rwm and all numbers");
        }
        *self = Self { default_allow: rule.allow(), exceptions: Vec::new() };
        Ok(())
    }

    fn except(&mut self, devices: Devices, access: u8) {
        match self.exceptions.iter_mut().find(|(known, _)| *known == devices) {
            Some((_, known)) => *known |= access,
            None => self.exceptions.push((devices, access)),
        }
    }

    /// Removes what a rule in the direction of the default takes from the exceptions. Neither
    /// kernel can keep a hole in a wildcard: better an error than a rule without effect.
    fn take_back(
        &mut self,
        rule: &LinuxDeviceCgroup,
        devices: Devices,
        access: u8,
    ) -> Result<(), CgroupError> {
        let holes = self.exceptions.iter().any(|(known, bits)| {
            *known != devices && known.overlaps(&devices) && bits & access != 0
        });
        if holes {
            return refuse(rule, "it cuts a part out of an earlier, different rule");
        }
        for (known, bits) in &mut self.exceptions {
            if *known == devices {
                *bits &= !access;
            }
        }
        self.exceptions.retain(|(_, bits)| *bits != 0);
        Ok(())
    }

    /// `(file, line)` pairs for the v1 controller, in order.
    pub(super) fn v1_lines(&self) -> Vec<(&'static str, String)> {
        let (base, rest) = if self.default_allow {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        let all = (base, "a".to_owned());
        let exceptions = self.exceptions.iter().map(|(d, bits)| (rest, v1_line(d, *bits)));
        std::iter::once(all).chain(exceptions).collect()
    }

    /// The v2 program: returns 1 to allow, 0 to deny. Its context is
    /// `{u32 access << 16 | type, u32 major, u32 minor}` (`struct bpf_cgroup_dev_ctx`).
    pub(super) fn program(&self) -> Vec<Instruction> {
        use instruction::{and, exit, load, mov, rsh};
        let mut code = vec![
            load(TYPE, CONTEXT, 0),
            load(ACCESS, CONTEXT, 0),
            rsh(ACCESS, 16),
            and(TYPE, 0xffff),
            load(MAJOR, CONTEXT, 4),
            load(MINOR, CONTEXT, 8),
        ];
        for (devices, bits) in &self.exceptions {
            code.extend(self.exception(devices, *bits));
        }
        code.extend([mov(RESULT, i32::from(self.default_allow)), exit()]);
        code
    }

    fn exception(&self, devices: &Devices, bits: u8) -> Vec<Instruction> {
        use instruction::{and, copy, exit, jump_equal, jump_not_equal, mov};
        let mut tests = vec![(TYPE, devices.kind as i32)];
        tests.extend(devices.major.map(|n| (MAJOR, n.cast_signed())));
        tests.extend(devices.minor.map(|n| (MINOR, n.cast_signed())));
        // Allowing needs every asked bit granted; denying needs one of them forbidden.
        let mask = if self.default_allow { bits } else { ALL & !bits };
        let access: &[Instruction] = match (self.default_allow, mask) {
            (true, ALL) | (false, 0) => &[],
            _ => &[copy(SCRATCH, ACCESS), and(SCRATCH, i32::from(mask))],
        };
        let verdict = [mov(RESULT, i32::from(!self.default_allow)), exit()];
        let total = tests.len() + access.len() + usize::from(!access.is_empty()) + verdict.len();
        let to_end =
            |at: usize| i16::try_from(total - at - 1).expect("a rule has a dozen instructions");
        let mut code = Vec::with_capacity(total);
        for (register, value) in tests {
            code.push(jump_not_equal(register, value, to_end(code.len())));
        }
        if !access.is_empty() {
            code.extend(access);
            let skip = if self.default_allow { jump_equal } else { jump_not_equal };
            code.push(skip(SCRATCH, 0, to_end(code.len())));
        }
        code.extend(verdict);
        code
    }
}

fn access(rule: &LinuxDeviceCgroup) -> Result<u8, CgroupError> {
    let Some(text) = rule.access().as_deref().filter(|a| !a.is_empty()) else { return Ok(ALL) };
    text.bytes().try_fold(0, |bits, letter| match letter {
        b'r' => Ok(bits | READ),
        b'w' => Ok(bits | WRITE),
        b'm' => Ok(bits | MKNOD),
        _ => refuse(rule, "access is a combination of r, w and m"),
    })
}

fn number(rule: &LinuxDeviceCgroup, value: Option<i64>) -> Result<Option<u32>, CgroupError> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => match u32::try_from(value) {
            Ok(value) if value <= i32::MAX.cast_unsigned() => Ok(Some(value)),
            _ => refuse(rule, "a device number is out of range"),
        },
    }
}

fn refuse<T>(rule: &LinuxDeviceCgroup, why: &str) -> Result<T, CgroupError> {
    let verb = if rule.allow() { "allow" } else { "deny" };
    let kind = rule.typ().map_or("a", |t| match t {
        LinuxDeviceType::A => "a",
        LinuxDeviceType::B => "b",
        LinuxDeviceType::C => "c",
        LinuxDeviceType::U => "u",
        LinuxDeviceType::P => "p",
    });
    let number = |n: Option<i64>| n.map_or("*".to_owned(), |n| n.to_string());
    let (major, minor) = (number(rule.major()), number(rule.minor()));
    let access = rule.access().as_deref().unwrap_or_default();
    let text = format!("device rule \"{verb} {kind} {major}:{minor} {access}\": {why}");
    Err(CgroupError::Resources(text))
}

fn v1_line(devices: &Devices, bits: u8) -> String {
    let kind = match devices.kind {
        Kind::Block => 'b',
        Kind::Character => 'c',
    };
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    let access: String = letters.iter().filter(|(b, _)| bits & b != 0).map(|(_, l)| l).collect();
    format!("{kind} {}:{} {access}", number(devices.major), number(devices.minor))
}

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// One BPF instruction (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) destination: u8,
    pub(super) source: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

impl Instruction {
    /// As the kernel reads it.
    fn encode(self) -> u64 {
        let registers = self.source << 4 | self.destination;
        let [low, high] = self.offset.to_ne_bytes();
        let [a, b, c, d] = self.immediate.to_ne_bytes();
        u64::from_ne_bytes([self.code, registers, low, high, a, b, c, d])
    }
}

/// Puts the policy in force for every process in `group` (v2) and below, in place of an earlier one.
pub(super) fn attach(group: &Path, policy: &Policy) -> Result<(), CgroupError> {
    let failed =
        |error: klet_sys::SysError| CgroupError::io("restrict devices of", group, error.into());
    let directory = file::directory(group)?;
    let earlier = bpf::attached_device_programs(directory.as_fd()).map_err(failed)?;
    if !policy.is_open() {
        let code: Vec<u64> = policy.program().into_iter().map(Instruction::encode).collect();
        let program = bpf::load_cgroup_device(&code).map_err(failed)?;
        bpf::attach_device(directory.as_fd(), program.as_fd(), None).map_err(failed)?;
    }
    // All attached programs must agree to allow, so in between both hold: never less than one.
    for program in earlier {
        bpf::detach_device(directory.as_fd(), program.as_fd()).map_err(failed)?;
    }
    Ok(())
}

/// The few instructions needed (Documentation/bpf/standardization/instruction-set.rst).
mod instruction {
    use super::Instruction;

    const fn make(
        code: u8,
        destination: u8,
        source: u8,
        offset: i16,
        immediate: i32,
    ) -> Instruction {
        Instruction { code, destination, source, offset, immediate }
    }
    /// `destination = *(u32 *)(source + offset)`: BPF_LDX | BPF_MEM | BPF_W.
    pub(super) const fn load(destination: u8, source: u8, offset: i16) -> Instruction {
        make(0x61, destination, source, offset, 0)
    }
    /// BPF_ALU | BPF_AND | BPF_K.
    pub(super) const fn and(destination: u8, value: i32) -> Instruction {
        make(0x54, destination, 0, 0, value)
    }
    /// BPF_ALU | BPF_RSH | BPF_K.
    pub(super) const fn rsh(destination: u8, value: i32) -> Instruction {
        make(0x74, destination, 0, 0, value)
    }
    /// BPF_ALU | BPF_MOV | BPF_X.
    pub(super) const fn copy(destination: u8, source: u8) -> Instruction {
        make(0xbc, destination, source, 0, 0)
    }
    /// BPF_ALU64 | BPF_MOV | BPF_K.
    pub(super) const fn mov(destination: u8, value: i32) -> Instruction {
        make(0xb7, destination, 0, 0, value)
    }
    /// BPF_JMP | BPF_JEQ | BPF_K.
    pub(super) const fn jump_equal(register: u8, value: i32, offset: i16) -> Instruction {
        make(0x15, register, 0, offset, value)
    }
    /// BPF_JMP | BPF_JNE | BPF_K.
    pub(super) const fn jump_not_equal(register: u8, value: i32, offset: i16) -> Instruction {
        make(0x55, register, 0, offset, value)
    }
    /// BPF_JMP | BPF_EXIT.
    pub(super) const fn exit() -> Instruction {
        make(0x95, 0, 0, 0, 0)
    }
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
