//! Device rules: the normal form by table, the program by running it.

use serde_json::{Value, json};

use super::*;

fn rules(value: Value) -> Vec<LinuxDeviceCgroup> {
    serde_json::from_value(value).unwrap()
}

/// What the kernel's BPF interpreter would answer.
fn run(program: &[Instruction], kind: Kind, access: u8, major: u32, minor: u32) -> bool {
    let context = [u32::from(access) << 16 | kind as u32, major, minor];
    let mut registers = [0u64; 11];
    let mut at = 0;
    loop {
        let i = program[at];
        let (d, value) = (usize::from(i.destination), i.immediate);
        at += 1;
        let jump = match i.code {
            0x61 => {
                assert_eq!(i.source, CONTEXT);
                registers[d] = u64::from(context[i.offset as usize / 4]);
                false
            }
            0x54 => {
                registers[d] = u64::from(registers[d] as u32 & value as u32);
                false
            }
            0x74 => {
                registers[d] = u64::from(registers[d] as u32 >> value);
                false
            }
            0xbc => {
                registers[d] = registers[usize::from(i.source)];
                false
            }
            0xb7 => {
                registers[d] = value as u64;
                false
            }
            0x15 => registers[d] == value as u64,
            0x55 => registers[d] != value as u64,
            0x95 => return registers[0] == 1,
            other => panic!("unknown instruction {other:#x}"),
        };
        if jump {
            at += usize::try_from(i.offset).unwrap();
        }
    }
}

#[test]
fn the_default_list() {
    let rules = rules(json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "wm"},
        {"allow": true, "type": "c", "major": 136, "access": "rw"},
        {"allow": true, "type": "b", "access": "m"},
    ]));
    let policy = policy(&rules).unwrap();
    let lines: Vec<_> = policy.v1_lines().iter().map(|(f, l)| format!("{f} {l}")).collect();
    assert_eq!(
        lines,
        [
            "devices.deny a",
            "devices.allow c 1:3 rwm",
            "devices.allow c 136:* rw",
            "devices.allow b *:* m"
        ]
    );
    let program = policy.program();
    #[rustfmt::skip]
    let table = [
        (Kind::Character, READ | WRITE, 1, 3, true),
        (Kind::Character, MKNOD, 1, 3, true),
        (Kind::Character, READ, 1, 4, false),
        (Kind::Block, READ, 1, 3, false),
        (Kind::Character, READ | WRITE, 136, 77, true),
        (Kind::Character, READ | MKNOD, 136, 77, false),
        (Kind::Block, MKNOD, 8, 0, true),
        (Kind::Block, MKNOD | READ, 8, 0, false),
    ];
    for (kind, access, major, minor, allowed) in table {
        assert_eq!(
            run(&program, kind, access, major, minor),
            allowed,
            "{kind:?} {access} {major}:{minor}"
        );
    }
}

#[test]
fn everything_except() {
    let rules = rules(json!([
        {"allow": false, "type": "a", "access": "rwm"},
        {"allow": true, "type": "a", "major": -1, "minor": -1, "access": "rwm"},
        {"allow": false, "type": "b", "major": 8, "access": "w"},
    ]));
    let policy = policy(&rules).unwrap();
    assert!(policy.default_allow && !policy.is_open());
    let program = policy.program();
    assert!(run(&program, Kind::Block, READ, 8, 1));
    assert!(!run(&program, Kind::Block, READ | WRITE, 8, 1));
    assert!(run(&program, Kind::Character, ALL, 8, 1));
}

#[test]
fn a_later_denial_takes_back_and_a_hole_is_refused() {
    let mut list = vec![
        json!({"allow": false}),
        json!({"allow": true, "type": "c", "major": 5, "access": "rw"}),
        json!({"allow": false, "type": "c", "major": 5, "access": "w"}),
    ];
    let reduced = policy(&rules(Value::from(list.clone()))).unwrap();
    assert_eq!(reduced.v1_lines()[1].1, "c 5:* r");
    list.push(json!({"allow": false, "type": "c", "major": 5, "minor": 1, "access": "r"}));
    let error = policy(&rules(Value::from(list))).unwrap_err().to_string();
    assert!(error.starts_with("device rule \"deny c 5:1 r\": it cuts"), "{error}");
}

#[test]
fn nonsense_is_refused() {
    for value in [
        json!([{"allow": true, "type": "c", "major": -2}]),
        json!([{"allow": true, "type": "c", "major": 1i64 << 40}]),
        json!([{"allow": true, "type": "c", "access": "x"}]),
        json!([{"allow": true, "type": "p"}]),
        json!([{"allow": true, "type": "a", "access": "r"}]),
    ] {
        assert!(policy(&rules(value.clone())).is_err(), "{value}");
    }
    assert!(policy(&[]).unwrap().is_open());
}

/// The kernel's verifier accepts it: attached to the (controller-less) cgroup2 of a v1 machine as well.
#[test]
fn the_kernel_takes_the_program() {
    let rules = rules(json!([
        {"allow": false},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        {"allow": true, "type": "b", "access": "m"},
    ]));
    let code: Vec<u64> =
        policy(&rules).unwrap().program().into_iter().map(Instruction::encode).collect();
    match bpf::load_cgroup_device(&code) {
        Ok(_) => {}
        // Kernels without BPF, or without the right to use it, cannot answer.
        Err(error) => assert!([libc::EPERM, libc::ENOSYS].contains(&error.errno.0), "{error}"),
    }
}
