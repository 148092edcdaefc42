//! The compiled program against a small interpreter of classic BPF.

use oci_spec::runtime::{
    LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscallBuilder,
};

use super::*;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Runs `program` on a `struct seccomp_data`.
fn run(program: &Program, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let mut data = [0_u8; 64];
    data[0..4].copy_from_slice(&nr.to_le_bytes());
    data[4..8].copy_from_slice(&arch.to_le_bytes());
    for (at, arg) in args.iter().enumerate() {
        data[16 + at * 8..24 + at * 8].copy_from_slice(&arg.to_le_bytes());
    }
    let (mut pc, mut acc) = (0_usize, 0_u32);
    loop {
        let i = &program.instructions()[pc];
        pc += 1;
        let code = u32::from(i.code);
        let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match code & 0x07 {
            libc::BPF_LD => {
                let at = i.k as usize;
                acc = u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
            }
            libc::BPF_ALU => acc &= i.k,
            libc::BPF_RET => return i.k,
            libc::BPF_JMP => match code & 0xf0 {
                libc::BPF_JA => pc += i.k as usize,
                libc::BPF_JEQ => pc += branch(acc == i.k),
                libc::BPF_JGT => pc += branch(acc > i.k),
                libc::BPF_JGE => pc += branch(acc >= i.k),
                other => panic!("jump {other:#x}"),
            },
            other => panic!("class {other:#x}"),
        }
    }
}

fn allow(names: &[&str]) -> LinuxSyscall {
    LinuxSyscallBuilder::default()
        .names(names.iter().map(ToString::to_string).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow)
        .build()
        .unwrap()
}

fn allow_if(name: &str, conditions: &[(usize, LinuxSeccompOperator, u64, u64)]) -> LinuxSyscall {
    let args: Vec<_> = conditions
        .iter()
        .map(|&(index, op, value, two)| {
            LinuxSeccompArgBuilder::default()
                .index(index)
                .op(op)
                .value(value)
                .value_two(two)
                .build()
                .unwrap()
        })
        .collect();
    LinuxSyscallBuilder::default()
        .names(vec![name.to_owned()])
        .action(LinuxSeccompAction::ScmpActAllow)
        .args(args)
        .build()
        .unwrap()
}

fn profile(rules: Vec<LinuxSyscall>) -> Program {
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .syscalls(rules)
        .build()
        .unwrap();
    compile(&profile).unwrap()
}

fn nr(name: &str) -> u32 {
    syscalls::number(name).unwrap()
}

#[test]
fn every_number_gets_the_verdict_of_its_own_name() {
    let listed: Vec<&str> =
        syscalls::SYSCALLS.iter().map(|(name, _)| *name).filter(|n| n.len() % 2 == 0).collect();
    let program = profile(vec![allow(&listed)]);
    let highest = listed.iter().map(|name| nr(name)).max().unwrap();
    for (name, number) in syscalls::SYSCALLS {
        let expected = match (listed.contains(name), *number > highest) {
            (true, _) => ALLOW,
            (false, false) => EPERM,
            (false, true) => ENOSYS,
        };
        assert_eq!(run(&program, NATIVE, *number, [0; 6]), expected, "{name}");
    }
}

#[test]
fn foreign_and_unknown_calls_are_not_implemented() {
    let program = profile(vec![allow(&["read", "openat2"])]);
    assert_eq!(run(&program, 0x4000_0003, nr("read"), [0; 6]), ENOSYS, "i386");
    assert_eq!(run(&program, NATIVE, 100_000, [0; 6]), ENOSYS, "newer than the profile");
    assert_eq!(run(&program, NATIVE, nr("read"), [0; 6]), ALLOW);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn x32_calls_are_not_implemented() {
    let program = profile(vec![allow(&["read"])]);
    assert_eq!(run(&program, NATIVE, 0x4000_0000, [0; 6]), ENOSYS);
}

#[test]
fn comparisons_are_on_64_bits() {
    use LinuxSeccompOperator as Op;
    let big = 0x1_0000_0005_u64;
    type Holds = fn(u64, u64) -> bool;
    let cases: &[(Op, Holds)] = &[
        (Op::ScmpCmpEq, |a, b| a == b),
        (Op::ScmpCmpNe, |a, b| a != b),
        (Op::ScmpCmpLt, |a, b| a < b),
        (Op::ScmpCmpLe, |a, b| a <= b),
        (Op::ScmpCmpGt, |a, b| a > b),
        (Op::ScmpCmpGe, |a, b| a >= b),
    ];
    for (op, holds) in cases {
        let program = profile(vec![allow_if("ioctl", &[(1, *op, big, 0)]), allow(&["write"])]);
        for arg in [0, 5, big - 1, big, big + 1, 0x2_0000_0000, 0x0_ffff_ffff, u64::MAX] {
            let got = run(&program, NATIVE, nr("ioctl"), [0, arg, 0, 0, 0, 0]) == ALLOW;
            assert_eq!(got, holds(arg, big), "{op:?} {arg:#x}");
        }
    }
}

#[test]
fn a_mask_selects_bits_and_all_conditions_must_hold() {
    use LinuxSeccompOperator as Op;
    let flags = 0x7e02_0000;
    let program = profile(vec![
        allow_if("clone", &[(0, Op::ScmpCmpMaskedEq, flags, 0)]),
        allow_if("socket", &[(0, Op::ScmpCmpLt, 38, 0), (1, Op::ScmpCmpEq, 1, 0)]),
        allow_if("socket", &[(0, Op::ScmpCmpGt, 40, 0)]),
    ]);
    assert_eq!(run(&program, NATIVE, nr("clone"), [17, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, NATIVE, nr("clone"), [0x1000_0000, 0, 0, 0, 0, 0]), EPERM);
    let socket = |family, kind| run(&program, NATIVE, nr("socket"), [family, kind, 0, 0, 0, 0]);
    assert_eq!(socket(2, 1), ALLOW);
    assert_eq!(socket(2, 2), EPERM);
    assert_eq!(socket(38, 1), EPERM);
    assert_eq!(socket(41, 9), ALLOW);
}

#[test]
fn an_unconditional_rule_wins_over_a_conditional_one() {
    let program = profile(vec![
        allow_if("personality", &[(0, LinuxSeccompOperator::ScmpCmpEq, 8, 0)]),
        allow(&["personality"]),
    ]);
    assert_eq!(run(&program, NATIVE, nr("personality"), [1, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActNotify)
        .build()
        .unwrap();
    assert!(matches!(compile(&profile), Err(SeccompError::Action(_))));
}

#[test]
fn a_deny_list_allows_what_is_newer_than_itself() {
    let denied = LinuxSyscallBuilder::default()
        .names(vec!["mount".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .build()
        .unwrap();
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .syscalls(vec![denied])
        .build()
        .unwrap();
    let program = compile(&profile).unwrap();
    assert_eq!(run(&program, NATIVE, nr("mount"), [0; 6]), EPERM);
    assert_eq!(run(&program, NATIVE, nr("openat2"), [0; 6]), ALLOW);
    assert_eq!(run(&program, NATIVE, 100_000, [0; 6]), ALLOW);
}
