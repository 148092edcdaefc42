//! Assembling the filter: header, search tree, argument checks.

use std::collections::BTreeMap;

use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Calls with this bit set are x32 calls on x86_64.
const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

const NOT_IMPLEMENTED: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// What happens to one system call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Leaf {
    /// The verdict whatever the arguments are.
    pub(super) always: Option<u32>,
    /// Tried in order when `always` is absent.
    pub(super) rules: Vec<Rule>,
}

/// A verdict that holds when all conditions do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<LinuxSeccompArg>,
    pub(super) verdict: u32,
}

/// Numbers from `start` up to the next range share one outcome.
struct Range {
    start: u32,
    outcome: Outcome,
}

#[derive(Clone, PartialEq)]
enum Outcome {
    Return(u32),
    Check(Vec<Rule>),
}

/// The whole filter.
pub(super) fn program(
    leaves: &BTreeMap<u32, Leaf>,
    default: u32,
    highest: u32,
) -> Vec<sock_filter> {
    let mut code = vec![
        load(OFFSET_ARCH),
        jump(libc::BPF_JEQ, AUDIT_ARCH, 1, 0),
        ret(NOT_IMPLEMENTED),
        load(OFFSET_NR),
    ];
    if cfg!(target_arch = "x86_64") {
        code.extend([jump(libc::BPF_JGE, X32_BIT, 0, 1), ret(NOT_IMPLEMENTED)]);
    }
    code.extend(tree(&ranges(leaves, default, highest), default));
    code
}

/// Neighbouring numbers with the same outcome become one range; the ranges cover all numbers.
fn ranges(leaves: &BTreeMap<u32, Leaf>, default: u32, highest: u32) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut cursor = 0;
    for (&number, leaf) in leaves {
        if number > cursor {
            push(&mut ranges, cursor, Outcome::Return(default));
        }
        push(&mut ranges, number, outcome(leaf));
        cursor = number + 1;
    }
    if cursor <= highest {
        push(&mut ranges, cursor, Outcome::Return(default));
    }
    // A deny-list allows what it does not name, known or not.
    let beyond = if default == libc::SECCOMP_RET_ALLOW { default } else { NOT_IMPLEMENTED };
    push(&mut ranges, highest + 1, Outcome::Return(beyond));
    ranges
}

fn push(ranges: &mut Vec<Range>, start: u32, outcome: Outcome) {
    if ranges.last().is_none_or(|last| last.outcome != outcome) {
        ranges.push(Range { start, outcome });
    }
}

fn outcome(leaf: &Leaf) -> Outcome {
    match leaf.always {
        Some(verdict) => Outcome::Return(verdict),
        None => Outcome::Check(leaf.rules.clone()),
    }
}

/// A balanced search over `ranges`; the number is in the accumulator.
fn tree(ranges: &[Range], default: u32) -> Vec<sock_filter> {
    if let [only] = ranges {
        return match &only.outcome {
            Outcome::Return(verdict) => vec![ret(*verdict)],
            Outcome::Check(rules) => check(rules, default),
        };
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let low_code = tree(low, default);
    let pivot = high[0].start;
    let mut code = match u8::try_from(low_code.len()) {
        Ok(distance) => vec![jump(libc::BPF_JGE, pivot, distance, 0)],
        // Conditional jumps reach 255 instructions; further needs an unconditional one.
        Err(_) => vec![jump(libc::BPF_JGE, pivot, 0, 1), jump_always(low_code.len())],
    };
    code.extend(low_code);
    code.extend(tree(high, default));
    code
}

/// Rules are alternatives, conditions of one rule must all hold.
fn check(rules: &[Rule], default: u32) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(rule_code(rule));
    }
    code.push(ret(default));
    code
}

/// Falls through to the instruction after its end when a condition does not hold.
fn rule_code(rule: &Rule) -> Vec<sock_filter> {
    let mut code = vec![ret(rule.verdict)];
    for condition in rule.conditions.iter().rev() {
        let mut next = condition_code(condition, code.len());
        next.extend(code);
        code = next;
    }
    code
}

/// Compares one 64-bit argument, upper half first. Holds: go on after this code; else jump
/// `rest` instructions beyond it.
fn condition_code(condition: &LinuxSeccompArg, rest: usize) -> Vec<sock_filter> {
    let low_at = OFFSET_ARGS + 8 * u32::try_from(condition.index()).unwrap_or(0);
    let (value, second) = (condition.value(), condition.value_two().unwrap_or(0));
    let half = |word: u64| ((word >> 32) as u32, (word & 0xffff_ffff) as u32);
    let (high, low) = half(value);
    let out = |after: usize| u8::try_from(after + rest).expect("a rule has at most six conditions");
    let equal = |inverted: bool| {
        let (hit, miss) = if inverted { (out(0), 0) } else { (0, out(0)) };
        let high_miss = if inverted { 2 } else { out(2) };
        vec![
            load(low_at + 4),
            jump(libc::BPF_JEQ, high, 0, high_miss),
            load(low_at),
            jump(libc::BPF_JEQ, low, hit, miss),
        ]
    };
    // Above in the upper half decides at once; equal looks at the lower half.
    let ordered = |operator: u32, inverted: bool| {
        let (hit, miss) = if inverted { (out(0), 0) } else { (0, out(0)) };
        let above = if inverted { out(3) } else { 3 };
        let below = if inverted { 2 } else { out(2) };
        vec![
            load(low_at + 4),
            jump(libc::BPF_JGT, high, above, 0),
            jump(libc::BPF_JEQ, high, 0, below),
            load(low_at),
            jump(operator, low, hit, miss),
        ]
    };
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpEq => equal(false),
        LinuxSeccompOperator::ScmpCmpNe => equal(true),
        LinuxSeccompOperator::ScmpCmpGt => ordered(libc::BPF_JGT, false),
        LinuxSeccompOperator::ScmpCmpGe => ordered(libc::BPF_JGE, false),
        LinuxSeccompOperator::ScmpCmpLe => ordered(libc::BPF_JGT, true),
        LinuxSeccompOperator::ScmpCmpLt => ordered(libc::BPF_JGE, true),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let (mask_high, mask_low) = half(value);
            let (want_high, want_low) = half(second);
            vec![
                load(low_at + 4),
                and(mask_high),
                jump(libc::BPF_JEQ, want_high, 0, out(3)),
                load(low_at),
                and(mask_low),
                jump(libc::BPF_JEQ, want_low, 0, out(0)),
            ]
        }
    }
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("BPF codes fit 16 bits"), jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn and(mask: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
}

fn jump(operator: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(libc::BPF_JMP | operator | libc::BPF_K, jt, jf, k)
}

fn jump_always(distance: usize) -> sock_filter {
    let k = u32::try_from(distance).expect("programs are shorter than 2^32");
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, k)
}

fn ret(verdict: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, verdict)
}
