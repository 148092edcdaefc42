//! Memory that is not needed any more.

use std::ffi::c_void;

use nix::unistd::{SysconfVar, sysconf};

/// Gives the heap's unused pages back to the kernel.
pub fn trim_heap() {
    // SAFETY: malloc_trim releases only what is not allocated.
    unsafe { libc::malloc_trim(0) };
}

/// What lies this far below a function's own frame belongs to no function (red zone included), bytes.
const MARGIN: usize = 4096;
/// How far down pages are given back, bytes. The kernel keeps other mappings a megabyte away from the
/// first thread's stack (`stack_guard_gap`).
const DEPTH: usize = 512 << 10;

/// Gives back the pages of the stack that deeper calls have used. Does nothing but in the program's
/// first thread.
#[inline(never)]
pub fn trim_stack() {
    let first = rustix::thread::gettid() == rustix::process::getpid();
    let Ok(Some(page)) = sysconf(SysconfVar::PAGE_SIZE) else { return };
    let Some(page) = usize::try_from(page).ok().filter(|_| first) else { return };
    let here = std::ptr::from_ref(&page).cast_mut().cast::<u8>();
    let below = here.wrapping_sub(MARGIN);
    let end = below.wrapping_sub(below.addr() % page);
    let begin = end.wrapping_sub(DEPTH).cast::<c_void>();
    // SAFETY: nothing lives below the frame of the function that runs, and there is nothing but stack
    // down to `begin`; what is not mapped there is an error without effect.
    unsafe { libc::madvise(begin, DEPTH, libc::MADV_DONTNEED) };
}

/// Lets the pages of `bytes` leave memory; they come back when they are read. For large constants
/// that are read once.
pub fn page_out(bytes: &'static [u8]) {
    // A kernel before 5.4, or a file that cannot be paged out, only means that they stay.
    let Ok(Some(page)) = sysconf(SysconfVar::PAGE_SIZE) else { return };
    let Ok(page) = usize::try_from(page) else { return };
    let skipped = bytes.as_ptr().align_offset(page);
    let length = bytes.len().saturating_sub(skipped) / page * page;
    if length > 0 {
        let begin = bytes[skipped..].as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: the range lies within `bytes`, and MADV_PAGEOUT changes no content.
        unsafe { libc::madvise(begin, length, libc::MADV_PAGEOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LARGE: [u8; 1 << 16] = [7; 1 << 16];

    #[test]
    fn content_stays() {
        page_out(&LARGE);
        page_out(&LARGE[..10]);
        trim_heap();
        trim_stack();
        assert!(LARGE.iter().all(|byte| *byte == 7));
    }
}
