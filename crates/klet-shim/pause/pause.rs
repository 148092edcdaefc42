//! The pause program: holds a pod's namespaces and, as PID 1 of a shared PID namespace, reaps.
//!
//! Freestanding: no standard library, no C library, a few hundred bytes. It sleeps in the kernel
//! until a child ends (reaps it) or SIGTERM or SIGINT arrives (exits with 0). Compiled by the
//! build script of klet-shim and embedded there.
//!
//! The only inline assembly of the project: the entry point and the system call instruction.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const SIGINT: u64 = 2;
const SIGTERM: u64 = 15;
const SIGCHLD: u64 = 17;
const SIG_BLOCK: usize = 0;
/// Any child (wait4(2): -1).
const ANY: usize = usize::MAX;
const WNOHANG: usize = 1;
/// Bytes of a kernel signal set.
const SET_BYTES: usize = 8;

#[cfg(target_arch = "x86_64")]
mod call {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod call {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const EXIT_GROUP: usize = 94;
}

// The kernel enters with an aligned stack and no return address: `main` is called and never returns.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", "ud2", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "bl {main}", "brk #1", main = sym main);

extern "C" fn main() -> ! {
    let set: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);
    let address = &raw const set as usize;
    system_call(call::RT_SIGPROCMASK, [SIG_BLOCK, address, 0, SET_BYTES, 0]);
    loop {
        match system_call(call::RT_SIGTIMEDWAIT, [address, 0, 0, SET_BYTES, 0]) as u64 {
            SIGINT | SIGTERM => {
                system_call(call::EXIT_GROUP, [0; 5]);
            }
            // A child ended, or the wait was interrupted: reap whatever there is.
            _ => while reap() {},
        }
    }
}

/// Reaps one child that has ended; false when there is none.
fn reap() -> bool {
    // wait4's status is not wanted; the answer is the child's number, 0 or an error.
    system_call(call::WAIT4, [ANY, 0, WNOHANG, 0, 0]) > 0
}

#[cfg(target_arch = "x86_64")]
fn system_call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let answer;
    // SAFETY: the calls made here get addresses of live locals or null; the kernel clobbers rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b, in("rdx") c,
             in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

#[cfg(target_arch = "aarch64")]
fn system_call(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let answer;
    // SAFETY: the calls made here get addresses of live locals or null; the kernel clobbers x0 only.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => answer, in("x1") b, in("x2") c,
             in("x3") d, in("x4") e, options(nostack));
    }
    answer
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
